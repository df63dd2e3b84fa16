//! A fetched object has come: the events that waited for it become whole and go where the routes say, as if they had come so.

use std::collections::{BTreeMap, BTreeSet};

use model::event::Warning;
use model::intake::{self, Enriched, Fate};
use model::protocol::{Ending, OPEN_MAX, Outcome};
use model::{CallId, DeliveryId, Event, EventId, Reason, RecordId, Time};
use serde_json::Value;

use super::{Advanced, Ended, Enriching, Ledger, Work, parsed};
use crate::intake::{Bearer, Plan, wakeups};
use crate::rows::{Delivery, DeliveryState, OpenRow, ResultRow, Whole};
use crate::tx::Tx;
use crate::{Error, Store};

/// An object, and the deliveries whose events waited for it.
pub(super) struct Arrived {
    pub call: CallId,
    pub record: RecordId,
    /// What kind of object.
    pub object: String,
    pub deliveries: Vec<DeliveryId>,
    pub value: Value,
    /// When it was asked for: it is as it was then, or newer.
    pub at: Time,
}

/// An event whose object has come, with what it has become.
struct Ready<'a> {
    arrived: &'a Arrived,
    row: OpenRow,
    source: String,
    correlation_id: String,
    enriched: Enriched,
}

impl Store {
    /// Amendment 15: writes the whole events, their records and deliveries, and how the fetches ended. One that is heard twice is kept off by its fence.
    #[expect(clippy::too_many_arguments, reason = "one step of a transaction, apart for its length")]
    pub(super) async fn enrich(
        &self,
        tx: &mut Tx,
        work: &Work<'_>,
        arrived: &[Arrived],
        results: &mut [ResultRow],
        now: Time,
        ledger: &mut Ledger,
        advanced: &mut Advanced,
    ) -> Result<(), Error> {
        let Some(enriching) = work.enriching else { return Ok(()) };
        let ready = read(tx, work, enriching, arrived).await?;
        if ready.is_empty() {
            return Ok(());
        }
        let mut siblings: BTreeMap<EventId, Vec<Delivery>> = BTreeMap::new();
        for delivery in tx.deliveries_of(&ready.iter().map(|ready| ready.row.delivery.event()).collect()).await? {
            siblings.entry(delivery.id.event()).or_default().push(delivery);
        }
        let mut plan = Plan::default();
        plan.load_aliases(tx, ready.iter().flat_map(|ready| ready.enriched.fate.deliveries())).await?;
        let mut whole = Vec::new();
        for ready in &ready {
            let siblings = siblings.get(&ready.row.delivery.event()).map(Vec::as_slice).unwrap_or_default();
            let ending = self.take(&mut plan, ready, siblings, now);
            let (state, outcome) = ledger.end(ready.row.delivery, &ending, &ready.arrived.object, Some(ready.arrived.call), now);
            if let Some(result) = results.iter_mut().find(|result| result.call == ready.arrived.call) {
                result.endings.push((ready.row.delivery, state, outcome));
            }
            let failed = matches!(ending, Ending::Dead { reason: Reason::Limits, .. });
            if let Some(normalized) = ready.enriched.normalized.clone().filter(|_| !failed) {
                let (event, ignored) = (ready.row.delivery.event(), matches!(ready.enriched.fate, Fate::Ignored));
                whole.push(Whole { event, mapping_version: ready.enriched.mapping_version.clone(), ignored, normalized });
            }
            let mut warn = |source: &str, warning: &Warning| {
                ledger.warnings.entry(ready.row.delivery.event()).or_default().push(warning.clone());
                advanced.warnings.push((source.to_owned(), warning.clone()));
            };
            ready.enriched.warnings.iter().for_each(|warning| warn(&ready.source, warning));
            plan.warnings.drain(..).for_each(|(_, source, warning)| warn(&source, &warning));
        }
        tx.make_whole(&whole).await?;
        plan.write(tx, &BTreeMap::new(), now).await?;
        advanced.ended.extend(plan.buried().map(|(delivery, object, reason)| Ended {
            delivery,
            object: object.to_owned(),
            outcome: reason.as_str(),
            dead: Some(reason),
        }));
        let correlation_id = ready.first().map(|ready| ready.correlation_id.as_str()).unwrap_or_default();
        advanced.wakeups.extend(wakeups(plan.touched(), correlation_id));
        Ok(())
    }

    /// Adds the deliveries of a whole event that it does not have yet, and says how its fetch ended.
    fn take(&self, plan: &mut Plan, ready: &Ready<'_>, siblings: &[Delivery], now: Time) -> Ending {
        let own = ready.row.delivery;
        let deliveries = match &ready.enriched.fate {
            Fate::Ignored => return Ending::Succeeded(Outcome::Unchanged),
            Fate::DeadLetter { reason, message, .. } => {
                return Ending::Dead { reason: *reason, class: None, message: message.clone(), attempts: 1 };
            }
            Fate::Deliveries(deliveries) => deliveries,
        };
        let missing = deliveries.iter().filter(|planned| {
            !siblings.iter().any(|held| {
                let same = held.destination.as_ref() == Some(&planned.destination) && held.object.as_ref() == Some(&planned.object);
                same && !stands_for(own, held, siblings)
            })
        });
        let missing: Vec<_> = missing.collect();
        let last = siblings.last().map_or(own, |last| last.id).0 - own.event().0;
        if i64::try_from(missing.len()).is_ok_and(|count| last + count > EventId::DELIVERIES_MAX) {
            let message = format!("the event has had {last} deliveries; with {} more there would be too many", missing.len());
            return Ending::Dead { reason: Reason::Limits, class: None, message, attempts: 1 };
        }
        let bearer = Bearer { event: own.event(), source: &ready.source, trust: ready.row.trust, lane: ready.row.lane };
        for (ordinal, planned) in (last + 1..).zip(missing) {
            self.take_delivery(plan, bearer, planned, own.event().delivery(ordinal), now);
        }
        Ending::Succeeded(Outcome::Applied)
    }
}

/// What the events that waited have become. One delivery of an event speaks for all that wait for the same object.
async fn read<'a>(tx: &mut Tx, work: &Work<'_>, enriching: Enriching<'_>, arrived: &'a [Arrived]) -> Result<Vec<Ready<'a>>, Error> {
    let by_delivery: BTreeMap<DeliveryId, &Arrived> =
        arrived.iter().flat_map(|arrived| arrived.deliveries.iter().map(move |delivery| (*delivery, arrived))).collect();
    let records: BTreeSet<RecordId> = arrived.iter().map(|arrived| arrived.record).collect();
    let mut ready = Vec::new();
    for row in tx.open_deliveries(&records, OPEN_MAX).await? {
        let Some(arrived) = by_delivery.get(&row.delivery).copied() else { continue };
        let held: Event = parsed(&row)?;
        let Enriching { source, identifier_trust } = enriching;
        let enriched = intake::enrich(source, &held, &arrived.value, arrived.at, work.routes, identifier_trust);
        ready.push(Ready { arrived, row, source: held.source, correlation_id: held.audit.correlation_id, enriched });
    }
    Ok(ready)
}

/// Whether a delivery was closed by a replay for which this fetch was made: what it stood for is this fetch's to write.
fn stands_for(fetch: DeliveryId, held: &Delivery, siblings: &[Delivery]) -> bool {
    let mut next = Some(held);
    for _ in 0..siblings.len() {
        let Some(by) = next.filter(|held| held.state == DeliveryState::Cancelled).and_then(|held| held.superseded_by) else { return false };
        if by == fetch {
            return true;
        }
        next = siblings.iter().find(|sibling| sibling.id == by);
    }
    false
}
