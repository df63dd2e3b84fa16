//! What intake promises: one event a key, one record a person, and nothing lost.

use model::event::Mode;
use model::record::State;
use model::wakeup::RECORDS_MAX;
use model::{Class, Reason, RecordId, Scope};
use store::Disposition;
use store::rows::{DeliveryState, RawDisposition};

use crate::support::{Draft, Ledger, broke, failure, lead};

fn statuses(answered: &[store::AnsweredEvent]) -> Vec<Disposition> {
    answered.iter().map(|event| event.status).collect()
}

pub async fn a_request_sent_again_is_a_duplicate_of_the_first(mut ledger: Ledger) {
    let first = ledger.accept(&[lead("k1", "1")]).await;
    ledger.pass_seconds(5);
    let again = ledger.accept(&[lead("k1", "1")]).await;
    assert_eq!((first[0].status, again[0].status), (Disposition::Accepted, Disposition::Duplicate));
    assert_eq!((first[0].id, &first[0].idempotency_key), (again[0].id, &again[0].idempotency_key));
    let seen = ledger.look().await;
    assert_eq!((seen.raw_events.len(), seen.events.len(), seen.deliveries.len(), seen.records.len()), (2, 1, 1, 1));
    let raws: Vec<_> = seen.raw_events.values().map(|raw| (raw.disposition, raw.events.clone())).collect();
    assert_eq!(raws, [(RawDisposition::Accepted, vec![first[0].id]), (RawDisposition::Duplicate, vec![first[0].id])]);
    // Another source may use the same key.
    let other = ledger.accept(&[lead("k1", "1").from("typeform")]).await;
    assert_eq!(other[0].status, Disposition::Accepted);
}

pub async fn copies_in_one_batch_are_duplicates_of_the_first_one_in_it(ledger: Ledger) {
    let copy = || lead("k1", "1");
    let batch = [ledger.request(&[copy(), copy()]), ledger.request(&[copy()]), ledger.request(&[lead("k2", "1")])];
    let answers = ledger.accept_batch(&batch).await.answers;
    use Disposition::{Accepted, Duplicate};
    assert_eq!(
        answers.iter().map(|answer| statuses(answer)).collect::<Vec<_>>(),
        [vec![Accepted, Duplicate], vec![Duplicate], vec![Accepted]]
    );
    assert!(answers[..2].concat().iter().all(|event| event.id == answers[0][0].id));
    let seen = ledger.look().await;
    assert_eq!((seen.raw_events.len(), seen.events.len(), seen.deliveries.len(), seen.records.len()), (3, 2, 2, 1));
}

pub async fn other_content_under_a_taken_key_is_kept_and_is_its_own_duplicate_when_sent_again(ledger: Ledger) {
    let first = ledger.accept(&[lead("k1", "1")]).await;
    let other = || lead("k1", "1").says("city", "Bern");
    let conflict = ledger.accept(&[other()]).await.remove(0);
    assert_eq!((conflict.status, conflict.reason), (Disposition::DeadLetter, Some(Reason::KeyConflict)));
    assert!(conflict.idempotency_key.starts_with("k1#") && conflict.id != first[0].id, "{conflict:?}");
    let again = ledger.accept(&[other()]).await.remove(0);
    assert_eq!((again.status, again.id, &again.idempotency_key), (Disposition::Duplicate, conflict.id, &conflict.idempotency_key));
    assert_eq!(ledger.accept(&[lead("k1", "1")]).await[0].id, first[0].id, "the first content is still itself");
    let third = ledger.accept(&[lead("k1", "1").says("city", "Rome")]).await.remove(0);
    assert!(third.status == Disposition::DeadLetter && third.id != conflict.id);
    let dead = ledger.dead_letter(conflict.id.delivery(1)).await;
    assert_eq!((dead.reason, dead.destination), (Reason::KeyConflict, None));
    assert_eq!(ledger.claim().await.concat_entries(), 1, "only the first content goes anywhere");
}

trait Entries {
    fn concat_entries(&self) -> usize;
}

impl Entries for Vec<store::Call> {
    fn concat_entries(&self) -> usize {
        self.iter().map(|call| call.entries.len()).sum()
    }
}

pub async fn other_content_in_the_same_batch_is_kept_too(ledger: Ledger) {
    let other = || lead("k1", "1").says("city", "Bern");
    let answered = ledger.accept(&[lead("k1", "1"), other(), other(), lead("k1", "1")]).await;
    use Disposition::{Accepted, DeadLetter, Duplicate};
    assert_eq!(statuses(&answered), [Accepted, DeadLetter, Duplicate, Duplicate]);
    assert_eq!((answered[2].id, answered[3].id), (answered[1].id, answered[0].id));
    // The longest key leaves room for what tells the contents apart.
    let long = "ä".repeat(127);
    let answered = ledger.accept(&[lead(&long, "2"), lead(&long, "2").says("city", "Bern")]).await;
    assert_eq!(statuses(&answered), [Accepted, DeadLetter]);
    assert!(answered[1].idempotency_key.len() <= 255);
}

pub async fn content_that_another_mapping_made_is_a_duplicate(ledger: Ledger) {
    let first = ledger.accept(&[lead("k1", "1")]).await;
    let again = ledger.accept(&[lead("k1", "1").says("city", "Bern").mapped_by("2")]).await;
    assert_eq!((again[0].status, again[0].id), (Disposition::Duplicate, first[0].id));
}

pub async fn what_is_ignored_is_kept_and_goes_nowhere(ledger: Ledger) {
    let first = ledger.accept(&[lead("k1", "1").ignored()]).await;
    let again = ledger.accept(&[lead("k1", "1").says("city", "Bern").ignored()]).await;
    assert_eq!((first[0].status, again[0].status, again[0].id), (Disposition::Ignored, Disposition::Duplicate, first[0].id));
    let seen = ledger.look().await;
    assert!(seen.events[&first[0].id].ignored && seen.deliveries.is_empty() && seen.records.is_empty());
    assert_eq!(seen.raw_events.values().next().unwrap().disposition, RawDisposition::Ignored);
    assert!(ledger.claim().await.is_empty());
}

pub async fn what_cannot_be_routed_is_a_dead_letter_without_a_destination(ledger: Ledger) {
    let answered = ledger.accept(&[lead("k1", "1").dead(Reason::Unmapped)]).await;
    assert_eq!((answered[0].status, answered[0].reason), (Disposition::DeadLetter, Some(Reason::Unmapped)));
    let id = answered[0].id.delivery(1);
    let delivery = ledger.delivery(id).await;
    assert_eq!((delivery.state, delivery.destination, delivery.record, delivery.generation), (DeliveryState::Quarantined, None, None, 1));
    let dead = ledger.dead_letter(id).await;
    assert_eq!((dead.reason, dead.source.as_str(), dead.owner.as_deref(), dead.attempts), (Reason::Unmapped, "demo", Some("sales"), 0));
    assert_eq!(ledger.accept(&[lead("k1", "1").dead(Reason::Unmapped)]).await[0].status, Disposition::Duplicate);
    assert_eq!(ledger.look().await.raw_events.values().next().unwrap().disposition, RawDisposition::DeadLetter);
}

pub async fn a_route_that_finds_nobody_hides_no_other_route(ledger: Ledger) {
    let answered = ledger.accept(&[lead("k1", "1").and_to("other", "Account")]).await;
    assert_eq!((answered[0].status, answered[0].reason), (Disposition::Accepted, None));
    let (person, company) = (answered[0].id.delivery(1), answered[0].id.delivery(2));
    assert_eq!(ledger.state(person).await, DeliveryState::Open);
    let dead = ledger.dead_letter(company).await;
    assert_eq!((dead.reason, dead.destination.as_deref()), (Reason::MissingIdentity, Some("other")));
    let delivery = ledger.delivery(company).await;
    assert_eq!((delivery.record, delivery.object.as_deref()), (None, Some("Account")), "never a keyless create");
    assert_eq!(ledger.claim_one().await.entries.len(), 1);
}

pub async fn an_event_that_no_route_finds_anybody_for_is_a_dead_letter(ledger: Ledger) {
    let answered = ledger.accept(&[lead("k1", "1").anonymous().and_to("other", "Account")]).await;
    assert_eq!((answered[0].status, answered[0].reason), (Disposition::DeadLetter, Some(Reason::MissingIdentity)));
    assert_eq!(ledger.look().await.dead_letters.len(), 2);
    assert!(ledger.look().await.records.is_empty());
}

pub async fn two_sources_meet_in_one_record_by_email(ledger: Ledger) {
    let both = [lead("k1", "demo:1").email("ada@example.com"), lead("k2", "typeform:9").from("typeform").email("ada@example.com")];
    // In one batch, and one after the other.
    let answered = ledger.accept(&both).await;
    let later = ledger.deliver(lead("k3", "1").anonymous().email("ada@example.com")).await;
    let by_id = ledger.deliver(lead("k4", "typeform:9")).await;
    let record = ledger.record_of(later).await;
    for id in [answered[0].id.delivery(1), answered[1].id.delivery(1), by_id] {
        assert_eq!(ledger.record_of(id).await, record);
    }
    let call = ledger.claim_one().await;
    assert_eq!((call.entries.len(), call.entries[0].key.as_str()), (1, "demo:1"), "the first key stays the record's");
}

pub async fn identifiers_of_two_records_in_one_event_are_an_identity_conflict(ledger: Ledger) {
    let ada = ledger.deliver(lead("k1", "1").email("ada@example.com")).await;
    let bob = ledger.deliver(lead("k2", "2").email("bob@example.com")).await;
    let request = ledger.request(&[lead("k3", "1").email("bob@example.com").trust(95)]);
    let committed = ledger.accept_batch(&[request]).await;
    let both = committed.answers[0][0].id;
    assert_eq!(ledger.record_of(both.delivery(1)).await, ledger.record_of(ada).await, "the first identifier of the list decides");
    assert_eq!(committed.warnings.len(), 1);
    assert_eq!((committed.warnings[0].0.as_str(), committed.warnings[0].1.kind.as_str()), ("demo", "identity_conflict"));
    assert_eq!(ledger.look().await.events[&both].warnings.len(), 1);
    // And the address still leads where it led.
    let bobs = ledger.deliver(lead("k4", "1").anonymous().email("bob@example.com")).await;
    assert_eq!(ledger.record_of(bobs).await, ledger.record_of(bob).await);
}

pub async fn little_trust_may_not_add_a_second_email(ledger: Ledger) {
    let first = ledger.deliver(lead("k1", "1").email("ada@example.com")).await;
    let committed = ledger.accept_batch(&[ledger.request(&[lead("k2", "1").email("eve@example.com").trust(89)])]).await;
    assert_eq!(committed.warnings.len(), 1, "{committed:?}");
    let by_second = ledger.deliver(lead("k3", "1").anonymous().email("eve@example.com")).await;
    assert_ne!(ledger.record_of(by_second).await, ledger.record_of(first).await);
}

pub async fn enough_trust_may_add_a_second_email(ledger: Ledger) {
    let first = ledger.deliver(lead("k1", "1").email("ada@example.com")).await;
    let committed = ledger.accept_batch(&[ledger.request(&[lead("k2", "1").email("countess@example.com").trust(90)])]).await;
    assert!(committed.warnings.is_empty());
    let by_second = ledger.deliver(lead("k3", "1").anonymous().email("countess@example.com")).await;
    assert_eq!(ledger.record_of(by_second).await, ledger.record_of(first).await);
}

pub async fn identifiers_are_matched_without_regard_to_case(ledger: Ledger) {
    let first = ledger.deliver(lead("k1", "Demo:A1").email("Ada@Example.com")).await;
    let by_id = ledger.deliver(lead("k2", "demo:a1")).await;
    let by_email = ledger.deliver(lead("k3", "1").anonymous().email("ADA@example.COM")).await;
    assert_eq!(ledger.record_of(by_id).await, ledger.record_of(first).await);
    assert_eq!(ledger.record_of(by_email).await, ledger.record_of(first).await);
    assert_eq!(ledger.claim_one().await.entries[0].key, "Demo:A1", "it is written as it came");
}

pub async fn one_person_in_two_objects_is_two_records(ledger: Ledger) {
    let answered = ledger.accept(&[lead("k1", "1").and_to("crm", "Lead").and_to("other", "Contact")]).await;
    let seen = ledger.look().await;
    let records: Vec<RecordId> = (1..=3).map(|ordinal| seen.deliveries[&answered[0].id.delivery(ordinal)].record.unwrap()).collect();
    assert_eq!(seen.records.len(), 3);
    assert!(records.iter().all(|record| seen.records.contains_key(record)));
}

pub async fn wakeups_name_each_touched_record_and_few_enough_at_once(ledger: Ledger) {
    let drafts: Vec<Draft> = (0..600).map(|n| lead(&format!("k{n}"), &format!("{n}")).and_to("other", "Contact")).collect();
    let committed = ledger.accept_batch(&[ledger.request(&drafts)]).await;
    for destination in ["crm", "other"] {
        let named: Vec<RecordId> =
            committed.wakeups.iter().filter(|wakeup| wakeup.destination == destination).flat_map(|wakeup| wakeup.records.clone()).collect();
        let distinct: std::collections::BTreeSet<_> = named.iter().collect();
        assert_eq!((named.len(), distinct.len()), (600, 600));
    }
    assert!(committed.wakeups.iter().all(|wakeup| !wakeup.records.is_empty() && wakeup.records.len() <= RECORDS_MAX));
    assert_eq!(committed.wakeups.len(), 6, "three for each destination");
    assert!(committed.wakeups.iter().all(|wakeup| !wakeup.correlation_id.is_empty()));
    // A duplicate names its record again: the first wakeup may have been lost.
    let again = ledger.accept_batch(&[ledger.request(&drafts[..1])]).await;
    assert_eq!(again.wakeups.len(), 2);
    assert!(again.wakeups.iter().all(|wakeup| wakeup.records.len() == 1));
}

pub async fn a_duplicate_wakes_a_record_that_sleeps_and_shortens_no_backoff(mut ledger: Ledger) {
    ledger.deliver(lead("k1", "1")).await;
    for _ in 0..5 {
        let call = ledger.claim_one().await;
        ledger.settle(&[broke(&call, failure(Class::Retryable, Scope::Record))]).await;
        ledger.now = ledger.record().await.wake_at.unwrap();
    }
    let call = ledger.claim_one().await;
    ledger.settle(&[broke(&call, failure(Class::Retryable, Scope::Record))]).await;
    let waiting = ledger.record().await;
    assert!(waiting.state == State::Waiting && waiting.wake_at.unwrap() > ledger.now, "{waiting:?}");
    ledger.accept(&[lead("k1", "1")]).await;
    ledger.accept(&[lead("k2", "1")]).await;
    assert_eq!(ledger.record().await, waiting, "neither a duplicate nor a new event defeats the wait");
    ledger.now = waiting.wake_at.unwrap();
    ledger.claim_one().await;
    let held = ledger.record().await;
    ledger.accept(&[lead("k1", "1"), lead("k3", "1").to("Contact", Mode::Upsert)]).await;
    assert_eq!(ledger.record().await, held, "and neither touches what a worker holds");
}

pub async fn a_batch_of_nothing_is_kept(ledger: Ledger) {
    let committed = ledger.accept_batch(&[ledger.request(&[])]).await;
    assert_eq!(committed.answers, [vec![]]);
    assert_eq!(ledger.look().await.raw_events.values().next().unwrap().disposition, RawDisposition::Empty);
}
