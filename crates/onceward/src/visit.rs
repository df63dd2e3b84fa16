//! Asks for an address of a vendor's that a genuine handshake names, as AWS SNS wants it.

use std::time::Duration;

use reqwest::Url;

/// From connecting to the answer's head.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks once, without redirects, and reads no more of the answer than its status. The address is one that the model took for the vendor's own.
pub async fn visit(url: String) -> bool {
    let Ok(url) = Url::parse(&url) else { return false };
    if url.scheme() != "https" {
        return false;
    }
    let client = match crate::sender::client(&url) {
        Ok(client) => client,
        Err(error) => {
            tracing::warn!(%error, "the address that confirms a subscription cannot be asked for");
            return false;
        }
    };
    client.get(url).timeout(TIMEOUT).send().await.is_ok_and(|response| response.status().is_success())
}
