//! What keeps a handshake from signing forgeries (webhook-sources.md, section 2, last paragraph).

use super::Kind;
use crate::Received;
use crate::signature::{Rejection, form_field};

/// Most bytes of a challenge.
pub(super) const CHALLENGE_BYTES_MAX: usize = 1024;

/// A text that may be sent back: 1 to 1024 bytes of visible ASCII.
pub(super) fn plain(text: &str) -> bool {
    (1..=CHALLENGE_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// 8-4-4-4-12 hexadecimal digits. LinkedIn signs a text that begins with `hmacsha256=`, which no such code does.
pub(super) fn uuid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// Zoom signs `v0:<time>:<body>`; a token without a colon is never the whole of that.
pub(super) fn zoom_token(text: &str) -> bool {
    plain(text) && !text.contains(':')
}

/// X signs the body alone, a JSON object: a token without braces is none.
pub(super) fn crc_token(text: &str) -> bool {
    text.len() <= 256 && !text.is_empty() && text.bytes().all(crc_letter)
}

fn crc_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._~+/=-".contains(&byte)
}

/// What Braintree's own library takes: 20 to 32 lower-case hexadecimal digits. What it signs is XML in base64, which begins otherwise.
pub(super) fn braintree_challenge(text: &str) -> bool {
    (20..=32).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether the signature of this request, however right, may be an answer that somebody was given to a challenge of his choice: X and Braintree sign
/// nothing but a text, which may be such a challenge.
pub(super) fn signed_by_an_answer(kind: Kind, request: &Received<'_>) -> Option<Rejection> {
    let of_x = || request.method == "POST" && !request.body.is_empty() && request.body.iter().copied().all(crc_letter);
    let of_braintree = || form_field(request.body, "bt_payload").is_some_and(|payload| braintree_challenge(&payload));
    let forged = kind == Kind::X && of_x() || kind == Kind::Braintree && of_braintree();
    forged.then_some(Rejection::HandshakeMismatch)
}
