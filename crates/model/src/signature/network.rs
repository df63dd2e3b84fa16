//! Networks that a sender's requests come from.

use std::net::IpAddr;

/// An address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// Reads `203.0.113.0/24`, `2001:db8::/32` or a single address. `None` if it is none, or has bits after those that count.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().ok()?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => width,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok().filter(|&bits| bits <= width)?,
            Some(_) => return None,
        };
        let network = Self { address, bits };
        let (number, width) = number(address);
        (number & !mask(bits, width) == 0).then_some(network)
    }

    /// Whether an address lies in it. An IPv4 address that is written as IPv6 counts as what it is.
    pub fn holds(&self, peer: IpAddr) -> bool {
        let ((own, width), (other, other_width)) = (number(self.address), number(peer.to_canonical()));
        width == other_width && own == other & mask(self.bits, width)
    }
}

fn number(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    }
}

/// The first `bits` of `width` bits.
fn mask(bits: u32, width: u32) -> u128 {
    let all = if width == 128 { u128::MAX } else { (1 << width) - 1 };
    all & !(all.checked_shr(bits).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_lies_in_its_network_and_in_no_other() {
        let holds = |network: &str, peer: &str| Network::parse(network).unwrap().holds(peer.parse().unwrap());
        for (network, peer, expected) in [
            ("203.0.113.0/24", "203.0.113.255", true),
            ("203.0.113.0/24", "203.0.114.0", false),
            ("203.0.113.7", "203.0.113.7", true),
            ("203.0.113.7", "203.0.113.6", false),
            ("0.0.0.0/0", "9.9.9.9", true),
            ("0.0.0.0/0", "::1", false),
            ("203.0.113.0/24", "::ffff:203.0.113.9", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "::1", true),
        ] {
            assert_eq!(holds(network, peer), expected, "{network} {peer}");
        }
        for text in ["", "203.0.113", "203.0.113.0/33", "203.0.113.1/24", "203.0.113.0/+8", "203.0.113.0/", "::1/129", "example.com"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
