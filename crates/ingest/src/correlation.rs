//! Under which id a request and all that follows from it is found in logs.

use model::{RawEventId, Received};

const CORRELATION_BYTES_MAX: usize = 128;

/// The trace id of a valid `traceparent`, else `X-Correlation-Id` if it is at most 128 visible ASCII characters, else the raw event's id.
pub fn correlation_id(request: &Received<'_>, raw: RawEventId) -> String {
    let one = |name| request.header(name).ok().flatten().and_then(|value| std::str::from_utf8(value).ok());
    if let Some(trace) = one("traceparent").and_then(trace_id) {
        return trace.to_owned();
    }
    let visible = |text: &&str| (1..=CORRELATION_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    one("x-correlation-id").filter(visible).map_or_else(|| raw.to_string(), str::to_owned)
}

/// W3C Trace Context, section 3.2: `version-traceid-parentid-flags` in lower-case hex, neither id all zeros, version not `ff`. Later
/// versions may append fields.
fn trace_id(text: &str) -> Option<&str> {
    let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let zeros = |text: &str| text.bytes().all(|byte| byte == b'0');
    let mut fields = text.split('-');
    let [version, trace, parent, flags] = [fields.next()?, fields.next()?, fields.next()?, fields.next()?];
    let lengths = version.len() == 2 && trace.len() == 32 && parent.len() == 16 && flags.len() == 2;
    let fits = lengths && [version, trace, parent, flags].into_iter().all(hex) && !zeros(trace) && !zeros(parent) && version != "ff";
    (fits && (version != "00" || fields.next().is_none())).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(headers: &[(&str, &str)]) -> String {
        let headers: Vec<(String, Vec<u8>)> = headers.iter().map(|&(name, value)| (name.to_owned(), value.as_bytes().to_vec())).collect();
        correlation_id(&Received { method: "POST", target: "/", headers: &headers, body: b"" }, RawEventId(1))
    }

    #[test]
    fn the_senders_trace_comes_first_and_nonsense_counts_for_nothing() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let parent = format!("00-{trace}-00f067aa0ba902b7-01");
        let own = RawEventId(1).to_string();
        assert_eq!(found(&[("traceparent", &parent), ("x-correlation-id", "mine")]), trace);
        assert_eq!(found(&[("traceparent", &format!("01-{trace}-00f067aa0ba902b7-01-later"))]), trace);
        assert_eq!(found(&[("x-correlation-id", "mine")]), "mine");
        for wrong in [
            parent.to_uppercase(),
            format!("ff-{trace}-00f067aa0ba902b7-01"),
            format!("00-{trace}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("{parent}-more"),
            format!("00-{trace}-00f067aa0ba902b7"),
            String::new(),
        ] {
            assert_eq!(found(&[("traceparent", &wrong)]), own, "{wrong}");
        }
        for wrong in ["", "two words", "a\nb", "é", &"x".repeat(129)] {
            assert_eq!(found(&[("x-correlation-id", wrong)]), own, "{wrong}");
        }
        assert_eq!(found(&[("x-correlation-id", "one"), ("x-correlation-id", "two")]), own);
    }
}
