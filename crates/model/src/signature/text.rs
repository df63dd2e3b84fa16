//! The signed text of a request, in pieces: nothing of the body is copied.

use std::borrow::Cow;

use super::body::{Fault, Found, Inside, Tree};
use super::key::Piece;
use super::template::{Origin, Part};
use super::verify::{plain_text, read_header};
use super::{Rejection, Verifier};
use crate::Received;

/// Most bytes of a header that is part of the signed text.
const HEADER_BYTES_MAX: usize = 1024;

/// What a text is made from.
#[derive(Clone, Copy)]
pub(super) struct Sources<'x> {
    pub(super) request: &'x Received<'x>,
    pub(super) inside: &'x Inside<'x>,
    /// The entry of `each`.
    pub(super) entry: Option<&'x Tree>,
    pub(super) timestamp: Option<&'x str>,
    /// The public URL without its query.
    pub(super) url: &'x str,
}

impl Verifier {
    pub(super) fn text<'x>(&'x self, from: Sources<'x>) -> Result<Vec<Piece<'x>>, Rejection> {
        let mut pieces = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            from.add(part, &mut pieces)?;
        }
        Ok(pieces)
    }
}

impl<'x> Sources<'x> {
    fn add(self, part: &'x Part, pieces: &mut Vec<Piece<'x>>) -> Result<(), Rejection> {
        let request = self.request;
        let unreadable = |_| Rejection::BodyUnreadable;
        match part {
            Part::Text(text) => pieces.push(Piece::of(text.as_bytes())),
            Part::Body => pieces.push(Piece::of(request.body)),
            Part::Method => pieces.push(Piece::of(request.method.as_bytes())),
            Part::Target => pieces.push(Piece::of(request.target.as_bytes())),
            Part::Path => pieces.push(Piece::of(request.target.split_once('?').map_or(request.target, |(path, _)| path).as_bytes())),
            Part::Url => {
                pieces.push(Piece::of(self.url.as_bytes()));
                let query = request.target.find('?').map_or("", |at| &request.target[at..]);
                pieces.push(Piece::of(query.as_bytes()));
            }
            Part::FormSorted => pieces.push(Piece::of(self.inside.form_sorted().map_err(unreadable)?)),
            Part::Crc32 => pieces.push(Piece::of(self.inside.crc32().as_bytes())),
            Part::Sha256 => pieces.push(Piece::of(self.inside.sha256().as_bytes())),
            Part::Secret => pieces.push(Piece::Secret),
            Part::Timestamp => pieces.push(Piece::of(self.timestamp.ok_or(Rejection::TimestampMissing)?.as_bytes())),
            Part::Value { from, optional, until } => match self.value(from)? {
                Some(value) if until.as_deref().is_some_and(|until| holds(&value, until)) => return Err(Rejection::SignedHeaderMalformed),
                Some(value) => pieces.push(Piece::Bytes(value)),
                None if *optional => {}
                None => return Err(Rejection::SignedHeaderMissing),
            },
            Part::Segment(parts) => {
                let before = pieces.len();
                for part in parts {
                    match self.add(part, pieces) {
                        Ok(()) => {}
                        Err(Rejection::SignedHeaderMissing) => {
                            pieces.truncate(before);
                            return Ok(());
                        }
                        Err(rejection) => return Err(rejection),
                    }
                }
            }
        }
        Ok(())
    }

    /// A value that somebody chose; nothing where it is absent or empty.
    fn value(self, from: &'x Origin) -> Result<Option<Cow<'x, [u8]>>, Rejection> {
        let found: Found<'x> = match from {
            Origin::Header(names) => {
                let value = read_header(self.request, names.iter().map(String::as_str)).map_err(|()| Rejection::SignedHeaderDoubled)?;
                let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
                let text = plain_text(value, HEADER_BYTES_MAX).ok_or(Rejection::SignedHeaderMalformed)?;
                Ok(Some(Cow::Borrowed(text)))
            }
            Origin::Query(name) => self.inside.query(name),
            Origin::QueryLower(name) => self.inside.query(name).map(|text| text.map(|text| Cow::Owned(text.to_ascii_lowercase()))),
            Origin::Form(name) => self.inside.form(name),
            Origin::Json(path) => self.inside.json().and_then(|tree| tree.text(path)),
            Origin::Item(path) => self.entry.map_or(Ok(None), |entry| entry.text(path)),
        };
        match found {
            Ok(text) => Ok(text.filter(|text| !text.is_empty()).map(|text| match text {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            })),
            Err(Fault::Doubled) => Err(Rejection::SignedHeaderDoubled),
            Err(Fault::Shape) => Err(Rejection::SignedHeaderMalformed),
            Err(Fault::Unreadable) => Err(Rejection::BodyUnreadable),
        }
    }
}

fn holds(value: &[u8], text: &str) -> bool {
    value.windows(text.len().max(1)).any(|window| window == text.as_bytes())
}
