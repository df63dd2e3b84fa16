//! What is written on a wakeup and on a dead letter: JSON, so that people who watch the broker can read it.

use std::borrow::Cow;

use model::RecordId;
use model::wakeup::{RECORDS_MAX, Wakeup};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::DeadLetter;

/// The longest wakeup that is read: 256 ids need less than 6 kB.
const WAKEUP_BYTES_MAX: usize = 64 * 1024;

// Members that an older or newer version writes are passed over: two versions run side by side during an upgrade.
#[derive(Serialize, Deserialize)]
struct Written<'a> {
    destination: Cow<'a, str>,
    records: Cow<'a, [RecordId]>,
    correlation_id: Cow<'a, str>,
}

pub(crate) fn write(wakeup: &Wakeup) -> Vec<u8> {
    let Wakeup { destination, records, correlation_id } = wakeup;
    let written = Written { destination: destination.into(), records: records.as_slice().into(), correlation_id: correlation_id.into() };
    // Strings and numbers always serialize; an empty one would be counted by whoever reads it.
    serde_json::to_vec(&written).unwrap_or_default()
}

/// `None`: nothing that we wrote.
pub(crate) fn read(body: &[u8]) -> Option<Wakeup> {
    if body.len() > WAKEUP_BYTES_MAX {
        return None;
    }
    let Written { destination, records, correlation_id } = serde_json::from_slice(body).ok()?;
    let fits = records.len() <= RECORDS_MAX;
    fits.then(|| Wakeup {
        destination: destination.into_owned(),
        records: records.into_owned(),
        correlation_id: correlation_id.into_owned(),
    })
}

pub(crate) fn write_dead_letter(letter: &DeadLetter) -> Vec<u8> {
    let DeadLetter { delivery, destination, object, reason, at } = letter;
    json!({
        "delivery": delivery, "destination": destination, "object": object, "state": reason.state(), "reason": reason.as_str(),
        "remedy": reason.remedy(), "at": at.to_string(), "show": format!("onceward dead-letters show {delivery}"),
    })
    .to_string()
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wakeup_reads_back_and_anything_else_is_refused() {
        let wakeup = Wakeup {
            destination: "crm".into(),
            records: (0..256).map(|n| RecordId(i64::MAX - n)).collect(),
            correlation_id: "a\"b\n".into(),
        };
        let written = write(&wakeup);
        assert!(written.len() < 8_192, "{}", written.len());
        assert_eq!(read(&written), Some(wakeup));
        let newer = br#"{"destination":"crm","records":[],"correlation_id":"c","more":[1]}"#;
        assert!(read(newer).is_some());
        let too_many = write(&Wakeup { destination: "crm".into(), records: vec![RecordId(1); 257], correlation_id: String::new() });
        let too_long = write(&Wakeup { destination: "x".repeat(WAKEUP_BYTES_MAX), records: vec![], correlation_id: String::new() });
        for wrong in [&b""[..], b"{}", b"null", b"\xff\xfe", br#"{"destination":1,"records":[],"correlation_id":""}"#, &too_many, &too_long]
        {
            assert_eq!(read(wrong), None);
        }
    }
}
