//! Where a request came from, seen through the proxies that we trust.

use std::net::{IpAddr, SocketAddr};

use hyper::header::HeaderMap;
use model::signature::Network;

/// Most entries of `X-Forwarded-For` that are looked at: one for each proxy on the way.
const HOPS_MAX: usize = 16;

/// The sender's address: the connection's, or, if that is a trusted proxy's, the last one of `X-Forwarded-For` that no trusted proxy has. What stands
/// before that was written by whoever sent it. `None`: a trusted proxy names something that is no address.
pub(crate) fn sender(peer: IpAddr, headers: &HeaderMap, proxies: &[Network]) -> Option<IpAddr> {
    let trusted = |address: IpAddr| proxies.iter().any(|network| network.holds(address));
    if !trusted(peer) {
        return Some(peer);
    }
    let named: Vec<&[u8]> =
        headers.get_all("x-forwarded-for").iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b',')).collect();
    let mut sender = peer;
    for entry in named.iter().rev().take(HOPS_MAX) {
        sender = std::str::from_utf8(entry).ok().and_then(|text| address(text.trim()))?;
        if !trusted(sender) {
            break;
        }
    }
    Some(sender)
}

/// Some proxies write the port, too.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn seen(peer: &str, named: &[&'static str]) -> Option<String> {
        let proxies: Vec<_> = ["10.0.0.0/8", "::1/128"].iter().map(|text| Network::parse(text).unwrap()).collect();
        let mut headers = HeaderMap::new();
        for value in named {
            headers.append("x-forwarded-for", HeaderValue::from_static(value));
        }
        sender(peer.parse().unwrap(), &headers, &proxies).map(|address| address.to_string())
    }

    #[test]
    fn a_stranger_is_who_connects_whatever_is_written() {
        assert_eq!(seen("203.0.113.7", &["198.51.100.1"]).as_deref(), Some("203.0.113.7"));
    }

    #[test]
    fn behind_trusted_proxies_the_last_that_is_not_one_of_them_counts() {
        assert_eq!(seen("10.1.1.1", &["198.51.100.1"]).as_deref(), Some("198.51.100.1"));
        assert_eq!(seen("10.1.1.1", &["1.2.3.4, 198.51.100.1, 10.2.2.2"]).as_deref(), Some("198.51.100.1"));
        assert_eq!(seen("10.1.1.1", &["1.2.3.4", "198.51.100.1:4711"]).as_deref(), Some("198.51.100.1"));
        assert_eq!(seen("::1", &["[2001:db8::9]"]).as_deref(), Some("2001:db8::9"));
        assert_eq!(seen("10.1.1.1", &[]).as_deref(), Some("10.1.1.1"), "the proxy itself asks");
    }

    #[test]
    fn what_is_no_address_is_nobodys() {
        for nonsense in ["", "unknown", "198.51.100.1, ", "_hidden", "1.2.3.4.5"] {
            assert_eq!(seen("10.1.1.1", &[nonsense]), None, "{nonsense}");
        }
    }
}
