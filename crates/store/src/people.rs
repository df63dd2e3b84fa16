//! What people do to the ledger: replay, resolve, assign, pause, resume. Each leaves an audit row.

use std::collections::{BTreeMap, BTreeSet};

use model::fetch::source_of;
use model::intake::{Fate, NewDelivery, NewEvent, fetch_again};
use model::protocol::OPEN_MAX;
use model::quota::Lane;
use model::wakeup::Wakeup;
use model::{DeliveryId, Reason, Time};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::intake::{Bearer, Plan, wakeups};
use crate::rows::{Delivery, DeliveryState, EndRow, Event, RawDisposition, RawEvent};
use crate::tx::Tx;
use crate::types::{Reopen, Reopened, Status};
use crate::{Error, Store};

impl Store {
    /// T16: sends one dead letter through again, under the same key and id, one generation on. Its event may have been normalized again; if it
    /// now belongs to another record, new deliveries replace this one. The wakeups are for the queue.
    ///
    /// # Errors
    ///
    /// The ledger cannot be written. [`Error::Refused`]: retention has dropped what the stored event held.
    pub async fn reopen(&self, now: Time, actor: &str, reason: &str, replay: &Reopen) -> Result<(Reopened, Vec<Wakeup>), Error> {
        again!(self.reopen_once(now, actor, reason, replay).await)
    }

    async fn reopen_once(&self, now: Time, actor: &str, reason: &str, replay: &Reopen) -> Result<(Reopened, Vec<Wakeup>), Error> {
        let mut names: Vec<String> = Vec::new();
        if let Some(Fate::Deliveries(deliveries)) = replay.event.as_ref().map(|event| &event.fate) {
            names.extend(deliveries.iter().flat_map(|delivery| [delivery.destination.clone(), delivery.object.clone()]));
        }
        names.extend(replay.edited.iter().map(|edited| edited.source.clone()));
        if replay.event.is_some() {
            // What finds nobody is listed under its source, whose name must be known before the transaction begins.
            names.extend(self.begin(&[]).await?.event(replay.delivery.event()).await?.map(|event| event.source));
        }
        let mut tx = self.begin(&names.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        let (Some(delivery), Some(event)) = (tx.delivery(replay.delivery).await?, tx.event(replay.delivery.event()).await?) else {
            return Ok((Reopened::NotFound, Vec::new()));
        };
        if !matches!(delivery.state, DeliveryState::Failed | DeliveryState::Quarantined) {
            return Ok((Reopened::InFlight { status: status_of(&delivery) }, Vec::new()));
        }
        if replay.event.is_none() && event.normalized == crate::views::PURGED {
            let what = "retention has dropped this event's payload, so there is nothing to send again: replay it with an edited payload";
            return Err(Error::Refused(what.into()));
        }
        if let Some(edited) = &replay.edited {
            let raw = RawEvent {
                id: edited.id,
                source: edited.source.clone(),
                received_at: edited.received_at,
                disposition: RawDisposition::Edited,
                events: vec![event.id],
                body_sha256: edited.body_sha256,
                key_id: edited.key_id,
                sealed: edited.sealed.clone(),
                correlation_id: None,
            };
            tx.insert_intake(&[raw], &[], &[], &BTreeMap::new(), now).await?;
        }
        let (result, woken) = match &replay.event {
            None => reopen_as_it_was(&mut tx, &delivery, &event, now).await?,
            Some(new) => self.reopen_anew(&mut tx, &delivery, event.clone(), new, now).await?,
        };
        let woken = match result {
            Reopened::Reopened { .. } | Reopened::Replaced { .. } => with_orphans(&mut tx, &delivery, &event, woken, now).await?,
            Reopened::StillDead { .. } | Reopened::InFlight { .. } | Reopened::NotFound => woken,
        };
        let detail = json!({ "reason": reason, "result": result, "mapping": if replay.event.is_some() { "current" } else { "original" },
            "edited_raw_event": replay.edited.as_ref().map(|edited| edited.id) });
        append_audit(&mut tx, now, actor, "replay", &replay.delivery.to_string(), &detail).await?;
        tx.commit().await?;
        Ok((result, woken))
    }

    async fn reopen_anew(
        &self,
        tx: &mut Tx,
        old: &Delivery,
        held: Event,
        new: &NewEvent,
        now: Time,
    ) -> Result<(Reopened, Vec<Wakeup>), Error> {
        let to_fetch = fetch_of(new);
        let held = match to_fetch {
            // Nobody settles a fetch of this event while it is looked at.
            Some(_) => hold_fetches(tx, held).await?,
            None => held,
        };
        let event = Event {
            event_type: new.event_type.clone(),
            trust: new.trust,
            mapping_version: new.mapping_version.clone(),
            ignored: matches!(new.fate, Fate::Ignored),
            warnings: new.warnings.clone(),
            normalized: if to_fetch.is_some() { text_to_fetch(&held, new) } else { new.normalized.clone() },
            ..held
        };
        let deliveries = match &new.fate {
            Fate::DeadLetter { reason, message, .. } => return still_dead(tx, old, *reason, message.clone(), now).await,
            // Listed as irrelevant by now: closed, with nothing in its place.
            Fate::Ignored => &Vec::new(),
            Fate::Deliveries(deliveries) => deliveries,
        };
        tx.update_event(&event).await?;
        let mut plan = Plan::default();
        plan.load_aliases(tx, deliveries.iter()).await?;
        let siblings = tx.deliveries_of(&BTreeSet::from([event.id])).await?;
        if let Some(fetch) = to_fetch.and_then(|planned| siblings.iter().find(|held| held.id != old.id && under_way(held, planned))) {
            // One fetch serves all that wait for it.
            let woken = match fetch.state {
                DeliveryState::Open => Vec::new(),
                DeliveryState::Failed | DeliveryState::Quarantined | DeliveryState::Succeeded | DeliveryState::Cancelled => {
                    reopen_as_it_was(tx, fetch, &event, now).await?.1
                }
            };
            replace(tx, old, Some(fetch.id), now).await?;
            return Ok((Reopened::Replaced { by: vec![fetch.id] }, woken));
        }
        // A target that a sibling serves is not served twice: only what this delivery stood for is opened.
        let meant = deliveries.iter().filter(|planned| {
            let same =
                |held: &Delivery| held.destination.as_ref() == Some(&planned.destination) && held.object.as_ref() == Some(&planned.object);
            if to_fetch.is_some() {
                return true;
            }
            if old.destination.is_some() { same(old) } else { !siblings.iter().any(|held| held.id != old.id && same(held)) }
        });
        let bearer = Bearer { event: event.id, source: &event.source, trust: new.trust, lane: Lane::Replay };
        let mut ordinal = siblings.last().map_or(0, |last| last.id.0 - event.id.0);
        let mut by = Vec::new();
        for planned in meant {
            ordinal += 1;
            if ordinal > model::EventId::DELIVERIES_MAX {
                return Err(Error::Refused(format!("{} has been replayed into as many deliveries as an event can have", event.id)));
            }
            let id = event.id.delivery(ordinal);
            let record = self.take_delivery(&mut plan, bearer, planned, id, now);
            if record.is_none() && old.destination.is_some() {
                let message = "none of the identifiers that its object is matched by is in the event".to_owned();
                return still_dead(tx, old, Reason::MissingIdentity, message, now).await;
            }
            if record.is_some() && record == old.record {
                // The same record: the same delivery, one generation on.
                plan.write_aliases(tx).await?;
                return reopen_as_it_was(tx, old, &event, now).await;
            }
            by.push(id);
        }
        plan.write(tx, &BTreeMap::new(), now).await?;
        replace(tx, old, by.first().copied(), now).await?;
        let woken = wakeups(plan.touched(), event.correlation_id.as_deref().unwrap_or_default());
        Ok((Reopened::Replaced { by }, woken))
    }

    /// T17: closes a dead letter as `cancelled`. `None`: no such delivery. A status other than `cancelled`: it is no dead letter.
    ///
    /// # Errors
    ///
    /// The ledger cannot be written.
    pub async fn resolve(&self, now: Time, actor: &str, id: DeliveryId, reason: &str) -> Result<Option<Status>, Error> {
        let mut tx = self.begin(&[]).await?;
        let Some(delivery) = tx.delivery(id).await? else { return Ok(None) };
        if !matches!(delivery.state, DeliveryState::Failed | DeliveryState::Quarantined) {
            return Ok(Some(status_of(&delivery)));
        }
        let end = EndRow { delivery: id, state: DeliveryState::Cancelled, outcome: None, at: now, call: None, superseded_by: None };
        tx.end_deliveries(&[end]).await?;
        tx.forget_dead_letter(id).await?;
        append_audit(&mut tx, now, actor, "resolve", &id.to_string(), &json!({ "reason": reason })).await?;
        tx.commit().await?;
        Ok(Some(Status::Cancelled))
    }

    /// Gives a dead letter to somebody. `false`: there is none.
    ///
    /// # Errors
    ///
    /// The ledger cannot be written.
    pub async fn assign(&self, now: Time, actor: &str, id: DeliveryId, owner: &str, reason: &str) -> Result<bool, Error> {
        let mut tx = self.begin(&[]).await?;
        if !tx.assign(id, owner).await? {
            return Ok(false);
        }
        append_audit(&mut tx, now, actor, "assign", &id.to_string(), &json!({ "reason": reason, "owner": owner })).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Stops deliveries to a destination until it is resumed. `false`: there is no such destination.
    ///
    /// # Errors
    ///
    /// The ledger cannot be written.
    pub async fn pause(&self, now: Time, actor: &str, destination: &str, reason: &str) -> Result<bool, Error> {
        self.change_destination(now, actor, destination, "pause", reason, |state| state.pause(format!("{actor}: {reason}"))).await
    }

    /// Lets deliveries go again; closes an open breaker and forgets refused credentials too.
    ///
    /// # Errors
    ///
    /// The ledger cannot be written.
    pub async fn resume(&self, now: Time, actor: &str, destination: &str, reason: &str) -> Result<bool, Error> {
        self.change_destination(now, actor, destination, "resume", reason, |state| state.resume(now)).await
    }

    async fn change_destination(
        &self,
        now: Time,
        actor: &str,
        name: &str,
        action: &str,
        reason: &str,
        change: impl FnOnce(&mut model::destination::Destination),
    ) -> Result<bool, Error> {
        let mut tx = self.begin(&[name]).await?;
        let Some(mut state) = tx.hold_destination(name).await? else { return Ok(false) };
        change(&mut state);
        tx.put_destination(name, &state).await?;
        append_audit(&mut tx, now, actor, action, name, &json!({ "reason": reason })).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Notes that somebody did something that must be seen later.
    ///
    /// # Errors
    ///
    /// The ledger cannot be written.
    pub async fn audit(&self, now: Time, actor: &str, action: &str, subject: &str, detail: &Value) -> Result<(), Error> {
        let mut tx = self.begin(&[]).await?;
        append_audit(&mut tx, now, actor, action, subject, detail).await?;
        tx.commit().await
    }
}

/// The fetch that an event begins with, if it came as nothing but an id.
fn fetch_of(new: &NewEvent) -> Option<&NewDelivery> {
    new.fate.deliveries().iter().find(|planned| source_of(&planned.destination).is_some())
}

/// The event as it is once no worker can settle a fetch of it any more before this transaction ends.
async fn hold_fetches(tx: &mut Tx, held: Event) -> Result<Event, Error> {
    let deliveries = tx.deliveries_of(&BTreeSet::from([held.id])).await?;
    let fetches = deliveries.iter().filter(|held| held.destination.as_deref().is_some_and(|name| source_of(name).is_some()));
    let records: BTreeSet<_> = fetches.filter_map(|held| held.record).collect();
    if records.is_empty() {
        return Ok(held);
    }
    tx.records(&records).await?;
    Ok(tx.event(held.id).await?.unwrap_or(held))
}

fn text_to_fetch(held: &Event, new: &NewEvent) -> String {
    match (serde_json::from_str(&held.normalized), serde_json::from_str(&new.normalized)) {
        (Ok(held), Ok(new)) => fetch_again(&held, &new),
        // Retention has dropped what it was.
        (Ok(_) | Err(_), _) => new.normalized.clone(),
    }
}

/// Whether a delivery is the same fetch, and has not ended well or been closed.
fn under_way(held: &Delivery, planned: &NewDelivery) -> bool {
    let open = matches!(held.state, DeliveryState::Open | DeliveryState::Failed | DeliveryState::Quarantined);
    open && held.destination.as_ref() == Some(&planned.destination) && held.object.as_ref() == Some(&planned.object)
}

/// Closes a dead letter in whose place another delivery goes on.
async fn replace(tx: &mut Tx, old: &Delivery, by: Option<DeliveryId>, now: Time) -> Result<(), Error> {
    let end = EndRow { delivery: old.id, state: DeliveryState::Cancelled, outcome: None, at: now, call: None, superseded_by: by };
    tx.end_deliveries(&[end]).await?;
    tx.forget_dead_letter(old.id).await
}

/// It fails again, perhaps for another reason: its state is that reason's.
async fn still_dead(tx: &mut Tx, old: &Delivery, reason: Reason, message: String, now: Time) -> Result<(Reopened, Vec<Wakeup>), Error> {
    let state = DeliveryState::of(reason);
    tx.end_deliveries(&[EndRow { delivery: old.id, state, outcome: None, at: now, call: None, superseded_by: None }]).await?;
    tx.bury(&[(old.id, reason, None, message.clone(), 0)], now).await?;
    Ok((Reopened::StillDead { reason, message }, Vec::new()))
}

async fn reopen_as_it_was(tx: &mut Tx, delivery: &Delivery, event: &Event, now: Time) -> Result<(Reopened, Vec<Wakeup>), Error> {
    let (Some(record), Some(destination)) = (delivery.record, &delivery.destination) else {
        let message = "it was never routed: replay it with the current mapping".to_owned();
        return Ok((Reopened::StillDead { reason: Reason::Unrouted, message }, Vec::new()));
    };
    tx.reopen(delivery.id, Lane::Replay, now).await?;
    let mut entries = tx.records(&BTreeSet::from([record])).await?;
    if let Some(entry) = entries.get_mut(&record) {
        // A person's replay starts the count anew; a record that waits out its backoff is due at once.
        (entry.record.tries, entry.record.attempts, entry.record.conflicts, entry.record.crashes) = (0, 0, 0, 0);
        // What else is on its way there is no less urgent for it.
        let open = tx.open_deliveries(&BTreeSet::from([record]), OPEN_MAX).await?;
        entry.record.lane = open.iter().map(|open| open.lane).min().unwrap_or(Lane::Replay);
        if entry.record.lease.is_none() {
            (entry.record.state, entry.record.wake_at) = (model::record::State::Due, Some(now));
        }
        tx.put_records(&[(entry, false)]).await?;
    }
    let wakeup = Wakeup {
        destination: destination.clone(),
        records: vec![record],
        correlation_id: event.correlation_id.clone().unwrap_or_else(|| event.raw_event.to_string()),
    };
    Ok((Reopened::Reopened { delivery: delivery.id, generation: delivery.generation + 1 }, vec![wakeup]))
}

/// Opens what had failed only because this delivery did: it waits for it again.
async fn with_orphans(tx: &mut Tx, parent: &Delivery, event: &Event, mut woken: Vec<Wakeup>, now: Time) -> Result<Vec<Wakeup>, Error> {
    for orphan in tx.orphans_of(event.id).await? {
        if let Some(orphan) = tx.delivery(orphan).await?.filter(|orphan| orphan.id != parent.id && orphan.destination == parent.destination)
        {
            woken.extend(reopen_as_it_was(tx, &orphan, event, now).await?.1);
        }
    }
    Ok(woken)
}

/// What an ended delivery shows; an open one is said to be queued, whatever its record is at.
fn status_of(delivery: &Delivery) -> Status {
    match delivery.state {
        DeliveryState::Open => Status::Queued,
        DeliveryState::Succeeded => Status::Succeeded,
        DeliveryState::Failed => Status::Failed,
        DeliveryState::Quarantined => Status::Quarantined,
        DeliveryState::Cancelled => Status::Cancelled,
    }
}

/// Adds a row whose hash covers the one before it, so that a changed or missing row shows.
pub async fn append_audit(tx: &mut Tx, now: Time, actor: &str, action: &str, subject: &str, detail: &Value) -> Result<(), Error> {
    let (seq, before) = tx.audit_tail().await?.map_or((1, Vec::new()), |(seq, hash)| (seq + 1, hash));
    let detail = detail.to_string();
    let hash = audit_hash(&before, seq, now, [actor, action, subject], &detail);
    tx.insert_audit(seq, now, [actor, action, subject], &detail, &hash).await
}

/// SHA-256 over the hash before and the row's members, each with its length.
pub fn audit_hash(before: &[u8], seq: i64, at: Time, words: [&str; 3], detail: &str) -> Vec<u8> {
    let mut digest = Sha256::new();
    for part in [before, seq.to_string().as_bytes(), at.0.to_string().as_bytes()] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    for part in words.into_iter().chain([detail]) {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    digest.finalize().to_vec()
}
