//! Raw requests, taken out of their seal for a person. Looking is audited before anything is shown.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::RawEventId;
use model::seal::{Kept, unpack};
use serde_json::{Value, json};
use store::RawEventRow;

use crate::App;
use crate::access::Actor;
use crate::problem::{Problem, Refusal};

/// A raw event, open.
pub(crate) struct Shown {
    pub(crate) row: RawEventRow,
    pub(crate) kept: Kept,
}

/// Opens a raw event for somebody, after the audit trail says so.
pub(crate) async fn shown(app: &App, actor: &Actor, id: RawEventId) -> Result<Shown, Refusal> {
    let row = row(app, id).await?;
    let kept = open(app, &row)?;
    app.store().audit(app.now(), &actor.name, "raw_event_read", &id.to_string(), &json!({})).await?;
    Ok(Shown { row, kept })
}

/// A raw event, still sealed: 404 if there is none.
pub(crate) async fn row(app: &App, id: RawEventId) -> Result<RawEventRow, Refusal> {
    app.store().raw_event(id).await?.ok_or_else(|| Problem::NotFound.because("There is no raw event with this id."))
}

/// Opens a raw event for mapping it again: 410 once retention has dropped it.
pub(crate) fn open(app: &App, row: &RawEventRow) -> Result<Kept, Refusal> {
    if row.sealed.is_empty() {
        return Err(Problem::PayloadPurged.because(
            "Retention has dropped this request's payload, so it cannot be shown or mapped again. Replay with `mapping: original`, or with an edited `payload`.",
        ));
    }
    let plain = app.console.keys.open(row.id.0, row.key_id, &row.sealed);
    plain.and_then(|plain| unpack(&plain)).map_err(|error| Problem::Unsealable.because(format!("{error}.")))
}

impl Shown {
    /// Headers and body for the API; what is not UTF-8 is given in base64.
    pub(crate) fn to_json(&self) -> Value {
        let (row, kept) = (&self.row, &self.kept);
        let headers: Vec<Value> = kept.headers.iter().map(|(name, value)| json!([name, String::from_utf8_lossy(value)])).collect();
        let mut shown = json!({
            "id": row.id,
            "source": row.source,
            "received_at": row.received_at.to_string(),
            "disposition": row.disposition,
            "body_sha256": hex::encode(&row.body_sha256),
            "correlation_id": row.correlation_id,
            "events": row.events,
            "method": kept.method,
            "target": kept.target,
            "headers": headers,
        });
        match std::str::from_utf8(&kept.body) {
            Ok(text) => shown["body"] = text.into(),
            Err(_) => shown["body_base64"] = STANDARD.encode(&kept.body).into(),
        }
        shown
    }
}
