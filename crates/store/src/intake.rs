//! Committing a batch of requests: duplicates, identity, deliveries, whom to wake.

mod floor;

pub use floor::Scratch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Instant;

use model::event::Warning;
use model::intake::{Fate, NewDelivery, NewEvent};
use model::quota::Lane;
use model::record::Record;
use model::wakeup::{RECORDS_MAX, Wakeup};
use model::{DeliveryId, EventId, Reason, RecordId, Time};

use crate::rows::{AliasKey, DeadLetter, Delivery, DeliveryState, Event, Hash, KnownEvent, RawDisposition, RawEvent, RecordEntry, hash};
use crate::tx::Tx;
use crate::types::{AnsweredEvent, Committed, Disposition, Intake};
use crate::{Error, Store};

/// The event that a delivery carries: what must be known of it to find the delivery's record.
#[derive(Clone, Copy)]
pub struct Bearer<'a> {
    pub event: EventId,
    /// The source's name.
    pub source: &'a str,
    pub trust: u8,
    /// How urgent what comes of it is.
    pub lane: Lane,
}

/// Everything that a batch writes.
#[derive(Default)]
pub struct Plan {
    raws: Vec<RawEvent>,
    events: Vec<Event>,
    pub deliveries: Vec<Delivery>,
    dead_letters: Vec<DeadLetter>,
    records: BTreeMap<RecordId, RecordEntry>,
    new_aliases: BTreeMap<AliasKey, RecordId>,
    known_aliases: BTreeMap<AliasKey, RecordId>,
    kinds: BTreeSet<(RecordId, String)>,
    touched: BTreeMap<RecordId, (String, String)>,
    lanes: BTreeMap<RecordId, Lane>,
    heal: BTreeSet<EventId>,
    pub warnings: Vec<(EventId, String, Warning)>,
}

impl Store {
    /// T1–T4: commits a batch of requests in one transaction. The answers are in the order of the requests.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`]: nothing was written, or that is not known; whoever sends again is answered as a duplicate.
    /// [`Error::Rule`]: one request of the batch cannot be written; nothing was.
    pub async fn accept(&self, now: Time, batch: &[Intake]) -> Result<Committed, Error> {
        again!(self.whole(self.accept_all(now, batch)).await)
    }

    async fn accept_all(&self, now: Time, batch: &[Intake]) -> Result<Committed, Error> {
        let begun = Instant::now();
        let mut tx = self.begin(&names(batch)).await?;
        self.waited_us.fetch_add(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let committed = self.accept_in(&mut tx, now, batch).await?;
        tx.commit().await?;
        Ok(committed)
    }

    /// Everything of [`Store::accept`] but the transaction's two ends; it was begun with the batch's [`names`].
    pub(crate) async fn accept_in(&self, tx: &mut Tx, now: Time, batch: &[Intake]) -> Result<Committed, Error> {
        let mut known = tx.find_events(&keys(batch)).await?;
        let renamed = conflicts(batch, &known);
        if !renamed.is_empty() {
            known.extend(tx.find_events(&renamed.values().map(|(source, key)| (source.clone(), hash(key))).collect()).await?);
        }
        let mut plan = Plan::default();
        plan.load_aliases(tx, batch.iter().flat_map(|intake| &intake.events).flat_map(|event| event.fate.deliveries())).await?;
        let mut answers = Vec::with_capacity(batch.len());
        for intake in batch {
            let mut answered = Vec::with_capacity(intake.events.len());
            for event in &intake.events {
                answered.push(self.take_event(&mut plan, &mut known, intake, event, now));
            }
            plan.raws.push(raw_event(intake, &answered));
            answers.push(answered);
        }
        let healed = if plan.heal.is_empty() { BTreeSet::new() } else { tx.open_records_of(&plan.heal).await? };
        let best = batch.iter().map(|intake| intake.lane).min().unwrap_or_default();
        plan.write(tx, &healed.iter().map(|record| (*record, best)).collect(), now).await?;
        let wakeups = self.wakeups(tx, &plan, &healed, batch).await?;
        let warnings = plan.warnings.into_iter().map(|(_, source, warning)| (source, warning)).collect();
        Ok(Committed { answers, warnings, wakeups })
    }

    fn take_event(
        &self,
        plan: &mut Plan,
        known: &mut BTreeMap<(String, Hash), KnownEvent>,
        intake: &Intake,
        event: &NewEvent,
        now: Time,
    ) -> AnsweredEvent {
        let source = &intake.raw.source;
        let mut key = event.key.clone();
        let mut conflict = false;
        if let Some(held) = known.get(&(source.clone(), hash(&key))) {
            // Under another mapping the same content hashes otherwise: then only the key can tell.
            if held.ignored || held.content_hash == event.content_hash || held.mapping_version != event.mapping_version {
                plan.heal.insert(held.id);
                return answer(held.id, key, Disposition::Duplicate, None);
            }
            key = conflict_key(event);
            conflict = true;
            if let Some(held) = known.get(&(source.clone(), hash(&key))) {
                return answer(held.id, key, Disposition::Duplicate, None);
            }
        }
        let ignored = matches!(event.fate, Fate::Ignored);
        let seen = KnownEvent { id: event.id, content_hash: event.content_hash, mapping_version: event.mapping_version.clone(), ignored };
        known.insert((source.clone(), hash(&key)), seen);
        let first = plan.warnings.len();
        let conflicting = Fate::DeadLetter {
            reason: Reason::KeyConflict,
            message: format!("this key was seen before with other content, as {}", event.key),
            owner: None,
        };
        let fate = if conflict { &conflicting } else { &event.fate };
        let (status, reason) = self.take_fate(plan, source, event, fate, intake.lane, now);
        let mut warnings = event.warnings.clone();
        warnings.extend(plan.warnings.iter().skip(first).map(|(_, _, warning)| warning.clone()));
        plan.events.push(Event {
            id: event.id,
            source: source.clone(),
            key: key.clone(),
            event_type: event.event_type.clone(),
            occurred_at: event.occurred_at,
            received_at: intake.raw.received_at,
            trust: event.trust,
            mapping_version: event.mapping_version.clone(),
            content_hash: event.content_hash,
            ignored,
            fallback_key: event.fallback_key,
            raw_event: intake.raw.id,
            correlation_id: own_correlation(intake),
            warnings,
            normalized: event.normalized.clone(),
        });
        answer(event.id, key, status, reason)
    }

    fn take_fate(
        &self,
        plan: &mut Plan,
        source: &str,
        event: &NewEvent,
        fate: &Fate,
        lane: Lane,
        now: Time,
    ) -> (Disposition, Option<Reason>) {
        match fate {
            Fate::Ignored => (Disposition::Ignored, None),
            Fate::DeadLetter { reason, message, owner } => {
                plan.bury(event.id.delivery(1), source, None, *reason, message.clone(), owner.clone(), now);
                (Disposition::DeadLetter, Some(*reason))
            }
            Fate::Deliveries(deliveries) if deliveries.len() as i64 > EventId::DELIVERIES_MAX => {
                let message =
                    format!("{} routes take this event, and an event has at most {} deliveries", deliveries.len(), EventId::DELIVERIES_MAX);
                plan.bury(event.id.delivery(1), source, None, Reason::Limits, message, None, now);
                (Disposition::DeadLetter, Some(Reason::Limits))
            }
            Fate::Deliveries(deliveries) => {
                let mut open = false;
                let bearer = Bearer { event: event.id, source, trust: event.trust, lane };
                for (ordinal, delivery) in (1..=EventId::DELIVERIES_MAX).zip(deliveries) {
                    open |= self.take_delivery(plan, bearer, delivery, event.id.delivery(ordinal), now).is_some();
                }
                if open { (Disposition::Accepted, None) } else { (Disposition::DeadLetter, Some(Reason::MissingIdentity)) }
            }
        }
    }

    /// Adds one delivery; `None` if nothing says whose it is.
    pub(crate) fn take_delivery(
        &self,
        plan: &mut Plan,
        bearer: Bearer<'_>,
        delivery: &NewDelivery,
        id: DeliveryId,
        now: Time,
    ) -> Option<RecordId> {
        let target = Some((delivery.destination.clone(), delivery.object.clone()));
        let Some(record) = plan.record_of(delivery, bearer, || RecordId(self.next_id(now)), now) else {
            let message =
                format!("none of the identifiers that {} of {} is matched by is in this event", delivery.object, delivery.destination);
            plan.bury(
                id,
                bearer.source,
                target.map(|target| (target, delivery)),
                Reason::MissingIdentity,
                message,
                delivery.owner.clone(),
                now,
            );
            return None;
        };
        plan.deliveries.push(Delivery {
            id,
            record: Some(record),
            destination: Some(delivery.destination.clone()),
            object: Some(delivery.object.clone()),
            mode: delivery.mode,
            state: DeliveryState::Open,
            generation: 1,
            lane: bearer.lane,
            wake_at: Some(now),
            outcome: None,
            ended_at: None,
            call: None,
            owner: delivery.owner.clone(),
            superseded_by: None,
        });
        Some(record)
    }

    async fn wakeups(&self, tx: &mut Tx, plan: &Plan, healed: &BTreeSet<RecordId>, batch: &[Intake]) -> Result<Vec<Wakeup>, Error> {
        let mut by_destination: BTreeMap<String, Vec<RecordId>> = BTreeMap::new();
        for (record, (destination, _)) in &plan.touched {
            by_destination.entry(destination.clone()).or_default().push(*record);
        }
        let unseen: BTreeSet<RecordId> = healed.iter().filter(|record| !plan.touched.contains_key(record)).copied().collect();
        if !unseen.is_empty() {
            for entry in tx.records(&unseen).await?.into_values() {
                by_destination.entry(entry.destination).or_default().push(entry.id);
            }
        }
        let correlation_id = batch.first().map(|intake| intake.raw.correlation_id.clone()).unwrap_or_default();
        Ok(wakeups(by_destination, &correlation_id))
    }
}

/// Every name that committing a batch uses.
pub fn names(batch: &[Intake]) -> Vec<&str> {
    let mut names: Vec<&str> = batch.iter().map(|intake| intake.raw.source.as_str()).collect();
    for delivery in batch.iter().flat_map(|intake| &intake.events).flat_map(|event| event.fate.deliveries()) {
        names.extend([delivery.destination.as_str(), delivery.object.as_str()]);
    }
    names
}

/// At most [`RECORDS_MAX`] records in each.
pub fn wakeups(by_destination: BTreeMap<String, Vec<RecordId>>, correlation_id: &str) -> Vec<Wakeup> {
    let mut all = Vec::new();
    for (destination, records) in by_destination {
        let chunks = records.chunks(RECORDS_MAX);
        all.extend(chunks.map(|chunk| Wakeup {
            destination: destination.clone(),
            records: chunk.to_vec(),
            correlation_id: correlation_id.to_owned(),
        }));
    }
    all
}

fn answer(id: EventId, idempotency_key: String, status: Disposition, reason: Option<Reason>) -> AnsweredEvent {
    AnsweredEvent { id, idempotency_key, status, reason }
}

fn keys(batch: &[Intake]) -> BTreeSet<(String, Hash)> {
    batch.iter().flat_map(|intake| intake.events.iter().map(|event| (intake.raw.source.clone(), hash(&event.key)))).collect()
}

/// H34: the key under which other content is kept; sent again, it is its own duplicate.
fn conflict_key(event: &NewEvent) -> String {
    let suffix = format!("#{}", hex::encode(&event.content_hash[..8]));
    let mut key = event.key.clone();
    model::failure::truncate(&mut key, 255 - suffix.len());
    key + &suffix
}

/// Keys of this batch that are there with other content already, and the keys that those contents get.
fn conflicts(batch: &[Intake], known: &BTreeMap<(String, Hash), KnownEvent>) -> BTreeMap<EventId, (String, String)> {
    let mut renamed = BTreeMap::new();
    let mut in_batch: BTreeMap<(String, Hash), Hash> = BTreeMap::new();
    for intake in batch {
        for event in &intake.events {
            let key = (intake.raw.source.clone(), hash(&event.key));
            let held = known.get(&key).map(|held| held.content_hash);
            let first = held.unwrap_or_else(|| *in_batch.entry(key).or_insert(event.content_hash));
            if first != event.content_hash {
                renamed.insert(event.id, (intake.raw.source.clone(), conflict_key(event)));
            }
        }
    }
    renamed
}

fn own_correlation(intake: &Intake) -> Option<String> {
    Some(intake.raw.correlation_id.clone()).filter(|id| *id != intake.raw.id.to_string())
}

fn raw_event(intake: &Intake, answered: &[AnsweredEvent]) -> RawEvent {
    let any = |status| answered.iter().any(|event| event.status == status);
    let disposition = if any(Disposition::DeadLetter) {
        RawDisposition::DeadLetter
    } else if any(Disposition::Accepted) {
        RawDisposition::Accepted
    } else if any(Disposition::Ignored) {
        RawDisposition::Ignored
    } else if answered.is_empty() {
        RawDisposition::Empty
    } else {
        RawDisposition::Duplicate
    };
    let raw = &intake.raw;
    RawEvent {
        id: raw.id,
        source: raw.source.clone(),
        received_at: raw.received_at,
        disposition,
        events: answered.iter().map(|event| event.id).collect(),
        body_sha256: raw.body_sha256,
        key_id: raw.key_id,
        sealed: raw.sealed.clone(),
        correlation_id: own_correlation(intake),
    }
}

impl Plan {
    /// Looks up every identifier of these deliveries.
    pub async fn load_aliases<'a>(&mut self, tx: &mut Tx, deliveries: impl Iterator<Item = &'a NewDelivery>) -> Result<(), Error> {
        let wanted: BTreeSet<AliasKey> = deliveries.flat_map(alias_keys).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        self.known_aliases = tx.find_aliases(&wanted).await?;
        if self.known_aliases.len() < wanted.len() && !self.known_aliases.is_empty() {
            self.kinds = tx.alias_kinds(&self.known_aliases.values().copied().collect()).await?;
        }
        Ok(())
    }

    fn alias(&self, key: &AliasKey) -> Option<RecordId> {
        self.known_aliases.get(key).or_else(|| self.new_aliases.get(key)).copied()
    }

    /// The record that a delivery belongs to: the first identifier that is known decides, else it is a new one.
    fn record_of(
        &mut self,
        delivery: &NewDelivery,
        Bearer { event, source, trust, lane }: Bearer<'_>,
        new_id: impl FnOnce() -> RecordId,
        now: Time,
    ) -> Option<RecordId> {
        let keys: Vec<AliasKey> = alias_keys(delivery).collect();
        if keys.is_empty() {
            return None;
        }
        let found = keys.iter().find_map(|key| self.alias(key));
        let record = found.unwrap_or_else(|| {
            let id = new_id();
            let entry = RecordEntry {
                id,
                destination: delivery.destination.clone(),
                object: delivery.object.clone(),
                key: delivery.key.clone(),
                record: Record { lane, ..Record::new(now) },
            };
            self.records.insert(id, entry);
            id
        });
        for (key, identifier) in keys.into_iter().zip(&delivery.identifiers) {
            // An id in its source's own namespace is one more name of this record: it takes the place of no other source's.
            let own = identifier.value.strip_prefix(source).is_some_and(|id| identifier.kind == "external_id" && id.starts_with(':'));
            let has_kind = self.kinds.contains(&(record, key.kind.clone()));
            let warning = match self.alias(&key) {
                Some(other) if other != record => format!("its {} belongs to another record than the identifier before it", key.kind),
                Some(_) => continue,
                None if !has_kind || own || trust >= delivery.identifier_trust => {
                    self.kinds.insert((record, key.kind.clone()));
                    self.new_aliases.insert(key, record);
                    continue;
                }
                None => format!(
                    "its record has another {} already; a source with trust {} or more may add one",
                    key.kind, delivery.identifier_trust
                ),
            };
            self.warnings.push((event, source.to_owned(), Warning { kind: "identity_conflict".into(), message: warning }));
        }
        self.touched.insert(record, (delivery.destination.clone(), delivery.object.clone()));
        let best = self.lanes.entry(record).or_insert(lane);
        *best = lane.min(*best);
        Some(record)
    }

    #[expect(clippy::too_many_arguments, reason = "a dead letter's row has these")]
    fn bury(
        &mut self,
        id: DeliveryId,
        source: &str,
        target: Option<((String, String), &NewDelivery)>,
        reason: Reason,
        message: String,
        owner: Option<String>,
        now: Time,
    ) {
        let (destination, object) = target.as_ref().map(|((destination, object), _)| (destination.clone(), object.clone())).unzip();
        self.deliveries.push(Delivery {
            id,
            record: None,
            destination: destination.clone(),
            object,
            mode: target.map_or_else(Default::default, |(_, delivery)| delivery.mode),
            state: DeliveryState::of(reason),
            generation: 1,
            lane: Lane::default(),
            wake_at: None,
            outcome: None,
            ended_at: Some(now),
            call: None,
            owner: owner.clone(),
            superseded_by: None,
        });
        let source = source.to_owned();
        self.dead_letters.push(DeadLetter {
            delivery: id,
            destination,
            source,
            reason,
            class: None,
            message,
            owner,
            failed_at: now,
            attempts: 0,
        });
    }

    /// Writes what was learned of whom records are about.
    pub async fn write_aliases(&self, tx: &mut Tx) -> Result<(), Error> {
        if self.new_aliases.is_empty() || tx.insert_aliases(&self.new_aliases).await? == self.new_aliases.len() as u64 {
            return Ok(());
        }
        Err(Error::Raced("an identifier that was free belongs to another record by now".into()))
    }

    /// Writes everything, parents first, and wakes whom it concerns, with those of `healed`.
    pub async fn write(&self, tx: &mut Tx, healed: &BTreeMap<RecordId, Lane>, now: Time) -> Result<(), Error> {
        let mut records: Vec<RecordEntry> = self.records.values().cloned().collect();
        for entry in &mut records {
            entry.record.lane = self.lanes.get(&entry.id).copied().unwrap_or_default();
        }
        // On a server each statement is a round trip.
        if !records.is_empty() {
            tx.insert_records(&records).await?;
        }
        self.write_aliases(tx).await?;
        let mut wake = healed.clone();
        for (id, lane) in self.lanes.iter().filter(|(id, _)| !self.records.contains_key(id)) {
            let best = wake.entry(*id).or_insert(*lane);
            *best = (*lane).min(*best);
        }
        tx.insert_intake(&self.raws, &self.events, &self.deliveries, &wake, now).await?;
        if !self.dead_letters.is_empty() {
            tx.insert_dead_letters(&self.dead_letters).await?;
        }
        Ok(())
    }

    /// Dead letters with a destination that this makes: the delivery, its object, the reason.
    pub fn buried(&self) -> impl Iterator<Item = (DeliveryId, &str, Reason)> {
        let object = |id: DeliveryId| self.deliveries.iter().find(|held| held.id == id).and_then(|held| held.object.as_deref());
        self.dead_letters.iter().filter_map(move |letter| Some((letter.delivery, object(letter.delivery)?, letter.reason)))
    }

    /// Records that have something new, by destination.
    pub fn touched(&self) -> BTreeMap<String, Vec<RecordId>> {
        let mut by_destination: BTreeMap<String, Vec<RecordId>> = BTreeMap::new();
        for (record, (destination, _)) in &self.touched {
            by_destination.entry(destination.clone()).or_default().push(*record);
        }
        by_destination
    }
}

fn alias_keys(delivery: &NewDelivery) -> impl Iterator<Item = AliasKey> + '_ {
    delivery.identifiers.iter().map(|identifier| AliasKey {
        hash: hash(&identifier.canonical()),
        kind: identifier.kind.clone(),
        destination: delivery.destination.clone(),
        object: delivery.object.clone(),
    })
}
