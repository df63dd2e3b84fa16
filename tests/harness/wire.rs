use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A bare connection, for what no HTTP client would send.
pub struct Wire(TcpStream);

impl Wire {
    /// Connects to `http://127.0.0.1:…`.
    pub async fn to(base: &str) -> Self {
        Self(TcpStream::connect(base.trim_start_matches("http://")).await.unwrap())
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        // The other side may have refused and left already; what it answered is read next.
        let _ = self.0.write_all(bytes).await;
    }

    /// Says that nothing more comes.
    pub async fn finish(&mut self) {
        let _ = self.0.shutdown().await;
    }

    /// Everything until the other side closes.
    ///
    /// # Panics
    ///
    /// It did not close within this time.
    pub async fn rest(&mut self, within: Duration) -> String {
        let mut bytes = Vec::new();
        // A reset after an answer is an end like any other.
        let _ = timeout(within, self.0.read_to_end(&mut bytes)).await.expect("the connection was to be closed");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
