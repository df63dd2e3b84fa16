//! What may have been signed instead: bodies and addresses as they may have been before something on their way touched them.

use std::borrow::Cow;

use serde_json::Value;

use crate::Received;

/// Bodies above this are not written anew.
const JSON_BYTES_MAX: usize = 256 << 10;

/// One thing that may be different from what the scheme says, and the words for it.
pub(super) type Guess<T> = (Option<Cow<'static, str>>, T);

/// The body as it came, then as it may have been.
pub(super) fn bodies(body: &[u8]) -> Vec<Guess<Cow<'_, [u8]>>> {
    const BOM: &[u8] = b"\xef\xbb\xbf";
    let with = |end: &[u8]| Cow::Owned([body, end].concat());
    let mut guesses: Vec<Guess<Cow<'_, [u8]>>> = vec![(None, Cow::Borrowed(body))];
    let mut guess = |words: &'static str, body: Cow<'_, [u8]>| guesses.push((Some(Cow::Borrowed(words)), Cow::Owned(body.into_owned())));
    if body.trim_ascii() != body {
        guess("over the body without the white space around it: something adds it on the way", Cow::Borrowed(body.trim_ascii()));
    }
    if let Some(rest) = body.strip_prefix(BOM) {
        guess("over the body without its byte order mark: something adds it on the way", Cow::Borrowed(rest));
    }
    guess("over the body with a line feed at its end: something trims it on the way", with(b"\n"));
    guess("over the body with a carriage return and line feed at its end: something trims it on the way", with(b"\r\n"));
    if body.len() <= JSON_BYTES_MAX
        && let Ok(document) = serde_json::from_slice::<Value>(body)
    {
        for style in STYLES {
            let text = style.write(&document);
            if text.as_bytes() != body {
                guess(style.words, Cow::Owned(text.into_bytes()));
            }
        }
    }
    guesses
}

/// A way in which programs write JSON.
struct Style {
    words: &'static str,
    comma: &'static str,
    colon: &'static str,
    sorted: bool,
    ascii: bool,
    slashes: bool,
}

const COMPACT: Style = Style {
    words: "over the same JSON written without spaces: something on the way writes it anew",
    comma: ",",
    colon: ":",
    sorted: false,
    ascii: false,
    slashes: false,
};
const STYLES: [Style; 8] = [
    COMPACT,
    Style {
        words: "over the same JSON without spaces and with sorted names: something on the way writes it anew",
        sorted: true,
        ..COMPACT
    },
    Style {
        words: "over the same JSON without spaces and with letters beyond ASCII escaped: something on the way writes it anew",
        ascii: true,
        ..COMPACT
    },
    Style {
        words: "over the same JSON without spaces, with sorted names and letters beyond ASCII escaped: something on the way writes it anew",
        sorted: true,
        ascii: true,
        ..COMPACT
    },
    Style {
        words: "over the same JSON with escaped slashes and letters beyond ASCII, as PHP writes it: something on the way writes it anew",
        ascii: true,
        slashes: true,
        ..COMPACT
    },
    Style {
        words: "over the same JSON with a space after commas and colons: something on the way writes it anew",
        comma: ", ",
        colon: ": ",
        ..COMPACT
    },
    Style {
        words: "over the same JSON with a space after commas and colons and letters beyond ASCII escaped, as Python writes it: something on the way writes it anew",
        comma: ", ",
        colon: ": ",
        ascii: true,
        ..COMPACT
    },
    Style {
        words: "over the same JSON with spaces, sorted names and letters beyond ASCII escaped: something on the way writes it anew",
        comma: ", ",
        colon: ": ",
        sorted: true,
        ascii: true,
        ..COMPACT
    },
];

impl Style {
    fn write(&self, document: &Value) -> String {
        let mut text = String::new();
        self.value(document, &mut text);
        text
    }

    fn value(&self, value: &Value, text: &mut String) {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => text.push_str(&value.to_string()),
            Value::String(held) => self.text(held, text),
            Value::Array(entries) => {
                text.push('[');
                for (at, entry) in entries.iter().enumerate() {
                    text.push_str(if at == 0 { "" } else { self.comma });
                    self.value(entry, text);
                }
                text.push(']');
            }
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                if self.sorted {
                    members.sort_by_key(|(name, _)| name.as_str());
                }
                text.push('{');
                for (at, (name, member)) in members.into_iter().enumerate() {
                    text.push_str(if at == 0 { "" } else { self.comma });
                    self.text(name, text);
                    text.push_str(self.colon);
                    self.value(member, text);
                }
                text.push('}');
            }
        }
    }

    fn text(&self, held: &str, text: &mut String) {
        let plain = Value::from(held).to_string();
        for letter in plain.chars() {
            match letter {
                '/' if self.slashes => text.push_str("\\/"),
                _ if self.ascii && !letter.is_ascii() => {
                    let mut units = [0; 2];
                    letter.encode_utf16(&mut units).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
                }
                _ => text.push(letter),
            }
        }
    }
}

/// The address as configured, then as the vendor may have been told it. None holds a query string.
pub(super) fn urls(configured: &[String], request: &Received<'_>) -> Vec<Guess<String>> {
    let Some(url) = configured.first() else { return vec![(None, String::new())] };
    let mut guesses: Vec<Guess<String>> = configured.iter().map(|url| (None, url.clone())).collect();
    let mut guess = |url: String| {
        if url.len() <= 512
            && url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'`')
            && guesses.iter().all(|(_, known)| *known != url)
        {
            guesses.push((
                Some(format!("over the address `{url}`: is that what the vendor was told? Then set it as `public_url`").into()),
                url,
            ));
        }
    };
    let slash = |url: &str| url.strip_suffix('/').map_or_else(|| format!("{url}/"), str::to_owned);
    guess(slash(url));
    let other_scheme = url.strip_prefix("https://").map(|rest| format!("http://{rest}"));
    let other_scheme = other_scheme.or_else(|| url.strip_prefix("http://").map(|rest| format!("https://{rest}")));
    if let Some(other) = other_scheme {
        guess(slash(&other));
        guess(other);
    }
    let path = request.target.split_once('?').map_or(request.target, |(path, _)| path);
    let own_host = url.split_once("://").map_or("", |(_, rest)| rest.split_once('/').map_or(rest, |(host, _)| host));
    let header = |name: &str| request.header(name).ok().flatten().and_then(|value| std::str::from_utf8(value).ok());
    for host in [Some(own_host), header("x-forwarded-host"), header("host")].into_iter().flatten().filter(|host| !host.is_empty()) {
        for scheme in ["https", "http"] {
            guess(format!("{scheme}://{host}{path}"));
            guess(slash(&format!("{scheme}://{host}{path}")));
        }
    }
    guesses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_written_as_other_programs_write_it() {
        let document = serde_json::from_str(r#"{"b":[1,"Zoë/x"],"a":{"c":null}}"#).unwrap();
        let texts = STYLES.map(|style| style.write(&document));
        assert_eq!(texts[0], r#"{"b":[1,"Zoë/x"],"a":{"c":null}}"#);
        assert_eq!(texts[1], r#"{"a":{"c":null},"b":[1,"Zoë/x"]}"#);
        assert_eq!(texts[4], r#"{"b":[1,"Zo\u00eb\/x"],"a":{"c":null}}"#);
        assert_eq!(texts[6], r#"{"b": [1, "Zo\u00eb/x"], "a": {"c": null}}"#);
    }
}
