//! The loops.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::wakeup::Wakeup;
use model::{Class, Failure, Scope, Time};
use queue::{DeadLetter, Held, Queue, Receipt};
use store::{Advanced, Call, Finished, Store};
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio::time::{sleep, timeout};

use crate::bell::Bell;
use crate::engine::{Engine, Target};
use crate::metrics;
use crate::overdue::Overdue;

/// How the loops run.
#[derive(Clone)]
pub struct Settings {
    /// The clock.
    pub now: fn() -> Time,
    /// Draws numbers in 0..1.
    pub chance: fn() -> f64,
    /// Loops for each destination. On a ledger that takes one writer at a time, one; else several settle and claim side by side.
    pub hands: usize,
    /// How often the ledger is swept for what no wakeup told of.
    pub sweep_every: Duration,
    /// How long calls under way may take when the worker stops; what has not ended by then is left to its lease.
    pub stop_within: Duration,
}

/// The longest that a loop sleeps without looking.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// How long a loop waits after the ledger failed: this long, doubling up to [`IDLE_MAX`].
const LEDGER_RETRY: Duration = Duration::from_millis(100);

/// How often other workers are told that there is more than one can hold.
const CALL_OTHERS_EVERY: Duration = Duration::from_millis(100);
/// How often a worker says that it lives; whoever has not for 10 s is dead (`store`).
const HEARTBEAT: Duration = Duration::from_secs(2);

/// A loop keeps off the ledger for so many times what requests have waited for it …
const WAY_FACTOR: u32 = 7;
/// … but never longer than this.
const WAY_MAX: Duration = Duration::from_millis(100);

/// Delivers until `stop` turns true, then ends what it has begun.
pub async fn run(engine: Engine, queue: Queue, settings: Settings, stop: watch::Receiver<bool>) {
    let bells: BTreeMap<String, Arc<Bell>> = engine.targets.keys().map(|name| (name.clone(), Arc::default())).collect();
    let mut loops = JoinSet::new();
    for (name, target) in engine.targets.iter() {
        let Some(bell) = bells.get(name).cloned() else { continue };
        for _ in 0..settings.hands.max(1) {
            let (engine, bell) = (engine.clone(), Arc::clone(&bell));
            loops.spawn(Destination::new(engine, Arc::clone(target), queue.clone(), bell, settings.clone()).run(stop.clone()));
        }
    }
    loops.spawn(listen(queue, bells.clone(), stop.clone()));
    loops.spawn(sweep(engine.clone(), bells.clone(), settings.clone(), stop));
    let living = tokio::spawn(live(engine.clone(), bells, settings));
    while let Some(ended) = loops.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a delivery loop ended by a panic; its leases run out by themselves");
        }
    }
    // Until the last result is settled, this worker lives.
    living.abort();
    if let Err(error) = engine.store.goodbye(&engine.holder).await {
        tracing::warn!(%error, "the ledger was not told that this worker has ended; it will notice");
    }
}

/// Says that this worker lives, and takes from the dead what they held, so that nobody has to wait for the end of their leases.
async fn live(engine: Engine, bells: BTreeMap<String, Arc<Bell>>, settings: Settings) {
    loop {
        match engine.store.heartbeat((settings.now)(), &engine.holder).await {
            Ok(0) => {}
            Ok(records) => {
                tracing::warn!(records, "a worker has died; what it had in hand is taken over");
                bells.values().for_each(|bell| bell.ring());
            }
            Err(error) => tracing::warn!(%error, "the ledger was not told that this worker lives; it tries again"),
        }
        sleep(HEARTBEAT).await;
    }
}

/// Passes wakeups on to the loop that they are for.
async fn listen(queue: Queue, bells: BTreeMap<String, Arc<Bell>>, mut stop: watch::Receiver<bool>) {
    loop {
        let held = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            held = queue.next() => held,
        };
        let Some(Held { wakeup, receipt }) = held else { return };
        match bells.get(&wakeup.destination) {
            Some(bell) => bell.ring_for(receipt, wakeup.records.len()),
            None => {
                receipt.done();
                ::metrics::counter!("onceward_wakeups_total", "result" => "unknown_destination").increment(1);
            }
        }
    }
}

/// The net under every wakeup.
async fn sweep(engine: Engine, bells: BTreeMap<String, Arc<Bell>>, settings: Settings, mut stop: watch::Receiver<bool>) {
    let names: Vec<&str> = bells.keys().map(String::as_str).collect();
    let mut overdue = Overdue::default();
    loop {
        match engine.store.sweep((settings.now)(), &names).await {
            Ok(wakeups) => wakeups.iter().filter_map(|wakeup| bells.get(&wakeup.destination)).for_each(|bell| bell.ring()),
            Err(error) => tracing::warn!(%error, "the sweep could not read the ledger; it tries again"),
        }
        overdue.look(&engine, (settings.now)()).await;
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            () = sleep(settings.sweep_every) => {}
        }
    }
}

/// Vendors wait for an answer and give up; a CRM does not wait. So what requests have waited because of us is given back several times over, and
/// a burst at another process has the ledger to itself for a while: when webhooks come faster than they are committed, most of the ledger's time is
/// theirs, and meanwhile more becomes due that shares the next transaction and the next call.
async fn make_way(store: &Store, bell: &Bell, stop: &mut watch::Receiver<bool>) {
    let way = (store.take_waited() * WAY_FACTOR).max(bell.pressed()).min(WAY_MAX);
    if way < Duration::from_millis(1) {
        return;
    }
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => {}
        () = sleep(way) => {}
    }
}

/// The loop of one destination.
struct Destination {
    engine: Engine,
    target: Arc<Target>,
    queue: Queue,
    bell: Arc<Bell>,
    // Of wakeups that no claim has followed yet.
    receipts: Vec<Receipt>,
    settings: Settings,
    calls: JoinSet<Finished>,
    // A call whose future panicked is found again by its task.
    under_way: BTreeMap<Id, Call>,
    finished: Vec<Finished>,
    others_called: Option<Instant>,
    state: &'static str,
}

impl Destination {
    fn new(engine: Engine, target: Arc<Target>, queue: Queue, bell: Arc<Bell>, settings: Settings) -> Self {
        Self {
            engine,
            target,
            queue,
            bell,
            receipts: Vec::new(),
            settings,
            calls: JoinSet::new(),
            under_way: BTreeMap::new(),
            finished: Vec::new(),
            others_called: None,
            state: "active",
        }
    }

    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut retry = LEDGER_RETRY;
        loop {
            let stopping = *stop.borrow();
            if stopping && self.calls.is_empty() && self.finished.is_empty() {
                return;
            }
            let sleep_for = match self.advance(!stopping).await {
                Ok(sleep_for) => {
                    retry = LEDGER_RETRY;
                    if !stopping {
                        make_way(&self.engine.store, &self.bell, &mut stop).await;
                    }
                    sleep_for
                }
                Err(error) => {
                    tracing::warn!(destination = %self.target.name, %error, "the ledger failed; what came back is settled when it is well again");
                    retry = (retry * 2).min(IDLE_MAX);
                    retry
                }
            };
            if stopping {
                return self.finish().await;
            }
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => {}
                Some(ended) = self.calls.join_next_with_id(), if !self.calls.is_empty() => self.take(ended),
                () = self.bell.rung() => {}
                () = sleep(sleep_for), if !sleep_for.is_zero() => {}
                // Due at once: only let others run first.
                () = tokio::task::yield_now(), if sleep_for.is_zero() => {}
            }
            while let Some(ended) = self.calls.try_join_next_with_id() {
                self.take(ended);
            }
        }
    }

    /// Settles, claims, and starts what was claimed; says how long nothing is due.
    async fn advance(&mut self, claim: bool) -> Result<Duration, store::Error> {
        let begun = Instant::now();
        let now = (self.settings.now)();
        let free = self.target.policy.concurrency.saturating_sub(u32::try_from(self.calls.len()).unwrap_or(u32::MAX));
        let calls_max = if claim { free } else { 0 };
        if calls_max == 0 && self.finished.is_empty() {
            return Ok(IDLE_MAX);
        }
        // Those of a claim that the ledger refused stay, and bound what there is.
        if calls_max > 0 && self.receipts.is_empty() {
            self.receipts = self.bell.take();
        }
        let mut chance = self.settings.chance;
        let advanced = self.engine.advance(&self.target, &self.finished, calls_max, now, &mut chance).await?;
        self.finished.clear();
        if calls_max > 0 {
            self.receipts.drain(..).for_each(Receipt::done);
        }
        if !advanced.calls.is_empty() && advanced.next.is_some_and(|next| next <= now) {
            self.call_others();
        }
        metrics::advanced(&self.target.name, &advanced, now);
        self.tell(&advanced, now);
        for call in advanced.calls {
            self.start(call, begun);
        }
        // What has become whole goes on elsewhere.
        advanced.wakeups.into_iter().for_each(|wakeup| self.queue.wake(wakeup));
        Ok(advanced.next.map_or(IDLE_MAX, |next| next.since((self.settings.now)()).min(IDLE_MAX)))
    }

    /// There is more than these hands can hold: other hands of this worker, and other workers.
    fn call_others(&mut self) {
        self.bell.ring();
        if self.others_called.is_none_or(|at| at.elapsed() >= CALL_OTHERS_EVERY) {
            self.others_called = Some(Instant::now());
            self.queue.wake(Wakeup { destination: self.target.name.clone(), records: Vec::new(), correlation_id: String::new() });
        }
    }

    fn start(&mut self, call: Call, begun: Instant) {
        let (engine, target, now) = (self.engine.clone(), Arc::clone(&self.target), self.settings.now);
        let kept = call.clone();
        let task = self.calls.spawn(async move { engine.perform(&target, call, begun.elapsed(), now()).await });
        self.under_way.insert(task.id(), kept);
    }

    fn take(&mut self, ended: Result<(Id, Finished), tokio::task::JoinError>) {
        let finished = match ended {
            Ok((id, finished)) => {
                self.under_way.remove(&id);
                finished
            }
            Err(error) => {
                let Some(call) = self.under_way.remove(&error.id()) else { return };
                tracing::error!(destination = %self.target.name, call = %call.id, "a call's code panicked: this is a bug of ours, please report it");
                let failure = Failure::new(Class::Unknown, Scope::Call, "panic", "the code that makes the call panicked");
                Finished { call, duration: Duration::ZERO, http_status: None, requests: 1, usage: Vec::new(), result: Err(failure) }
            }
        };
        metrics::called(&self.target.name, &finished);
        self.finished.push(finished);
    }

    /// Ends what was begun: no new claims, calls under way come back and are settled.
    async fn finish(mut self) {
        let deadline = Instant::now() + self.settings.stop_within;
        while !self.calls.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            match timeout(left, self.calls.join_next_with_id()).await {
                Ok(Some(ended)) => self.take(ended),
                Ok(None) => break,
                Err(_) => {
                    tracing::warn!(destination = %self.target.name, calls = self.calls.len(), "stopped with calls under way; their records are taken up again when their leases end");
                    break;
                }
            }
        }
        if let Err(error) = self.advance(false).await {
            tracing::warn!(destination = %self.target.name, %error, "the last results could not be settled; they are found out again after a restart");
        }
    }

    /// Says once what people must know.
    fn tell(&mut self, advanced: &Advanced, now: Time) {
        for (ended, reason) in advanced.ended.iter().filter_map(|ended| Some((ended, ended.dead?))) {
            let (destination, object) = (self.target.name.clone(), ended.object.clone());
            self.queue.dead_letter(DeadLetter { delivery: ended.delivery, destination, object, reason, at: now });
            tracing::warn!(destination = %self.target.name, object = %ended.object, delivery = %ended.delivery, reason = ended.outcome, "a delivery became a dead letter");
        }
        let state = advanced.destination.state(now);
        if state != self.state {
            let (destination, before) = (&self.target.name, self.state);
            match state {
                "throttled" if advanced.destination.quota.day_spent_until(now).is_some() => {
                    let until = advanced.destination.until(now).unwrap_or(now);
                    tracing::warn!(%destination, before, state, %until, "a destination's calls of the day are used up; it goes on by itself")
                }
                "active" | "throttled" => tracing::info!(%destination, before, state, "a destination's state changed"),
                "auth_failed" => {
                    tracing::error!(%destination, before, "a destination refuses our credentials: renew them, then `onceward destinations resume {destination}`")
                }
                _ => tracing::warn!(%destination, before, state, "a destination's state changed"),
            }
            self.state = state;
        }
    }
}
