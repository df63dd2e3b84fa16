//! Catching up: lists what a vendor has and takes in what the ledger has not seen, page by page, as if it had been pushed.
//!
//! What a list gives is read by the same mapping and under the same keys as a push. Only what is missing is taken in, so that a schedule which looks
//! through a quiet day leaves nothing behind; its raw event is the push that would have told of it, marked with the run's id.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use connect::vendor::{Listed, Vendor, Window};
use model::intake::{self, Fate, NewEvent};
use model::mapping::ReadContext;
use model::quota::Lane;
use model::seal::{HashKey, NONCE_BYTES, SealingKeys, pack};
use model::source::Source;
use model::{Class, Event, EventId, Failure, RawEventId, Received, Scope, Time};
use queue::Queue;
use sha2::{Digest as _, Sha256};
use store::{CatchUpRow, Disposition, Intake, Listing, NewRawEvent, PageEnd};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::engine::{Engine, Target, To};

/// The header that marks a raw event which nobody pushed; its value is the run's id.
pub const MARK: &str = "onceward-caught-up";
/// How often the ledger is asked whether a run is due …
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// … and how often the schedules are.
const SCHEDULE_EVERY: Duration = Duration::from_secs(30);
/// How long the loop waits after the ledger failed.
const LEDGER_RETRY: Duration = Duration::from_secs(5);
/// Requests that are taken in by one transaction, so that none holds up intake for long.
const TAKEN_AT_ONCE: usize = 20;

/// Catches up with the vendors of the sources that can be asked.
#[derive(Clone)]
pub struct CatchUp {
    /// The ledger, the routes, and the sources among the targets.
    pub engine: Engine,
    /// Whom to wake.
    pub queue: Queue,
    /// What raw events are sealed with.
    pub keys: SealingKeys,
    /// What identities are hashed with.
    pub hash_key: HashKey,
    /// How often each source is caught up with, where it is by itself.
    pub every: BTreeMap<String, Duration>,
    /// Fresh chance for a seal; `None` if the system has none to give.
    pub nonce: fn() -> Option<[u8; NONCE_BYTES]>,
}

/// What a listed thing would be as an intake, and which of its events are missing.
struct Read {
    intake: Intake,
    missing: u64,
}

impl CatchUp {
    /// Runs until `stop` turns true.
    pub async fn run(self, now: fn() -> Time, mut stop: watch::Receiver<bool>) {
        let mut scheduled: Option<Time> = None;
        while !*stop.borrow() {
            let at = now();
            let mut rest = LOOK_EVERY;
            if scheduled.is_none_or(|last| last > at || at.since(last) >= SCHEDULE_EVERY) {
                scheduled = Some(at);
                if let Err(error) = self.schedule(at).await {
                    tracing::warn!(%error, "the schedules of catching up could not be looked at; they are tried again");
                }
            }
            match self.step(now).await {
                Ok(true) => rest = Duration::ZERO,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "catching up waits for the ledger; a page under way is listed again when its lease ends");
                    rest = LEDGER_RETRY;
                }
            }
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = sleep(rest) => {}
            }
        }
    }

    /// Begins the runs that are due by their schedules.
    ///
    /// # Errors
    ///
    /// The ledger cannot be written.
    pub async fn schedule(&self, now: Time) -> Result<(), store::Error> {
        for (source, every) in &self.every {
            if let Some(id) = self.engine.store.schedule_catch_up(now, source, *every).await? {
                tracing::info!(source, catch_up = %id, "catching up by schedule");
            }
        }
        Ok(())
    }

    /// Claims a page, lists it, takes in what is missing, notes it. `false`: none was due.
    ///
    /// # Errors
    ///
    /// The ledger's. The page is listed again when its lease ends.
    pub async fn step(&self, now: fn() -> Time) -> Result<bool, store::Error> {
        let sources: BTreeMap<&str, (&Target, &Arc<Source>, &Arc<Vendor>)> = self.sources().collect();
        let listings: Vec<Listing<'_>> =
            sources.iter().map(|(name, (target, _, _))| Listing { source: name, policy: &target.policy }).collect();
        let Some(row) = self.engine.store.claim_catch_up(now(), &self.engine.holder, &listings).await? else { return Ok(false) };
        let Some((target, source, vendor)) = sources.get(row.source.as_str()) else { return Ok(false) };
        let end = self.page(&row, source, vendor, now).await?;
        let held = self.engine.store.note_catch_up(now(), &target.policy, &row, &end).await?;
        tell(&row, &end, held);
        Ok(true)
    }

    fn sources(&self) -> impl Iterator<Item = (&str, (&Target, &Arc<Source>, &Arc<Vendor>))> {
        self.engine.targets.values().filter_map(|target| match &target.to {
            To::Crm(_) => None,
            To::Source { source, vendor } => Some((source.name.as_str(), (&**target, source, vendor))),
        })
    }

    async fn page(&self, row: &CatchUpRow, source: &Source, vendor: &Vendor, now: fn() -> Time) -> Result<PageEnd, store::Error> {
        let lists = vendor.kind().lists();
        let place = usize::try_from(row.list).unwrap_or(usize::MAX);
        let Some(list) = lists.get(place) else {
            let message = "the source's vendor keeps no such list: was its `fetch.client` changed?";
            return Ok(PageEnd::Unlisted(Failure::new(Class::Permanent, Scope::Call, "no_list", message)));
        };
        let window = Window { since: row.since, until: row.until };
        if let Err(failure) = vendor.can_list(list, window, row.cursor.as_deref()) {
            return Ok(PageEnd::Unlisted(failure));
        }
        let page = match vendor.list(list, window, row.cursor.as_deref(), now()).await {
            Ok(page) => page,
            Err(failure) => return Ok(PageEnd::Failed(failure)),
        };
        let mut reads = Vec::with_capacity(page.objects.len());
        for listed in &page.objects {
            match self.read(row, source, listed, now()) {
                Some(read) => reads.push(read),
                None => return Ok(PageEnd::Again),
            }
        }
        let (seen, ignored) = self.mark_missing(source, &mut reads).await?;
        let missing: u64 = reads.iter().map(|read| read.missing).sum();
        reads.retain(|read| read.missing > 0);
        if !row.dry_run {
            self.take_in(&row.source, reads, now()).await?;
        }
        let next = match page.next {
            Some(cursor) => Some((row.list, Some(cursor))),
            None => (place + 1 < lists.len()).then_some((row.list + 1, None)),
        };
        Ok(PageEnd::Listed { next, seen, ignored, missing })
    }

    /// From what a list gave to what a push of it would have been; `None` if the system has no chance to seal it with.
    fn read(&self, row: &CatchUpRow, source: &Source, listed: &Listed, now: Time) -> Option<Read> {
        let body = listed.push.to_string().into_bytes();
        let id = row.id.to_string();
        let headers = [("content-type".to_owned(), b"application/json".to_vec()), (MARK.to_owned(), id.clone().into_bytes())];
        let target = format!("/webhooks/{}", source.name);
        let request = Received { method: "POST", target: &target, headers: &headers, body: &body };
        let raw = RawEventId(self.engine.store.next_id(now));
        let sealed = self.keys.seal((self.nonce)()?, raw.0, &pack(&request)).ok()?;
        let mut events = self.events(source, &request, raw, &id, now)?;
        if let Some((object, document)) = &listed.object {
            for event in &mut events {
                self.make_whole(source, event, object, document, now);
            }
        }
        let raw = NewRawEvent {
            id: raw,
            source: source.name.clone(),
            received_at: now,
            body_sha256: Sha256::digest(&body).into(),
            key_id: sealed.key_id,
            sealed: sealed.bytes,
            correlation_id: id,
        };
        Some(Read { intake: Intake { raw, events, lane: Lane::CatchUp }, missing: 0 })
    }

    fn events(&self, source: &Source, request: &Received<'_>, raw: RawEventId, correlation: &str, now: Time) -> Option<Vec<NewEvent>> {
        let mut event_id = || EventId(self.engine.store.next_id(now));
        let mut context = ReadContext {
            received_at: now,
            raw_event: raw,
            correlation_id: correlation,
            signed_headers: &[],
            hash_key: &self.hash_key,
            event_id: &mut event_id,
        };
        let trust = self.identifier_trust();
        let read = catch_unwind(AssertUnwindSafe(|| {
            let readings = source.read(request, &mut context);
            intake::prepare(source, request, readings, &self.engine.routes, &trust, &mut context)
        }));
        if read.is_err() {
            tracing::error!(
                source = source.name,
                "reading what a vendor listed failed because of a bug of ours, please report it; the run waits"
            );
        }
        read.ok()
    }

    fn identifier_trust(&self) -> BTreeMap<String, u8> {
        self.engine.targets.iter().map(|(name, target)| (name.clone(), target.policy.identifier_trust)).collect()
    }

    /// An event that would have to be fetched is whole already if the list gave its object. One that cannot be read so goes the usual way, so that its
    /// dead letter and replay are those of a fetch.
    fn make_whole(&self, source: &Source, event: &mut NewEvent, object: &str, document: &serde_json::Value, now: Time) {
        let Ok(held) = serde_json::from_str::<Event>(&event.normalized) else { return };
        if held.fetch.as_ref().is_none_or(|fetch| fetch.id != object) {
            return;
        }
        let trust = self.identifier_trust();
        let enriched = intake::enrich(source, &held, document, now, &self.engine.routes, &trust);
        if let (Fate::Deliveries(_), Some(normalized)) = (&enriched.fate, enriched.normalized) {
            event.normalized = normalized;
            event.mapping_version = enriched.mapping_version;
            event.warnings.extend(enriched.warnings);
            event.fate = enriched.fate;
        }
    }

    /// Counts, of each read, the events that the ledger lacks; says how many there are, and how many of them are irrelevant.
    async fn mark_missing(&self, source: &Source, reads: &mut [Read]) -> Result<(u64, u64), store::Error> {
        let relevant = |event: &&NewEvent| !matches!(event.fate, Fate::Ignored);
        let keys: Vec<String> = reads.iter().flat_map(|read| &read.intake.events).filter(relevant).map(|event| event.key.clone()).collect();
        let known = self.engine.store.known_keys(&source.name, &keys).await?;
        let (mut seen, mut ignored, mut met) = (0, 0, BTreeSet::new());
        for read in reads {
            for event in &read.intake.events {
                seen += 1;
                if matches!(event.fate, Fate::Ignored) {
                    ignored += 1;
                } else if !known.contains(&event.key) && met.insert(event.key.clone()) {
                    read.missing += 1;
                }
            }
        }
        Ok((seen, ignored))
    }

    async fn take_in(&self, source: &str, reads: Vec<Read>, now: Time) -> Result<(), store::Error> {
        let intakes: Vec<Intake> = reads.into_iter().map(|read| read.intake).collect();
        for batch in intakes.chunks(TAKEN_AT_ONCE) {
            let committed = self.engine.store.accept(now, batch).await?;
            committed.wakeups.into_iter().for_each(|wakeup| self.queue.wake(wakeup));
            for answered in committed.answers.iter().flatten() {
                let result = match answered.status {
                    Disposition::Accepted => "accepted",
                    Disposition::Duplicate => "duplicate",
                    Disposition::Ignored => "ignored",
                    Disposition::DeadLetter => "dead_letter",
                };
                metrics::counter!("onceward_caught_up_total", "source" => source.to_owned(), "result" => result).increment(1);
            }
        }
        Ok(())
    }
}

fn tell(row: &CatchUpRow, end: &PageEnd, held: bool) {
    let (source, catch_up) = (&row.source, row.id);
    match end {
        _ if !held => tracing::warn!(source, %catch_up, "a page was listed by another worker as well; its note counts"),
        PageEnd::Listed { next: None, .. } => tracing::info!(source, %catch_up, "caught up"),
        PageEnd::Listed { .. } => {}
        // The vendor's words may hold anything: they are in the ledger.
        PageEnd::Failed(failure) | PageEnd::Unlisted(failure) => {
            tracing::warn!(source, %catch_up, code = failure.code, class = failure.class.as_str(), "a page of a vendor's list could not be had")
        }
        PageEnd::Again => tracing::warn!(source, %catch_up, "a page could not be taken in; it is listed again"),
    }
}
