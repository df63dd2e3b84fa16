//! What can be said about a body before it is parsed: is it of a kind that is read at all?

use super::document::Unreadable;
use crate::Received;

/// Media types that are read as JSON where the source does not say. `none` is a request that names none.
const ACCEPTED_DEFAULT: [&str; 3] = ["application/json", "text/plain", "none"];

/// Checks media type and character set. Content encodings are undone, or refused, before the body gets here.
pub(crate) fn check(request: &Received<'_>, accepted: Option<&[String]>) -> Result<(), Unreadable> {
    let header = request.header("content-type").map_err(|()| Unreadable::unparseable("The request names two content types."))?;
    let header = String::from_utf8_lossy(header.unwrap_or_default()).to_ascii_lowercase();
    let (essence, parameters) = header.split_once(';').unwrap_or((&header, ""));
    let essence = essence.trim();
    let is_accepted = match (essence, accepted) {
        ("", Some(accepted)) => accepted.iter().any(|word| word == "none"),
        ("", None) => true,
        (essence, Some(accepted)) => accepted.iter().any(|held| held.eq_ignore_ascii_case(essence)),
        (essence, None) => ACCEPTED_DEFAULT.contains(&essence) || essence.starts_with("application/") && essence.ends_with("+json"),
    };
    if !is_accepted {
        let shown = if is_media_type(essence) { format!("`{essence}`") } else { "something that is no media type".to_owned() };
        let shown = if essence.is_empty() { "nothing".to_owned() } else { shown };
        return Err(Unreadable::unparseable(format!("The request says that its body is {shown}, and JSON is expected.")));
    }
    let charset = parameters.split(';').find_map(|parameter| parameter.trim().strip_prefix("charset="));
    match charset.map(|name| name.trim().trim_matches('"')) {
        None | Some("utf-8" | "utf8" | "us-ascii") => Ok(()),
        // Every character set that is still in use agrees on ASCII, except the wide ones.
        Some(name) if !name.starts_with("utf-16") && !name.starts_with("utf-32") && !name.starts_with("ucs") && request.body.is_ascii() => {
            Ok(())
        }
        Some(_) => Err(Unreadable::unparseable("The request names a character set other than UTF-8 for its body.")),
    }
}

/// Whether a text is short and harmless enough to be shown.
fn is_media_type(text: &str) -> bool {
    text.len() <= 80 && text.matches('/').count() == 1 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/.+-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(content_type: Option<&str>, body: &[u8], accepted: Option<&[&str]>) -> Result<(), Unreadable> {
        let headers: Vec<_> = content_type.into_iter().map(|value| ("content-type".to_owned(), value.as_bytes().to_vec())).collect();
        let accepted = accepted.map(|words| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
        check(&Received { method: "POST", target: "/webhooks/demo", headers: &headers, body }, accepted.as_deref())
    }

    #[test]
    fn json_is_read_under_the_names_that_senders_give_it() {
        for name in [
            None,
            Some(""),
            Some("application/json"),
            Some("Application/JSON; charset=UTF-8"),
            Some("application/cloudevents+json"),
            Some("text/plain"),
        ] {
            assert_eq!(checked(name, b"{}", None), Ok(()), "{name:?}");
        }
        assert_eq!(checked(Some("application/json; charset=iso-8859-1"), b"{}", None), Ok(()));
        assert_eq!(checked(Some("application/x-ours"), b"{}", Some(&["application/x-ours"])), Ok(()));
    }

    #[test]
    fn other_content_is_refused_in_words_that_hold_nothing_of_it() {
        for name in ["multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "text/html", "x", "<script>alert(1)</script>"]
        {
            let refused = checked(Some(name), b"{}", None).unwrap_err();
            assert!(refused.message.contains("JSON is expected") && !refused.message.contains('<'), "{name}: {}", refused.message);
        }
        assert!(checked(Some("application/json; charset=utf-16"), b"{}", None).is_err());
        assert!(checked(Some("application/json; charset=iso-8859-1"), "{\"a\":\"\u{e9}\"}".as_bytes(), None).is_err());
        assert!(checked(Some("text/plain"), b"{}", Some(&["application/json"])).is_err());
        assert!(checked(None, b"{}", Some(&["application/json"])).is_err());
        assert_eq!(checked(None, b"{}", Some(&["application/json", "none"])), Ok(()));
    }

    #[test]
    fn two_content_types_are_none() {
        let headers = [("content-type".to_owned(), b"application/json".to_vec()), ("content-type".to_owned(), b"text/plain".to_vec())];
        assert!(check(&Received { method: "POST", target: "/", headers: &headers, body: b"{}" }, None).is_err());
    }
}
