//! Where the broker is.

use std::fmt;
use std::str::FromStr;

use lapin::uri::{AMQPScheme, AMQPUri};

/// Seconds between heartbeats; the broker is given up after two of them without a word. The client's own default, the
/// broker's 60, would notice a frozen broker after two minutes (traps.md 1).
const HEARTBEAT: u16 = 10;
/// The largest frame in bytes. The client keeps 32 of them for each direction of a connection, and a wakeup needs 8 kB.
const FRAME_MAX: u32 = 16 * 1024;

/// Where the broker is and who we are there: `amqp://user:password@host:5672/vhost`. Shows itself without the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(AMQPUri);

/// What is wrong with an address. Never quotes it, because there may be a password in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// Not an AMQP address at all.
    #[error(
        "this is not the address of a broker: write `amqp://user:password@host:5672/vhost`, with signs like @ or / in the password as %40 or %2F"
    )]
    Unreadable,
    /// `amqps:`.
    #[error(
        "the queue speaks AMQP without TLS: write `amqp://…`, and reach a distant broker through a tunnel such as stunnel or WireGuard"
    )]
    Tls,
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let mut uri = AMQPUri::from_str(text).map_err(|_| BadAddress::Unreadable)?;
        if uri.scheme == AMQPScheme::AMQPS {
            return Err(BadAddress::Tls);
        }
        // The client takes an IPv6 address for none, and would go to localhost instead.
        let host = text.split_once("://").map(|(_, rest)| rest.rsplit_once('@').map_or(rest, |(_, host)| host));
        if let Some((inside, _)) = host.and_then(|host| host.strip_prefix('[')).and_then(|host| host.split_once(']')) {
            uri.authority.host = inside.to_owned();
        }
        // `amqp://host/` is, to the letter, the virtual host with no name. Nobody means that.
        if uri.vhost.is_empty() {
            uri.vhost = "/".to_owned();
        }
        uri.query.heartbeat = uri.query.heartbeat.filter(|seconds| (1..=60).contains(seconds)).or(Some(HEARTBEAT));
        uri.query.frame_max = Some(FRAME_MAX);
        Ok(Self(uri))
    }
}

impl Address {
    pub(super) fn uri(&self) -> AMQPUri {
        self.0.clone()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (authority, vhost) = (&self.0.authority, self.0.vhost.trim_start_matches('/'));
        write!(f, "amqp://{}@{}:{}/{vhost}", authority.userinfo.username, authority.host, authority.port)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_people_mean_it_and_hides_its_password() {
        for (text, shown) in [
            ("amqp://localhost", "amqp://guest@localhost:5672/"),
            ("amqp://localhost/", "amqp://guest@localhost:5672/"),
            ("amqp://ann:s3%40cret@broker.example:1234/prod", "amqp://ann@broker.example:1234/prod"),
            ("amqp://ann:s3cret@[::1]:1234/%2f", "amqp://ann@::1:1234/"),
            ("amqp://10.0.0.1", "amqp://guest@10.0.0.1:5672/"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.to_string().as_str(), format!("{address:?}").as_str()), (shown, shown));
        }
    }

    #[test]
    fn silence_is_always_noticed() {
        for (text, heartbeat) in
            [("amqp://h", 10), ("amqp://h?heartbeat=0", 10), ("amqp://h?heartbeat=4", 4), ("amqp://h?heartbeat=900", 10)]
        {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.uri().query.heartbeat, Some(heartbeat), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_being_repeated() {
        for (text, wrong) in [
            ("amqps://ann:s3cret@h", BadAddress::Tls),
            ("http://ann:s3cret@h", BadAddress::Unreadable),
            ("ann:s3cret@h", BadAddress::Unreadable),
            ("amqp://ann:s3cret@h:99999", BadAddress::Unreadable),
            ("", BadAddress::Unreadable),
        ] {
            let found = Address::from_str(text).unwrap_err();
            assert_eq!(found, wrong, "{text}");
            assert!(!found.to_string().contains("s3cret"));
        }
    }
}
