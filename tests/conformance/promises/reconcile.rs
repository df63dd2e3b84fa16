//! What reconciling promises: every record is looked at once, repaired under its own fence, and nothing goes to the CRM but by the way of every write.

use std::sync::Arc;
use std::time::Duration;

use model::destination::Policy;
use model::protocol::Found;
use model::protocol::reconcile::{Cause, Repair, Verdict};
use model::record::State;
use model::{Class, Failure, Reason, ReconciliationId, Scope};
use serde_json::{Value, json};
use store::rows::DeliveryState;
use store::{Account, AskedReconciliation, Finished, Look, NewReconciliation, Noted, ReconciliationRow, ReconciliationState};

use crate::support::{Crm, Ledger, broke, failure, lead, routes_of};

const HOUR: Duration = Duration::from_secs(3_600);

impl Ledger {
    async fn asked(&self, sample: Option<u64>, repair: Repair) -> ReconciliationId {
        let objects = vec!["Contact".to_owned()];
        let new = NewReconciliation { destination: "crm".into(), objects, sample, repair };
        match self.store.ask_reconciliation(self.now, "ann", "the quarter ends", &new).await.unwrap() {
            AskedReconciliation::Begun(ids) => ids[0],
            AskedReconciliation::TooMany => panic!("too many"),
        }
    }

    async fn look_claimed(&self, holder: &str, read_batch: usize) -> Option<Look> {
        let equal = |_: &str, a: &Value, b: &Value| a == b;
        let account = self.account(read_batch, &equal);
        self.store.claim_reconciliation(self.now, holder, &[account]).await.unwrap()
    }

    fn account<'a>(&'a self, read_batch: usize, equal: &'a (dyn Fn(&str, &Value, &Value) -> bool + Send + Sync)) -> Account<'a> {
        Account { destination: "crm", policy: &self.policy, routes: &self.routes, read_batch, equal }
    }

    async fn note_look(&self, look: &Look, finished: Option<&Finished>) -> Noted {
        let equal = |_: &str, a: &Value, b: &Value| a == b;
        self.store.note_reconciliation(self.now, &self.account(100, &equal), look, finished).await.unwrap()
    }

    async fn run_row(&self, id: ReconciliationId) -> ReconciliationRow {
        self.store.reconciliation(id).await.unwrap().unwrap()
    }

    /// A run from its asking to its end: everything that the CRM holds was changed there just now.
    async fn reconciled(&self, crm: &mut Crm, repair: Repair) -> ReconciliationRow {
        let id = self.asked(None, repair).await;
        while let Some(look) = self.look_claimed("one", 2).await {
            let finished = (!look.call.entries.is_empty()).then(|| edited_now(self, crm.answer(&look.call)));
            assert!(self.note_look(&look, finished.as_ref()).await.held);
        }
        self.run_row(id).await
    }
}

/// The answer, as if everything had been changed in the CRM only now.
fn edited_now(ledger: &Ledger, mut finished: Finished) -> Finished {
    for result in finished.result.iter_mut().flatten() {
        if let Ok(Found::Held(Some(present))) = result {
            present.modified_at = Some(ledger.now);
        }
    }
    finished
}

fn change(crm: &mut Crm, key: &str, field: &str, value: &str) {
    crm.records.get_mut(&("Contact".to_owned(), key.to_owned())).unwrap().insert(field.into(), json!(value));
}

/// Four people in the CRM: the second's city was first Basel and is Bern.
async fn four(ledger: &mut Ledger, crm: &mut Crm) {
    for key in ["1", "2", "3", "4"] {
        let city = if key == "2" { "Basel" } else { "Bern" };
        ledger.deliver(lead(&format!("k{key}"), key).says("city", city).says("company", "Example")).await;
        ledger.work_now(crm).await;
    }
    ledger.deliver(lead("k2b", "2").says("city", "Bern").at(5)).await;
    ledger.work_now(crm).await;
    ledger.pass(HOUR);
}

/// The second one's city is what it was, a person moved the third one, the fourth is gone.
fn disturb(crm: &mut Crm) {
    change(crm, "2", "City", "Basel");
    change(crm, "3", "City", "Genf");
    crm.records.remove(&("Contact".to_owned(), "4".to_owned()));
}

fn told(row: &ReconciliationRow) -> Vec<(&str, Verdict, Vec<Cause>, bool)> {
    row.findings.iter().map(|f| (f.key.as_str(), f.verdict, f.fields.values().copied().collect(), f.repaired)).collect()
}

pub async fn a_run_tells_what_differs_and_by_whose_doing_and_changes_nothing(mut ledger: Ledger) {
    let mut crm = Crm::default();
    four(&mut ledger, &mut crm).await;
    disturb(&mut crm);
    let before = ledger.look().await.records;
    let writes = crm.writes;
    let run = ledger.reconciled(&mut crm, Repair::Off).await;
    assert_eq!((run.state, run.looks, run.repaired, run.finished_at), (ReconciliationState::Done, 2, 0, Some(ledger.now)));
    let counts = run.counts;
    assert_eq!((counts.equal, counts.ours, counts.edited, counts.missing, counts.looked_at()), (1, 1, 1, 1, 4));
    let expected = [
        ("2", Verdict::Ours, vec![Cause::Ours], false),
        ("3", Verdict::Edited, vec![Cause::Edited], false),
        ("4", Verdict::Missing, vec![], false),
    ];
    assert_eq!(told(&run), expected);
    assert_eq!((ledger.look().await.records, crm.writes), (before, writes), "whoever only looks changes nothing");
    let audit = ledger.look().await.audit;
    assert!(audit.iter().any(|row| row.2[1] == "reconcile" && row.2[0] == "ann" && row.3.contains("the quarter ends")), "{audit:?}");
}

pub async fn what_is_ours_is_written_again_and_what_others_wrote_is_believed_and_then_all_is_equal(mut ledger: Ledger) {
    let mut crm = Crm::default();
    four(&mut ledger, &mut crm).await;
    disturb(&mut crm);
    let (calls, run) = (ledger.look().await.calls.len(), ledger.reconciled(&mut crm, Repair::Ours).await);
    assert_eq!(told(&run)[..2], [("2", Verdict::Ours, vec![Cause::Ours], true), ("3", Verdict::Edited, vec![Cause::Edited], true)]);
    assert_eq!((run.repaired, crm.field("Contact", "2", "City")), (2, Some(&json!("Basel"))), "reconciling itself writes nothing");
    let seen = ledger.look().await;
    assert_eq!(seen.calls.len(), calls + 2, "each look is a call of the ledger's");
    let repaired: Vec<_> = seen.audit.iter().filter(|row| row.2[1] == "repair").collect();
    assert!(repaired.len() == 2 && repaired.iter().all(|row| row.2[0] == "ann" && row.3.contains("the quarter ends")), "{repaired:?}");
    let writes = crm.writes;
    ledger.work_now(&mut crm).await;
    assert_eq!((crm.writes, crm.field("Contact", "2", "City")), (writes + 1, Some(&json!("Bern"))));
    assert_eq!(crm.field("Contact", "3", "City"), Some(&json!("Genf")), "nobody's edit is undone");
    assert_eq!(crm.field("Contact", "4", "City"), None, "what is gone is not made again");
    ledger.pass(HOUR);
    let again = ledger.reconciled(&mut crm, Repair::Ours).await;
    assert_eq!((again.counts.equal, again.counts.missing, again.repaired), (3, 1, 0));
    // The next event of the one that is gone brings all of it back.
    ledger.deliver(lead("k4b", "4").says("city", "Lausanne").at(9)).await;
    ledger.work_now(&mut crm).await;
    assert_eq!(crm.field("Contact", "4", "Company"), Some(&json!("Example")));
    // An older event does not outweigh the person's word.
    ledger.deliver(lead("k3b", "3").says("city", "Chur").at(1)).await;
    ledger.work_now(&mut crm).await;
    assert_eq!(crm.field("Contact", "3", "City"), Some(&json!("Genf")));
}

pub async fn where_everything_is_put_right_edits_are_undone_and_what_is_missing_is_created(mut ledger: Ledger) {
    ledger.routes = Arc::new(routes_of(&[("crm", "Contact")]));
    let mut crm = Crm::default();
    four(&mut ledger, &mut crm).await;
    disturb(&mut crm);
    let run = ledger.reconciled(&mut crm, Repair::All).await;
    assert_eq!((run.repaired, run.counts.missing), (3, 1));
    ledger.work_now(&mut crm).await;
    for key in ["1", "2", "3", "4"] {
        let fields = ["City", "Company"].map(|field| crm.field("Contact", key, field).cloned());
        assert_eq!(fields, [Some(json!("Bern")), Some(json!("Example"))], "{key}");
    }
    ledger.pass(HOUR);
    assert_eq!(ledger.reconciled(&mut crm, Repair::All).await.counts.equal, 4);
}

pub async fn several_under_one_key_become_one_dead_letter_until_a_person_has_looked(mut ledger: Ledger) {
    let mut crm = Crm::default();
    let id = ledger.deliver(lead("k1", "1").says("city", "Bern")).await;
    ledger.work_now(&mut crm).await;
    let ambiguous = Failure { reason: Some(Reason::AmbiguousMatch), ..failure(Class::Conflict, Scope::Record) };
    for round in 0..2 {
        ledger.pass(HOUR);
        let run = ledger.asked(None, Repair::Ours).await;
        let look = ledger.look_claimed("one", 10).await.unwrap();
        let mut finished = crm.answer(&look.call);
        finished.result = Ok(vec![Err(ambiguous.clone())]);
        let noted = ledger.note_look(&look, Some(&finished)).await;
        assert_eq!(noted.dead, if round == 0 { vec![id] } else { vec![] }, "once");
        assert_eq!(ledger.run_row(run).await.counts.duplicated, 1);
    }
    assert_eq!(ledger.state(id).await, DeliveryState::Quarantined);
    let letter = ledger.dead_letter(id).await;
    assert_eq!((letter.reason, letter.owner.as_deref()), (Reason::AmbiguousMatch, Some("sales")));
    let record = ledger.record().await;
    assert_eq!((record.state, record.adopted), (State::Clean, false), "it is read before it is written again");
}

pub async fn a_record_that_is_worked_on_is_busy_also_when_that_began_during_the_look(mut ledger: Ledger) {
    let mut crm = Crm::default();
    four(&mut ledger, &mut crm).await;
    ledger.pass(HOUR);
    ledger.deliver(lead("k1b", "1").says("city", "Chur").at(9)).await;
    let leased = ledger.claim_one().await;
    let id = ledger.asked(None, Repair::All).await;
    let look = ledger.look_claimed("one", 10).await.unwrap();
    assert_eq!(look.call.entries.len(), 3, "whoever is leased is not looked at");
    // One gets an event meanwhile, another is written and settled before the look is noted.
    change(&mut crm, "2", "City", "Genf");
    change(&mut crm, "3", "City", "Genf");
    let finished = edited_now(&ledger, crm.answer(&look.call));
    ledger.settle(&[crm.answer(&leased)]).await;
    ledger.deliver(lead("k3b", "3").says("city", "Sion").at(9)).await;
    ledger.work_now(&mut crm).await;
    ledger.deliver(lead("k2c", "2").says("city", "Sion").at(9)).await;
    ledger.note_look(&look, Some(&finished)).await;
    let run = ledger.run_row(id).await;
    assert_eq!((run.state, run.counts.busy, run.counts.equal, run.counts.edited), (ReconciliationState::Done, 3, 1, 0));
    ledger.work_now(&mut crm).await;
    assert_eq!(["2", "3"].map(|key| crm.field("Contact", key, "City").cloned()), [Some(json!("Sion")), Some(json!("Sion"))]);
}

pub async fn a_look_whose_worker_died_is_made_again_and_counted_once(mut ledger: Ledger) {
    let mut crm = Crm::default();
    four(&mut ledger, &mut crm).await;
    disturb(&mut crm);
    let id = ledger.asked(None, Repair::Ours).await;
    let dead = ledger.look_claimed("dead", 10).await.unwrap();
    let late = edited_now(&ledger, crm.answer(&dead.call));
    ledger.pass(ledger.policy.lease() - Duration::from_secs(1));
    assert!(ledger.look_claimed("heir", 10).await.is_none(), "it is under way");
    ledger.pass_seconds(2);
    let again = ledger.look_claimed("heir", 10).await.unwrap();
    assert_eq!(again.row.counts.looked_at(), 0);
    let finished = edited_now(&ledger, crm.answer(&again.call));
    assert!(ledger.note_look(&again, Some(&finished)).await.held);
    let noted = ledger.note_look(&dead, Some(&late)).await;
    assert!(!noted.held && noted.wakeup.is_none(), "whoever was thought dead is not heard");
    assert_eq!((ledger.run_row(id).await.counts.looked_at(), ledger.run_row(id).await.repaired), (4, 2));
}

pub async fn a_look_is_paid_for_and_stands_back_behind_what_is_due(mut ledger: Ledger) {
    ledger.policy = Policy { concurrency: 2, calls: 2, per: Duration::from_secs(10), ..Policy::default() };
    let mut crm = Crm::default();
    ledger.deliver(lead("k1", "1").says("city", "Bern")).await;
    ledger.work_now(&mut crm).await;
    ledger.pass(HOUR);
    let id = ledger.asked(None, Repair::Off).await;
    // One call is left of these ten seconds, and something is due.
    ledger.asked(None, Repair::Off).await;
    let look = ledger.look_claimed("one", 10).await.unwrap();
    ledger.note_look(&look, Some(&edited_now(&ledger, crm.answer(&look.call)))).await;
    ledger.deliver(lead("k2", "2").says("city", "Bern")).await;
    assert!(ledger.look_claimed("one", 10).await.is_none(), "the last call is left to what is due");
    ledger.work_now(&mut crm).await;
    ledger.pass_seconds(2);
    assert!(ledger.look_claimed("one", 10).await.is_none(), "the budget of these ten seconds is spent");
    ledger.pass_seconds(20);
    let second = ledger.look_claimed("one", 10).await.unwrap();
    assert_ne!(second.row.id, id, "one run at a time, in their order");
    // It counts as a call under way: one more fits beside it.
    ledger.deliver(lead("k3", "3").says("city", "Bern")).await;
    ledger.deliver(lead("k4", "4").says("city", "Bern").to("Lead", model::event::Mode::Upsert)).await;
    assert_eq!(ledger.claim().await.len(), 1);
    assert_eq!(ledger.run_row(id).await.state, ReconciliationState::Done);
}

pub async fn a_sample_goes_on_where_the_last_one_ended_and_begins_anew_at_the_end(mut ledger: Ledger) {
    let mut crm = Crm::default();
    four(&mut ledger, &mut crm).await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        ledger.pass_seconds(1);
        let id = ledger.asked(Some(3), Repair::Off).await;
        let mut keys = Vec::new();
        while let Some(look) = ledger.look_claimed("one", 2).await {
            keys.extend(look.call.entries.iter().map(|entry| entry.key.clone()));
            let finished = (!look.call.entries.is_empty()).then(|| edited_now(&ledger, crm.answer(&look.call)));
            ledger.note_look(&look, finished.as_ref()).await;
        }
        assert_eq!(ledger.run_row(id).await.state, ReconciliationState::Done);
        seen.push(keys.concat());
    }
    assert_eq!(seen, ["123", "412", "341", "234"]);
    let more = ledger.asked(Some(9), Repair::Off).await;
    while let Some(look) = ledger.look_claimed("one", 2).await {
        let finished = (!look.call.entries.is_empty()).then(|| edited_now(&ledger, crm.answer(&look.call)));
        ledger.note_look(&look, finished.as_ref()).await;
    }
    assert_eq!(ledger.run_row(more).await.counts.equal, 4, "nobody is looked at twice");
}

pub async fn what_the_crm_does_not_show_is_halved_waited_for_or_told(mut ledger: Ledger) {
    let mut crm = Crm::default();
    four(&mut ledger, &mut crm).await;
    let id = ledger.asked(None, Repair::Ours).await;
    let look = ledger.look_claimed("one", 10).await.unwrap();
    ledger.note_look(&look, Some(&broke(&look.call, failure(Class::Permanent, Scope::Call)))).await;
    let half = ledger.look_claimed("one", 10).await.unwrap();
    assert_eq!(half.call.entries.len(), 2, "somebody in it is to blame");
    ledger.note_look(&half, Some(&broke(&half.call, failure(Class::Permanent, Scope::Call)))).await;
    let alone = ledger.look_claimed("one", 10).await.unwrap();
    assert_eq!(alone.call.entries.len(), 1);
    ledger.note_look(&alone, Some(&broke(&alone.call, failure(Class::Permanent, Scope::Call)))).await;
    assert_eq!((ledger.run_row(id).await.counts.unread, ledger.run_row(id).await.findings[0].code.as_deref()), (1, Some("CODE")));
    let next = ledger.look_claimed("one", 10).await.unwrap();
    let throttled = Failure { retry_after: Some(Duration::from_secs(60)), ..failure(Class::Throttled, Scope::Destination) };
    ledger.note_look(&next, Some(&broke(&next.call, throttled))).await;
    assert_eq!(ledger.run_row(id).await.wake_at, ledger.now + Duration::from_secs(60));
    assert!(ledger.look().await.destinations["crm"].throttled_until.is_some(), "deliveries must not ask either");
    ledger.pass_seconds(61);
    while let Some(look) = ledger.look_claimed("one", 10).await {
        let finished = edited_now(&ledger, crm.answer(&look.call));
        ledger.note_look(&look, Some(&finished)).await;
    }
    let run = ledger.run_row(id).await;
    assert_eq!((run.state, run.counts.equal, run.counts.unread, run.failures), (ReconciliationState::Done, 3, 1, 0));
    let refused = ledger.asked(None, Repair::Off).await;
    let look = ledger.look_claimed("one", 10).await.unwrap();
    ledger.note_look(&look, Some(&broke(&look.call, failure(Class::Permanent, Scope::Destination)))).await;
    let given_up = ledger.run_row(refused).await;
    assert_eq!((given_up.state, given_up.note.as_deref()), (ReconciliationState::GivenUp, Some("CODE: what the CRM said")));
}

pub async fn a_schedule_begins_one_run_of_an_object_however_many_ask(mut ledger: Ledger) {
    let mut crm = Crm::default();
    let objects = vec!["Contact".to_owned(), "Lead".to_owned()];
    let new = NewReconciliation { destination: "crm".into(), objects, sample: Some(2), repair: Repair::Ours };
    let schedule = async |ledger: &Ledger| ledger.store.schedule_reconciliation(ledger.now, HOUR, &new).await.unwrap();
    assert!(schedule(&ledger).await.is_empty(), "there is nothing to look at");
    ledger.deliver(lead("k0", "0").says("city", "Bern")).await;
    assert!(schedule(&ledger).await.is_empty(), "what there is came only just now");
    four(&mut ledger, &mut crm).await;
    ledger.deliver(lead("k5", "5").says("city", "Bern").read_first()).await;
    ledger.work_now(&mut crm).await;
    assert_eq!(schedule(&ledger).await.len(), 1, "of leads there is one that came only just now");
    assert!(schedule(&ledger).await.is_empty(), "they are open");
    while let Some(look) = ledger.look_claimed("one", 10).await {
        let finished = (!look.call.entries.is_empty()).then(|| edited_now(&ledger, crm.answer(&look.call)));
        ledger.note_look(&look, finished.as_ref()).await;
    }
    let rows = ledger.store.reconciliations(Some("crm"), 10).await.unwrap();
    let ended: Vec<_> = rows.iter().map(|row| (row.object.as_str(), row.actor.as_str(), row.state, row.counts.equal)).collect();
    assert_eq!(ended, [("Contact", store::SCHEDULE, ReconciliationState::Done, 2)]);
    assert!(schedule(&ledger).await.is_empty(), "they were only just through");
    ledger.pass(HOUR);
    assert_eq!(schedule(&ledger).await.len(), 2);
    assert!(ledger.store.reconciliations(Some("other"), 10).await.unwrap().is_empty());
}
