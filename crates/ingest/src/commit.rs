//! Group commit: what waits together is committed together.
//!
//! A batch forms while the previous commit runs, so an idle ledger adds no wait. The commit runs in a task of its own: a
//! client that leaves, or a request that gives up waiting, cancels nothing (traps.md 3: a cancelled transaction may
//! stay open on its connection).

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use model::Time;
use queue::Queue;
use store::{AnsweredEvent, Committed, Intake, Store};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::{Clock, Limits};

/// Why a request was not committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCommitted {
    /// The ledger cannot be written now. Whether this request is in it is not known; sending it again is harmless.
    #[error("the ledger cannot be written now: send it again")]
    Unavailable,
    /// The ledger takes others and not this one: a bug of ours.
    #[error("the ledger refused this request alone: look at the log, then send it again")]
    Refused,
}

/// What became of a request's events, or why they are not in the ledger.
pub type Answer = Result<Vec<AnsweredEvent>, NotCommitted>;

/// Connections to a ledger on a server: one for the commit under way, one for what follows a commit.
const CONNECTIONS: u32 = 2;

/// Why a request was not taken, so that nobody waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// Too many wait already.
    #[error("too many requests wait for a commit")]
    Full,
    /// The ledger took nothing the last time, and whether it does now is being tried with an earlier request.
    #[error("the ledger is away: send it again")]
    Away,
}

/// The ledger took nothing, and is being tried again: both are true between [`AWAY`] and its next commit.
const AWAY: u8 = 1;
const TRYING: u8 = 2;

struct Waiting {
    intake: Intake,
    answer: oneshot::Sender<Answer>,
    /// Its share of `Limits::held_bytes`, given back once it is committed.
    _held: Option<OwnedSemaphorePermit>,
}

/// Hands requests to the one task that commits them.
#[derive(Clone)]
pub struct Committer {
    requests: mpsc::Sender<Waiting>,
    ledger: Arc<AtomicU8>,
}

impl Committer {
    /// Starts the committing. It ends when the last `Committer` is gone and everything that waited is committed.
    ///
    /// It has a thread of its own: a transaction is many small steps, and each would wait behind all the requests that are being read.
    pub fn start(store: Store, queue: Queue, now: Clock, limits: &Limits) -> (Self, JoinHandle<()>) {
        let (requests, waiting) = mpsc::channel(limits.waiting.max(1));
        // Its connections belong to its thread.
        let store = store.apart(CONNECTIONS, limits.commit);
        let accept = move |intakes| commit_and_wake(store.clone(), queue.clone(), now(), intakes);
        let ledger = Arc::<AtomicU8>::default();
        let committing = commit_all(waiting, accept, *limits, ledger.clone());
        let everybodys = Handle::current();
        let thread = tokio::task::spawn_blocking(move || match Builder::new_current_thread().enable_all().build() {
            Ok(own) => own.block_on(committing),
            Err(error) => {
                tracing::warn!(%error, "commits have no runtime of their own, and are slower for it");
                everybodys.block_on(committing);
            }
        });
        (Self { requests, ledger }, thread)
    }

    /// Puts a request into the next commit, without waiting. Dropping the receiver changes nothing for the commit.
    ///
    /// # Errors
    ///
    /// [`NotTaken`]; nothing was.
    pub fn submit(&self, intake: Intake, held: Option<OwnedSemaphorePermit>) -> Result<oneshot::Receiver<Answer>, NotTaken> {
        if self.ledger.load(Ordering::Relaxed) == AWAY | TRYING {
            return Err(NotTaken::Away);
        }
        let (answer, answered) = oneshot::channel();
        self.requests.try_send(Waiting { intake, answer, _held: held }).map_err(|_| NotTaken::Full)?;
        Ok(answered)
    }
}

/// Takes what waits, over and over. `accept` commits a batch in one transaction and answers for every request of it.
async fn commit_all<A, F>(mut waiting: mpsc::Receiver<Waiting>, accept: A, limits: Limits, ledger: Arc<AtomicU8>)
where
    A: Fn(Arc<[Intake]>) -> F,
    F: Future<Output = Result<Committed, store::Error>> + Send + 'static,
{
    let mut taken = Vec::new();
    while waiting.recv_many(&mut taken, limits.batch.max(1)).await > 0 {
        let mut rest = taken.drain(..).peekable();
        while let Some(first) = rest.next() {
            let (mut bytes, mut events) = (0, 0);
            let mut batch = vec![first];
            while let Some(next) = rest.next_if(|next| {
                bytes += next.intake.raw.sealed.len();
                events += next.intake.events.len();
                bytes <= limits.batch_bytes && events <= limits.batch_events
            }) {
                batch.push(next);
            }
            ledger.fetch_or(TRYING, Ordering::Relaxed);
            let away = commit_batch(batch, &accept).await;
            ledger.store(if away { AWAY } else { 0 }, Ordering::Relaxed);
        }
    }
}

/// Whether the ledger turned out to be away.
async fn commit_batch<A, F>(batch: Vec<Waiting>, accept: &A) -> bool
where
    A: Fn(Arc<[Intake]>) -> F,
    F: Future<Output = Result<Committed, store::Error>> + Send + 'static,
{
    let mut intakes = Vec::with_capacity(batch.len());
    let mut senders = Vec::with_capacity(batch.len());
    for Waiting { intake, answer, _held: held } in batch {
        intakes.push(intake);
        senders.push((answer, held));
    }
    let intakes: Arc<[Intake]> = intakes.into();
    match answers(intakes.len(), accept(intakes.clone())).await {
        Ok(answers) => {
            for ((answer, _held), events) in senders.into_iter().zip(answers) {
                // A sender that no longer waits is answered when it sends again.
                let _ = answer.send(Ok(events));
            }
            false
        }
        // One request that the ledger cannot take must not keep the others out.
        Err(NotCommitted::Refused) if intakes.len() > 1 => {
            for ((answer, _held), intake) in senders.into_iter().zip(intakes.iter()) {
                let alone = answers(1, accept(Arc::from([intake.clone()]))).await;
                let _ = answer.send(alone.map(|answers| answers.into_iter().next().unwrap_or_default()));
            }
            false
        }
        Err(error) => {
            for (answer, _held) in senders {
                let _ = answer.send(Err(error));
            }
            error == NotCommitted::Unavailable
        }
    }
}

/// One transaction's answers, or why there are none.
async fn answers<F>(count: usize, accepting: F) -> Result<Vec<Vec<AnsweredEvent>>, NotCommitted>
where
    F: Future<Output = Result<Committed, store::Error>> + Send + 'static,
{
    // A task of its own, so that a panic in there costs this batch and not the committer.
    match tokio::spawn(accepting).await {
        Ok(Ok(committed)) if committed.answers.len() == count => Ok(committed.answers),
        Ok(Ok(committed)) => {
            tracing::error!(requests = count, answers = committed.answers.len(), "the ledger did not answer for every request of a batch");
            Err(NotCommitted::Refused)
        }
        Ok(Err(error @ store::Error::Unavailable(_))) => {
            tracing::warn!(requests = count, %error, "a batch was not committed; its senders were told to try again");
            Err(NotCommitted::Unavailable)
        }
        Ok(Err(error)) => {
            tracing::error!(requests = count, %error, "the ledger refused a batch");
            Err(NotCommitted::Refused)
        }
        Err(panic) => {
            tracing::error!(requests = count, %panic, "a batch was not committed because of a bug");
            Err(NotCommitted::Refused)
        }
    }
}

/// Commits, and wakes whom it concerns, for which nobody waits.
async fn commit_and_wake(store: Store, queue: Queue, now: Time, intakes: Arc<[Intake]>) -> Result<Committed, store::Error> {
    let mut committed = store.accept(now, &intakes).await?;
    for wakeup in committed.wakeups.drain(..) {
        queue.wake(wakeup);
    }
    for (source, warning) in committed.warnings.drain(..) {
        metrics::counter!("onceward_mapping_warnings_total", "source" => source, "kind" => warning.kind).increment(1);
    }
    Ok(committed)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use model::RawEventId;
    use store::{Error, NewRawEvent};
    use tokio::sync::Notify;

    use super::*;

    fn intake(id: i64) -> Intake {
        let raw = NewRawEvent {
            id: RawEventId(id),
            source: "demo".into(),
            received_at: Time(0),
            body_sha256: [0; 32],
            key_id: 0,
            sealed: vec![0; 100],
            correlation_id: String::new(),
        };
        Intake { raw, events: Vec::new(), lane: model::quota::Lane::Fresh }
    }

    /// A ledger that notes the batches it is given, fails where it is told to, and commits only when it is let.
    #[derive(Clone, Default)]
    struct Odd {
        batches: Arc<Mutex<Vec<Vec<i64>>>>,
        began: Arc<Notify>,
        go: Arc<Notify>,
    }

    impl Odd {
        fn start(&self, limits: Limits, fail: fn(&[i64]) -> Result<(), Error>) -> (Committer, JoinHandle<()>) {
            let odd = self.clone();
            let (requests, waiting) = mpsc::channel(limits.waiting);
            let accept = move |intakes: Arc<[Intake]>| {
                let odd = odd.clone();
                async move {
                    let ids: Vec<i64> = intakes.iter().map(|intake| intake.raw.id.0).collect();
                    odd.batches.lock().unwrap().push(ids.clone());
                    odd.began.notify_one();
                    odd.go.notified().await;
                    fail(&ids)?;
                    Ok(Committed { answers: vec![Vec::new(); ids.len()], ..Committed::default() })
                }
            };
            let ledger = Arc::<AtomicU8>::default();
            (Committer { requests, ledger: ledger.clone() }, tokio::spawn(commit_all(waiting, accept, limits, ledger)))
        }
    }

    #[tokio::test]
    async fn what_arrives_during_a_commit_is_the_next_batch_up_to_its_bound() {
        let (answers, batches) = outcome(Limits { batch: 2, ..Limits::default() }, |_| Ok(())).await;
        assert_eq!(answers, vec![Ok(Vec::new()); 3]);
        assert_eq!(batches, [vec![0], vec![1, 2], vec![3]]);
    }

    #[tokio::test]
    async fn a_sender_that_gives_up_changes_nothing_for_the_commit() {
        let odd = Odd::default();
        let (committer, task) = odd.start(Limits::default(), |_| Ok(()));
        drop(committer.submit(intake(0), None).unwrap());
        odd.began.notified().await;
        drop(committer.submit(intake(1), None).unwrap());
        drop(committer);
        odd.go.notify_one();
        odd.began.notified().await;
        odd.go.notify_one();
        task.await.unwrap();
        assert_eq!(*odd.batches.lock().unwrap(), [vec![0], vec![1]]);
    }

    /// Submits these while a first commit is under way and lets everything go.
    async fn outcome(limits: Limits, fail: fn(&[i64]) -> Result<(), Error>) -> (Vec<Answer>, Vec<Vec<i64>>) {
        let odd = Odd::default();
        let (committer, task) = odd.start(limits, fail);
        let first = committer.submit(intake(0), None).unwrap();
        odd.began.notified().await;
        let others: Vec<_> = (1..4).map(|id| committer.submit(intake(id), None).unwrap()).collect();
        let letting = tokio::spawn({
            let odd = odd.clone();
            async move {
                loop {
                    odd.go.notify_one();
                    tokio::task::yield_now().await;
                }
            }
        });
        assert_eq!(first.await.unwrap(), Ok(Vec::new()));
        let mut answers = Vec::new();
        for other in others {
            answers.push(other.await.unwrap());
        }
        drop(committer);
        task.await.unwrap();
        letting.abort();
        let batches = odd.batches.lock().unwrap().clone();
        (answers, batches)
    }

    #[tokio::test]
    async fn one_request_that_the_ledger_cannot_take_does_not_keep_the_others_out() {
        for fail in [
            |ids: &[i64]| if ids.contains(&2) { Err(Error::Refused("no".into())) } else { Ok(()) },
            |ids: &[i64]| if ids.contains(&2) { panic!("a bug") } else { Ok(()) },
        ] {
            let (answers, batches) = outcome(Limits::default(), fail).await;
            assert_eq!(answers, [Ok(Vec::new()), Err(NotCommitted::Refused), Ok(Vec::new())]);
            assert_eq!(batches, [vec![0], vec![1, 2, 3], vec![1], vec![2], vec![3]]);
        }
    }

    #[tokio::test]
    async fn a_ledger_that_is_away_fails_the_batch_once() {
        let (answers, batches) =
            outcome(Limits::default(), |ids| if ids == [0] { Ok(()) } else { Err(Error::Unavailable("away".into())) }).await;
        assert_eq!(answers, vec![Err(NotCommitted::Unavailable); 3]);
        assert_eq!(batches, [vec![0], vec![1, 2, 3]]);
    }

    #[tokio::test]
    async fn while_a_ledger_that_was_away_is_tried_again_nobody_else_waits_for_it() {
        let odd = Odd::default();
        let (committer, _task) =
            odd.start(Limits::default(), |ids| if ids == [0] { Err(Error::Unavailable("away".into())) } else { Ok(()) });
        let first = committer.submit(intake(0), None).unwrap();
        odd.began.notified().await;
        // Nobody knows yet.
        let waits = committer.submit(intake(1), None).unwrap();
        odd.go.notify_one();
        assert_eq!(first.await.unwrap(), Err(NotCommitted::Unavailable));
        odd.began.notified().await;
        assert_eq!(committer.submit(intake(2), None).map(|_| ()), Err(NotTaken::Away));
        odd.go.notify_one();
        assert_eq!(waits.await.unwrap(), Ok(Vec::new()));
        let well = committer.submit(intake(3), None).unwrap();
        odd.go.notify_one();
        assert_eq!(well.await.unwrap(), Ok(Vec::new()));
    }

    #[tokio::test]
    async fn a_batch_ends_before_it_is_too_large() {
        let (_, batches) = outcome(Limits { batch_bytes: 150, ..Limits::default() }, |_| Ok(())).await;
        assert_eq!(batches, [vec![0], vec![1, 2], vec![3]]);
    }

    #[tokio::test]
    async fn one_more_than_may_wait_is_refused_at_once() {
        let odd = Odd::default();
        let (committer, _task) = odd.start(Limits { waiting: 2, ..Limits::default() }, |_| Ok(()));
        let _first = committer.submit(intake(0), None).unwrap();
        odd.began.notified().await;
        let _waiting = [committer.submit(intake(1), None).unwrap(), committer.submit(intake(2), None).unwrap()];
        assert_eq!(committer.submit(intake(3), None).map(|_| ()), Err(NotTaken::Full));
    }
}
