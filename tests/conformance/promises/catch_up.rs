//! What catching up promises: one run of a source at a time, a page at a time, counted once, however its workers end.

use std::time::Duration;

use model::destination::Policy;
use model::{CatchUpId, Class, Failure, Scope, Time};
use store::{AskedCatchUp, CatchUpRow, CatchUpState, Disposition, Listing, NewCatchUp, PageEnd};

use crate::support::{Ledger, lead};

const HOUR: Duration = Duration::from_secs(3_600);

impl Ledger {
    async fn ask(&self, source: &str, dry_run: bool) -> CatchUpId {
        let new = NewCatchUp { source: source.to_owned(), since: self.now - HOUR, until: self.now, dry_run };
        match self.store.ask_catch_up(self.now, "ann", "a webhook was lost", &new).await.unwrap() {
            AskedCatchUp::Begun(id) => id,
            AskedCatchUp::TooMany => panic!("too many"),
        }
    }

    async fn claim_page(&self, holder: &str) -> Option<CatchUpRow> {
        let listings = ["demo", "typeform"].map(|source| Listing { source, policy: &self.policy });
        self.store.claim_catch_up(self.now, holder, &listings).await.unwrap()
    }

    async fn note(&self, row: &CatchUpRow, end: &PageEnd) -> bool {
        self.store.note_catch_up(self.now, &self.policy, row, end).await.unwrap()
    }

    async fn run_of(&self, id: CatchUpId) -> CatchUpRow {
        self.store.catch_up(id).await.unwrap().unwrap()
    }

    /// Takes in an event as a run does: under the run's id.
    async fn take_in(&self, id: CatchUpId, key: &str) -> Disposition {
        let mut request = self.request(&[lead(key, key)]);
        request.raw.correlation_id = id.to_string();
        self.accept_batch(&[request]).await.answers.concat()[0].status
    }
}

fn listed(next: Option<(u32, Option<String>)>, seen: u64, missing: u64) -> PageEnd {
    PageEnd::Listed { next, seen, ignored: 0, missing }
}

fn more(cursor: &str) -> Option<(u32, Option<String>)> {
    Some((0, Some(cursor.to_owned())))
}

fn failed(class: Class, retry_after: Option<u64>) -> PageEnd {
    let failure = Failure::new(class, Scope::Destination, "80005", "too many");
    PageEnd::Failed(Failure { retry_after: retry_after.map(Duration::from_secs), ..failure })
}

pub async fn a_run_is_asked_for_and_goes_page_by_page_to_its_end(ledger: Ledger) {
    let id = ledger.ask("demo", false).await;
    let asked = ledger.run_of(id).await;
    assert_eq!((asked.state, asked.actor.as_str(), asked.since), (CatchUpState::Open, "ann", ledger.now - HOUR));
    let first = ledger.claim_page("one").await.unwrap();
    assert_eq!((first.id, first.list, &first.cursor), (id, 0, &None));
    assert!(ledger.claim_page("two").await.is_none(), "its page is under way");
    assert_eq!(ledger.take_in(id, "k1").await, Disposition::Accepted);
    assert!(ledger.note(&first, &listed(more("p2"), 3, 1)).await);
    let second = ledger.claim_page("two").await.unwrap();
    assert_eq!((second.cursor.as_deref(), second.pages), (Some("p2"), 1));
    assert!(ledger.note(&second, &listed(Some((1, None)), 0, 0)).await);
    let third = ledger.claim_page("one").await.unwrap();
    assert_eq!((third.list, third.cursor.as_deref()), (1, None));
    assert!(ledger.note(&third, &listed(None, 2, 0)).await);
    let done = ledger.run_of(id).await;
    assert_eq!((done.state, done.pages, done.seen, done.already_here, done.filled), (CatchUpState::Done, 3, 5, 4, 1));
    assert_eq!(done.finished_at, Some(ledger.now));
    assert!(ledger.claim_page("one").await.is_none());
    assert_eq!(ledger.store.catch_ups(Some("demo"), 10).await.unwrap(), [done]);
    assert!(ledger.store.catch_ups(Some("typeform"), 10).await.unwrap().is_empty());
}

pub async fn one_run_of_a_source_is_under_way_and_the_next_waits(ledger: Ledger) {
    let first = ledger.ask("demo", false).await;
    let second = ledger.ask("demo", true).await;
    let other = ledger.ask("typeform", false).await;
    let page = ledger.claim_page("one").await.unwrap();
    assert_eq!(page.id, first);
    assert_eq!(ledger.claim_page("two").await.unwrap().id, other, "another source is not held up");
    assert!(ledger.claim_page("three").await.is_none());
    ledger.note(&page, &listed(None, 0, 0)).await;
    assert_eq!(ledger.claim_page("three").await.unwrap().id, second);
}

pub async fn a_page_whose_worker_died_is_listed_again_and_counted_once(mut ledger: Ledger) {
    let id = ledger.ask("demo", false).await;
    let dead = ledger.claim_page("dead").await.unwrap();
    assert_eq!(ledger.take_in(id, "k1").await, Disposition::Accepted);
    // It took in what was missing, and died before it noted that.
    ledger.pass(ledger.policy.lease() - Duration::from_secs(1));
    assert!(ledger.claim_page("heir").await.is_none());
    ledger.pass_seconds(2);
    let again = ledger.claim_page("heir").await.unwrap();
    assert_eq!((again.cursor.as_deref(), again.pages), (None, 0));
    let known = ledger.store.known_keys("demo", &["k1".to_owned(), "k2".to_owned()]).await.unwrap();
    assert_eq!(known.into_iter().collect::<Vec<_>>(), ["k1"]);
    assert!(ledger.note(&again, &listed(None, 2, 0)).await);
    assert!(!ledger.note(&dead, &listed(more("p2"), 2, 1)).await, "whoever was thought dead is not heard");
    let done = ledger.run_of(id).await;
    assert_eq!((done.state, done.seen, done.filled, done.already_here), (CatchUpState::Done, 2, 1, 1));
}

pub async fn a_dry_run_only_counts(ledger: Ledger) {
    let id = ledger.ask("demo", true).await;
    let page = ledger.claim_page("one").await.unwrap();
    assert!(page.dry_run);
    ledger.note(&page, &listed(None, 7, 3)).await;
    let done = ledger.run_of(id).await;
    assert_eq!((done.seen, done.filled, done.already_here), (7, 3, 4));
    assert!(ledger.look().await.events.is_empty());
}

pub async fn a_vendors_limit_is_waited_out_and_a_refusal_ends_the_run(mut ledger: Ledger) {
    let id = ledger.ask("demo", false).await;
    let page = ledger.claim_page("one").await.unwrap();
    ledger.note(&page, &failed(Class::Throttled, Some(60))).await;
    let waiting = ledger.run_of(id).await;
    assert_eq!(
        (waiting.failures, waiting.note.as_deref(), waiting.wake_at),
        (0, Some("80005: too many"), ledger.now + Duration::from_secs(60))
    );
    // The source as a destination waits as well: its fetches must not ask either.
    let destinations = ledger.look().await.destinations;
    assert!(destinations["source:demo"].throttled_until.is_some());
    ledger.pass_seconds(59);
    assert!(ledger.claim_page("one").await.is_none());
    ledger.pass_seconds(2);
    let page = ledger.claim_page("one").await.unwrap();
    ledger.note(&page, &failed(Class::Retryable, None)).await;
    assert_eq!(ledger.run_of(id).await.failures, 1);
    ledger.pass_seconds(400);
    let page = ledger.claim_page("one").await.unwrap();
    ledger.note(&page, &failed(Class::Permanent, None)).await;
    let ended = ledger.run_of(id).await;
    assert_eq!((ended.state, ended.finished_at), (CatchUpState::GivenUp, Some(ledger.now)));
}

pub async fn what_cannot_even_be_asked_for_ends_the_run_and_says_nothing_of_the_vendor(ledger: Ledger) {
    let id = ledger.ask("demo", false).await;
    let page = ledger.claim_page("one").await.unwrap();
    let failure = Failure::new(Class::Permanent, Scope::Destination, "accounts", "name the Pages");
    ledger.note(&page, &PageEnd::Unlisted(failure)).await;
    let ended = ledger.run_of(id).await;
    assert_eq!((ended.state, ended.note.as_deref()), (CatchUpState::GivenUp, Some("accounts: name the Pages")));
    assert_eq!(ledger.look().await.destinations["source:demo"].state(ledger.now), "active");
}

pub async fn pages_are_paid_for_from_the_sources_own_budget(mut ledger: Ledger) {
    ledger.policy = Policy { calls: 1, per: Duration::from_secs(10), ..Policy::default() };
    let id = ledger.ask("demo", false).await;
    let page = ledger.claim_page("one").await.unwrap();
    ledger.note(&page, &listed(more("p2"), 1, 0)).await;
    assert!(ledger.claim_page("one").await.is_none(), "the budget of these ten seconds is spent");
    ledger.pass_seconds(11);
    assert_eq!(ledger.claim_page("one").await.unwrap().id, id);
}

pub async fn a_schedule_begins_one_run_however_many_ask_and_goes_on_from_the_last(mut ledger: Ledger) {
    let schedule = async |ledger: &Ledger| ledger.store.schedule_catch_up(ledger.now, "demo", HOUR).await.unwrap();
    let id = schedule(&ledger).await.unwrap();
    assert_eq!(schedule(&ledger).await, None, "one is open");
    let first = ledger.run_of(id).await;
    assert_eq!((first.actor.as_str(), first.since, first.until), (store::SCHEDULE, ledger.now - model::catch_up::FIRST, ledger.now));
    let page = ledger.claim_page("one").await.unwrap();
    ledger.note(&page, &listed(None, 0, 0)).await;
    assert_eq!(schedule(&ledger).await, None, "it was only just through");
    ledger.pass_seconds(3_601);
    let next = schedule(&ledger).await.unwrap();
    let second = ledger.run_of(next).await;
    assert_eq!((second.since, second.until), (first.until - model::catch_up::OVERLAP, ledger.now));
    // One that was given up is not begun anew at once, and what it did not reach is looked at by the next.
    let page = ledger.claim_page("one").await.unwrap();
    ledger.note(&page, &failed(Class::Permanent, None)).await;
    assert_eq!(schedule(&ledger).await, None);
    ledger.pass_seconds(3_601);
    let third = schedule(&ledger).await.unwrap();
    assert_eq!(ledger.run_of(third).await.since, first.until - model::catch_up::OVERLAP);
}

pub async fn only_so_many_runs_of_a_source_wait(ledger: Ledger) {
    let new = |until: Time| NewCatchUp { source: "demo".to_owned(), since: until - HOUR, until, dry_run: false };
    for _ in 0..20 {
        ledger.ask("demo", false).await;
    }
    let asked = ledger.store.ask_catch_up(ledger.now, "ann", "once more", &new(ledger.now)).await.unwrap();
    assert_eq!(asked, AskedCatchUp::TooMany);
    ledger.ask("typeform", false).await;
}
