//! Bodies that came compressed, where a source takes them.

use std::io::Read as _;

use bytes::Bytes;
use flate2::bufread::GzDecoder;
use hyper::header::{CONTENT_ENCODING, HeaderMap};

use crate::Problem;

/// How much is unpacked between two looks at the limits.
const STEP_BYTES: usize = 64 << 10;

/// Whether a request's body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// As it is.
    Plain,
    /// `Content-Encoding: gzip`, once.
    Gzip,
    /// Any other coding, or several.
    Other,
}

/// What the headers say of the body.
pub(crate) fn coding(headers: &HeaderMap) -> Coding {
    let mut said = headers.get_all(CONTENT_ENCODING).iter();
    match (said.next(), said.next()) {
        (None, _) => Coding::Plain,
        // RFC 9110, section 8.4.1.3: `x-gzip` is the same.
        (Some(one), None) if one.as_bytes().eq_ignore_ascii_case(b"gzip") || one.as_bytes().eq_ignore_ascii_case(b"x-gzip") => Coding::Gzip,
        (Some(_), _) => Coding::Other,
    }
}

/// Unpacks a body of at most `bytes_max`, calling `grow` with the size so far before it holds more.
///
/// # Errors
///
/// [`Problem::TooLarge`] at the limit, however much more there would be; [`Problem::Encoded`] if it is no gzip, ends too early, or has
/// something after its end; what `grow` says.
pub(crate) fn unpack(packed: &[u8], bytes_max: usize, mut grow: impl FnMut(usize) -> Result<(), Problem>) -> Result<Bytes, Problem> {
    let mut decoder = GzDecoder::new(packed);
    let mut unpacked = Vec::new();
    loop {
        // One byte beyond the limit tells that there is more.
        let step = STEP_BYTES.min(bytes_max + 1 - unpacked.len()) as u64;
        grow(unpacked.len() + step as usize)?;
        let read = decoder.by_ref().take(step).read_to_end(&mut unpacked).map_err(|_| Problem::Encoded)?;
        if unpacked.len() > bytes_max {
            return Err(Problem::TooLarge);
        }
        if read == 0 {
            break;
        }
    }
    if decoder.into_inner().is_empty() { Ok(unpacked.into()) } else { Err(Problem::Encoded) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(packed: &[u8], bytes_max: usize) -> Result<Bytes, Problem> {
        unpack(packed, bytes_max, |_| Ok(()))
    }

    #[test]
    fn what_was_packed_comes_out_and_no_more_than_the_limit() {
        for length in [0, 1, STEP_BYTES - 1, STEP_BYTES, STEP_BYTES + 1, 300_000] {
            let body: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            assert_eq!(unpacked(&packed(&body), length).unwrap(), body);
            if length > 0 {
                assert_eq!(unpacked(&packed(&body), length - 1), Err(Problem::TooLarge), "{length}");
            }
        }
    }

    /// Row 52: two megabytes that would be two gigabytes.
    #[test]
    fn a_bomb_goes_off_at_the_limit() {
        let bomb = packed(&vec![0; 64 << 20]);
        let mut most = 0;
        let refused = unpack(&bomb, 1 << 20, |size| {
            most = size;
            Ok(())
        });
        assert_eq!((refused, most), (Err(Problem::TooLarge), (1 << 20) + 1));
        assert_eq!(unpack(&bomb, 1 << 20, |size| if size > 200_000 { Err(Problem::Busy) } else { Ok(()) }), Err(Problem::Busy));
    }

    /// Row 53.
    #[test]
    fn what_is_broken_cut_or_followed_by_something_is_refused() {
        let good = packed(b"{\"type\":\"signup\"}");
        for at in 0..good.len() {
            assert_eq!(unpacked(&good[..at], 1000), Err(Problem::Encoded), "{at}");
        }
        let mut wrong = good.clone();
        *wrong.last_mut().unwrap() ^= 1;
        assert_eq!(unpacked(&wrong, 1000), Err(Problem::Encoded), "the length does not fit");
        assert_eq!(unpacked(&[good.as_slice(), b"x"].concat(), 1000), Err(Problem::Encoded));
        assert_eq!(unpacked(&[good.as_slice(), &good].concat(), 1000), Err(Problem::Encoded));
        assert_eq!(unpacked(b"{}", 1000), Err(Problem::Encoded));
    }

    #[test]
    fn only_one_gzip_is_gzip() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, hyper::header::HeaderValue::from_static(value));
            }
            coding(&headers)
        };
        assert_eq!((of(&[]), of(&["gzip"]), of(&["X-GZIP"])), (Coding::Plain, Coding::Gzip, Coding::Gzip));
        for other in [&["gzip, gzip"][..], &["gzip", "gzip"], &["br"], &["zstd"], &["identity"], &[""]] {
            assert_eq!(of(other), Coding::Other, "{other:?}");
        }
    }
}
