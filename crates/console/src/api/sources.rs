//! Sources: how they are, and what was refused of them.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use model::{RejectedId, Time};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::id;
use crate::App;
use crate::access::Actor;
use crate::ask::{Ask, Body, reason};
use crate::problem::{Problem, Refusal};
use crate::rejected::{self, Wanted};
use crate::spelled::spelled;

type Answer = Result<Json<Value>, Refusal>;

/// A configured source.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SourceRow {
    pub(crate) name: String,
    pub(crate) preset: Option<String>,
    pub(crate) trust: u8,
    pub(crate) retired: bool,
    /// When the last event arrived; null if none ever did.
    pub(crate) last_event_at: Option<Time>,
    /// Requests since this process started, by what became of them.
    pub(crate) requests: BTreeMap<String, u64>,
    /// Refused requests that are kept.
    pub(crate) rejected: u64,
}

/// Every configured source.
pub(crate) async fn rows(app: &App) -> Result<Vec<SourceRow>, Refusal> {
    let last: BTreeMap<String, Time> = app.store().gauges(app.now()).await?.sources.into_iter().collect();
    let kept = app.store().count_rejected().await?;
    let mut requests = requests(&(app.console.metrics)());
    let row = |source: &model::source::Source| SourceRow {
        name: source.name.clone(),
        preset: source.preset.clone(),
        trust: source.trust,
        retired: source.retired,
        last_event_at: last.get(&source.name).copied(),
        requests: requests.remove(&source.name).unwrap_or_default(),
        rejected: kept.get(&source.name).copied().unwrap_or_default(),
    };
    Ok(app.console.sources.values().map(AsRef::as_ref).map(row).collect())
}

/// What this process has counted at its door, by source and result.
fn requests(metrics: &str) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut counted: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for line in metrics.lines() {
        let Some((labels, number)) = line.strip_prefix("onceward_ingest_requests_total{").and_then(|rest| rest.split_once("} ")) else {
            continue;
        };
        let label = |name: &str| labels.split(',').find_map(|pair| pair.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"'));
        if let (Some(source), Some(result), Ok(number)) = (label("source"), label("result"), number.trim().parse()) {
            counted.entry(source.to_owned()).or_default().insert(result.to_owned(), number);
        }
    }
    counted
}

/// Refuses a name that nobody ever configured.
pub(crate) async fn known(app: &App, name: &str) -> Result<(), Refusal> {
    if app.console.sources.contains_key(name) || app.store().source_existed(name).await? {
        return Ok(());
    }
    Err(Problem::NotFound.because("There is no source of this name; /api/sources lists them."))
}

pub(super) async fn list(State(app): State<App>, ask: Ask) -> Answer {
    ask.done()?;
    Ok(Json(json!({ "sources": spelled(&rows(&app).await?) })))
}

pub(super) async fn rejected(State(app): State<App>, Path(name): Path<String>, mut ask: Ask) -> Answer {
    let limit = ask.limit()?;
    ask.done()?;
    known(&app, &name).await?;
    let rows = app.store().rejected(Some(&name), limit).await?;
    Ok(Json(json!({ "source": name, "rejected": spelled(&rows) })))
}

pub(super) async fn drift(State(app): State<App>, Path(name): Path<String>, ask: Ask) -> Answer {
    ask.done()?;
    known(&app, &name).await?;
    Ok(Json(json!({ "source": name, "types": spelled(&app.store().drift(&name).await?) })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Retry {
    reason: Option<String>,
    id: Option<String>,
    after: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn retry(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Path(source): Path<String>,
    Body(body): Body<Retry>,
) -> Answer {
    let why = reason(body.reason)?;
    let one = |text: Option<String>| text.map(|text| id(&text, RejectedId::parse, RejectedId::PREFIX)).transpose();
    let wanted = Wanted { source, id: one(body.id)?, after: one(body.after)?, dry_run: body.dry_run };
    Ok(Json(json!(rejected::retry(&app, &actor, &why, wanted).await?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_door_counted_is_read_from_the_metrics() {
        let text = "# TYPE onceward_ingest_requests_total counter\n\
                    onceward_ingest_requests_total{source=\"forms\",result=\"accepted\"} 12\n\
                    onceward_ingest_requests_total{result=\"duplicate\",source=\"forms\"} 3\n\
                    onceward_ingest_rejected_not_kept_total{source=\"forms\"} 9\n";
        let expected = BTreeMap::from([("accepted".to_owned(), 12), ("duplicate".to_owned(), 3)]);
        assert_eq!(requests(text), BTreeMap::from([("forms".to_owned(), expected)]));
    }
}
