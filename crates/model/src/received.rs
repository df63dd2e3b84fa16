//! One HTTP request, as the pure code sees it.

/// A webhook request as it came: exact bytes, nothing interpreted.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// `POST`, `GET`, …, upper case.
    pub method: &'a str,
    /// Path and query as sent: `/webhooks/typeform?x=1`.
    pub target: &'a str,
    /// Header names in lower case, in the order and number they came.
    pub headers: &'a [(String, Vec<u8>)],
    /// The body's bytes, before any decoding.
    pub body: &'a [u8],
}

impl<'a> Received<'a> {
    /// The one value of a header. `Err(())` if it came twice: a request that says two things says nothing.
    ///
    /// # Errors
    ///
    /// The header occurs more than once.
    #[expect(clippy::result_unit_err, reason = "the only thing that can be wrong is that there are two")]
    pub fn header(&self, name: &str) -> Result<Option<&'a [u8]>, ()> {
        let mut values = self.headers.iter().filter(|(held, _)| held == name);
        let first = values.next();
        match values.next() {
            Some(_) => Err(()),
            None => Ok(first.map(|(_, value)| value.as_slice())),
        }
    }

    /// The query string without its `?`; empty if there is none.
    pub fn query(&self) -> &'a str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }
}

/// A name or value of a form or a query string (WHATWG URL, section 5.1): `+` is a space and `%2B` a plus; what is no escape stands for itself. What is
/// signed and what is read are decoded by this one function, or they could differ.
pub(crate) fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match text.get(at + 1..at + 3).filter(|_| byte == b'%').and_then(|digits| hex::decode(digits).ok()) {
            Some(escaped) => {
                decoded.extend(escaped);
                at += 3;
            }
            None => {
                decoded.push(if byte == b'+' { b' ' } else { byte });
                at += 1;
            }
        }
    }
    decoded
}
