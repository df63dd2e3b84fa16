//! Follows the framing of what a client sends, more strictly than hyper does.
//!
//! hyper takes a bare LF for a line's end and `Content-Length` beside `Transfer-Encoding` (traps.md 4). A proxy in front
//! of us may see other requests in the same bytes, and that is what request smuggling is made of. So every head is
//! followed on its way to hyper, and a doubtful one is cut off and ended with [`REFUSAL`], which hyper itself
//! answers with 400. Bodies with a length are skipped by it; a chunked one ends the scrutiny, because
//! the connection is closed after it.

/// What hyper reads in place of the rest of a refused head: nothing it could take for a header, and an end, so that it
/// does not wait for one.
pub(crate) const REFUSAL: &[u8] = b"\0\r\n\r\n";

/// How much of a line is kept to look at: a name, a colon, white space and the 20 digits of the largest length.
const LINE_KEPT: usize = 64;

/// Where in the stream of requests the next byte belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Before a request's first byte.
    Idle,
    /// In a request line or a header.
    Head,
    /// In a body of which this much is left.
    Body(u64),
    /// In a chunked body, or after it: the last request of this connection.
    Last,
    /// A head was refused.
    Refused,
}

/// The state of one connection's framing.
#[derive(Clone, Debug)]
pub(crate) struct Framing {
    part: Part,
    line: [u8; LINE_KEPT],
    line_bytes: usize,
    ends_with_cr: bool,
    lines: usize,
    length: Option<u64>,
    chunked: bool,
}

/// A head that says two things about where its request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Doubtful;

impl Framing {
    pub(crate) const fn new() -> Self {
        Self { part: Part::Idle, line: [0; LINE_KEPT], line_bytes: 0, ends_with_cr: false, lines: 0, length: None, chunked: false }
    }

    /// Looks at the next bytes. `Err(n)`: only the first `n` of them may pass, and the connection is refused.
    pub(crate) fn follow(&mut self, bytes: &[u8]) -> Result<(), usize> {
        let mut at = 0;
        while at < bytes.len() {
            match self.part {
                Part::Last => return Ok(()),
                Part::Refused => return Err(at),
                Part::Body(left) => {
                    let here = (bytes.len() - at) as u64;
                    let skipped = left.min(here);
                    at += usize::try_from(skipped).unwrap_or(usize::MAX);
                    self.part = if left == skipped { Part::Idle } else { Part::Body(left - skipped) };
                }
                Part::Idle | Part::Head => {
                    self.part = Part::Head;
                    let rest = &bytes[at..];
                    let Some(line_feed) = rest.iter().position(|&byte| byte == b'\n') else {
                        self.keep(rest);
                        return Ok(());
                    };
                    self.keep(&rest[..line_feed]);
                    at += line_feed;
                    if self.end_line().is_err() {
                        self.part = Part::Refused;
                        return Err(at);
                    }
                    at += 1;
                }
            }
        }
        Ok(())
    }

    /// Between two requests, or before the first.
    pub(crate) fn is_idle(&self) -> bool {
        self.part == Part::Idle
    }

    /// In the middle of a head.
    pub(crate) fn is_in_head(&self) -> bool {
        self.part == Part::Head
    }

    fn keep(&mut self, bytes: &[u8]) {
        if let Some(&last) = bytes.last() {
            self.ends_with_cr = last == b'\r';
        }
        let room = LINE_KEPT.saturating_sub(self.line_bytes);
        let kept = bytes.len().min(room);
        if kept > 0 {
            self.line[self.line_bytes..self.line_bytes + kept].copy_from_slice(&bytes[..kept]);
        }
        self.line_bytes = self.line_bytes.saturating_add(bytes.len());
    }

    fn end_line(&mut self) -> Result<(), Doubtful> {
        if !self.ends_with_cr {
            return Err(Doubtful);
        }
        let length = self.line_bytes - 1;
        match (length, self.lines) {
            // The empty line that a sloppy client leaves behind its last body.
            (0, 0) => {}
            (0, _) => {
                self.part = match (self.chunked, self.length.take()) {
                    (true, Some(_)) => return Err(Doubtful),
                    (true, None) => Part::Last,
                    (false, None | Some(0)) => Part::Idle,
                    (false, Some(length)) => Part::Body(length),
                };
                self.chunked = false;
                self.lines = 0;
            }
            (_, 0) => self.lines = 1,
            (_, lines) => {
                self.lines = lines.saturating_add(1);
                self.read_header(length)?;
            }
        }
        self.line_bytes = 0;
        self.ends_with_cr = false;
        Ok(())
    }

    fn read_header(&mut self, length: usize) -> Result<(), Doubtful> {
        let line = &self.line[..length.min(LINE_KEPT)];
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            // A longer name than the two that count, or no header, which hyper refuses.
            return Ok(());
        };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        let is_length = name.eq_ignore_ascii_case(b"content-length");
        if !is_length && !name.eq_ignore_ascii_case(b"transfer-encoding") {
            return Ok(());
        }
        if length > LINE_KEPT || self.length.is_some() || self.chunked {
            return Err(Doubtful);
        }
        let value = value.trim_ascii();
        if is_length {
            let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            let text = std::str::from_utf8(value).ok().filter(|_| digits).ok_or(Doubtful)?;
            self.length = Some(text.parse().map_err(|_| Doubtful)?);
        } else if value.eq_ignore_ascii_case(b"chunked") {
            self.chunked = true;
        } else {
            return Err(Doubtful);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What passes of a stream that arrives in these pieces, and whether it was refused.
    fn passed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, bool, Framing) {
        let mut framing = Framing::new();
        let mut out = Vec::new();
        for piece in pieces {
            match framing.follow(piece) {
                Ok(()) => out.extend_from_slice(piece),
                Err(kept) => {
                    out.extend_from_slice(&piece[..kept]);
                    return (out, true, framing);
                }
            }
        }
        (out, false, framing)
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused_at_the_byte_that_shows_it() {
        for (head, kept) in [
            ("POST / HTTP/1.1\nHost: x\r\n\r\n", 15),
            ("POST / HTTP/1.1\r\nHost: x\n\r\n", 24),
            ("POST / HTTP/1.1\r\nHost: x\r\n\n", 26),
            ("\nPOST / HTTP/1.1\r\n\r\n", 0),
        ] {
            let (out, refused, _) = passed([head.as_bytes()]);
            assert!(refused && out.len() == kept, "{head:?} let {} bytes through", out.len());
        }
        for headers in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "Transfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "Content-Length: 5\r\ncontent-length: 5\r\n",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: 0x5\r\n",
            "Content-Length:\r\n",
            "Content-Length: 18446744073709551616\r\n",
            "Content-Length:                                                           5\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: chunked, identity\r\n",
            "Transfer-Encoding: identity, chunked\r\n",
            "Transfer-Encoding:\x0bchunked\r\n",
        ] {
            let (_, refused, _) = passed([format!("POST / HTTP/1.1\r\nHost: x\r\n{headers}\r\n").as_bytes()]);
            assert!(refused, "{headers:?} passed");
        }
    }

    #[test]
    fn plain_requests_pass_untouched_one_after_the_other() {
        let stream = b"\r\nPOST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\n\n\r\n\r\n:\nGET /b HTTP/1.1\r\nHost: x\r\n\r\nPOST /c HTTP/1.1\r\ncontent-length:0 \r\n\r\n";
        let (out, refused, framing) = passed([&stream[..]]);
        assert!(!refused && framing.is_idle());
        assert_eq!(out, stream);
        let (_, refused, framing) = passed([&b"POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n5\nhello\n"[..]]);
        assert!(!refused && framing.part == Part::Last);
    }

    proptest! {
        #[test]
        fn where_the_network_splits_the_bytes_makes_no_difference(
            words in prop::collection::vec(prop::sample::select(vec![
                "POST / HTTP/1.1", "\r\n", "\r\n", "\n", "\r", "Content-Length: 3", "content-length:12", "Transfer-Encoding: chunked",
                "X-Long: 0123456789012345678901234567890123456789012345678901234567890123456789", "Host: x", "abc", ":", " ",
            ]), 0..24),
            cuts in prop::collection::vec(0usize..400, 0..12),
        ) {
            let stream = words.concat().into_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).chain([0, stream.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
            let (whole, refused, one) = passed([stream.as_slice()]);
            let (split, refused_split, other) = passed(pieces);
            prop_assert_eq!(whole, split);
            prop_assert_eq!(refused, refused_split);
            prop_assert_eq!(one.part, other.part);
        }
    }
}
