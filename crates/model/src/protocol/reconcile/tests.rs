use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::record::{Doubt, Held, Stamp};
use crate::{Class, Scope};

const HOUR: Duration = Duration::from_secs(3_600);

fn now() -> Time {
    Time::from_seconds(1_800_000_000)
}

/// A call that was made so long ago.
fn call(ago: Duration) -> CallId {
    CallId(IdGenerator::floor(now() - ago))
}

fn held(value: &str, key: &str) -> Held {
    Held { value: json!(value), stamp: Stamp { trust: 50, occurred_at: Time::from_seconds(1), key: key.into() } }
}

/// A record at rest: its city and company are an event's word, its phone was there before us.
fn record() -> Record {
    let mut record = Record { fence: 7, revision: 2, pushed: 2, adopted: true, crm_id: Some("003".into()), ..Record::default() };
    record.state = State::Clean;
    for (field, held) in [("City", held("Bern", "k1")), ("Company", held("Example", "k1")), ("Phone", held("+41", CRM_KEY))] {
        record.body.fields.0.insert(field.to_owned(), held);
    }
    record
}

fn shows(fields: &[(&str, Value)], modified_ago: Option<Duration>) -> Result<Found, Failure> {
    let mut all: BTreeMap<String, Value> =
        [("City", json!("Bern")), ("Company", json!("Example")), ("Phone", json!("+41")), ("Title", Value::Null)]
            .map(|(field, value)| (field.to_owned(), value))
            .into();
    all.extend(fields.iter().map(|(field, value)| ((*field).to_owned(), value.clone())));
    let modified_at = modified_ago.map(|ago| now() - ago);
    Ok(Found::Held(Some(Present { crm_id: "003".into(), fields: all, modified_at })))
}

/// The city was sent as these, so long ago.
fn sent(values: &[(&str, Duration)]) -> Sent {
    [("City".to_owned(), values.iter().map(|(value, ago)| (call(*ago), json!(value))).collect())].into()
}

fn equal(field: &str, a: &Value, b: &Value) -> bool {
    match (field, a.as_str(), b.as_str()) {
        ("Email", Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
        (_, _, _) => a == b,
    }
}

fn look(record: Record, found: &Result<Found, Failure>, sent: &Sent, repair: Repair) -> Reconciled {
    let policy = Policy { crm_trust: 60, ..Policy::default() };
    let reconciling = Reconciling {
        policy: &policy,
        repair,
        creates: true,
        now: now(),
        call: call(Duration::ZERO),
        fence: 7,
        open: false,
        equal: &equal,
    };
    reconcile(record, found, sent, &reconciling)
}

fn causes(done: &Reconciled) -> Vec<(&str, Cause)> {
    done.fields.iter().map(|(field, cause)| (field.as_str(), *cause)).collect()
}

#[test]
fn a_record_that_the_crm_holds_as_we_believe_is_equal_and_left_alone() {
    for repair in Repair::ALL {
        let done = look(record(), &shows(&[], Some(HOUR)), &Sent::new(), *repair);
        assert_eq!((done.verdict, done.changed, done.repaired), (Verdict::Equal, false, false), "{repair:?}");
        assert_eq!(done.record, record());
    }
}

#[test]
fn each_difference_has_its_cause_and_each_cause_its_end() {
    let day = HOUR * 24;
    let once = sent(&[("Bern", day)]);
    let before = sent(&[("Basel", day), ("Bern", HOUR)]);
    let twice = sent(&[("Bern", day), ("Bern", HOUR)]);
    // What the CRM holds, when it was changed there, what was sent; the cause; whether it is written again under `ours` and under `all`.
    let rows: [(&str, &str, Option<Duration>, &Sent, Cause, bool, bool); 9] = [
        ("a person's edit", "Genf", Some(HOUR), &once, Cause::Edited, false, true),
        ("a value that we sent earlier", "Basel", Some(HOUR), &before, Cause::Ours, true, true),
        ("nobody touched it since before our write", "Genf", Some(day * 2), &once, Cause::Ours, true, true),
        ("within the skew of the clocks it may be an edit", "Genf", Some(day + SKEW), &once, Cause::Edited, false, true),
        ("written twice and untouched: the CRM's own form", "BERN", Some(HOUR), &twice, Cause::Edited, false, false),
        ("written twice, then edited", "Genf", Some(Duration::from_secs(60)), &twice, Cause::Edited, false, true),
        ("the CRM does not say when", "Genf", None, &once, Cause::Edited, false, true),
        ("the CRM does not say when, and it was written twice", "Genf", None, &twice, Cause::Edited, false, false),
        ("what was sent is no longer known", "Genf", Some(HOUR), &Sent::new(), Cause::Edited, false, true),
    ];
    for (what, city, modified_ago, sent, cause, by_ours, by_all) in rows {
        let found = shows(&[("City", json!(city))], modified_ago);
        let told = look(record(), &found, sent, Repair::Off);
        assert_eq!((causes(&told), told.changed, told.repaired), (vec![("City", cause)], false, false), "{what}");
        for (repair, again) in [(Repair::Ours, by_ours), (Repair::All, by_all)] {
            let done = look(record(), &found, sent, repair);
            assert_eq!((causes(&done), done.repaired), (vec![("City", cause)], true), "{what}, {repair:?}");
            let city_of = &done.record.body.fields.0["City"];
            if again {
                assert_eq!(done.record.body.missing, BTreeSet::from(["City".to_owned()]), "{what}, {repair:?}");
                assert_eq!((done.record.state, done.record.wake_at), (State::Due, Some(now())), "{what}");
                assert_eq!(city_of, &held("Bern", "k1"), "{what}: what we believe stays");
            } else {
                let modified_at = modified_ago.map_or(Time::default(), |ago| now() - ago);
                let stamp = Stamp { trust: 60, occurred_at: modified_at, key: CRM_KEY.into() };
                assert_eq!(city_of, &Held { value: json!(city), stamp }, "{what}, {repair:?}");
                assert_eq!((done.record.state, done.record.body.missing.is_empty()), (State::Clean, true), "{what}");
                let again = look(done.record.clone(), &found, sent, repair);
                assert_eq!(again.verdict, Verdict::Equal, "{what}: it is told once");
            }
            assert_eq!(done.record.body.calls, [call(Duration::ZERO)], "the trace shows who looked");
        }
    }
}

#[test]
fn what_is_the_crms_own_word_may_change_there_without_being_told() {
    let found = shows(&[("Phone", json!("+42")), ("Title", json!("Dr"))], Some(HOUR));
    let told = look(record(), &found, &Sent::new(), Repair::Off);
    assert_eq!((told.verdict, told.changed), (Verdict::Equal, false));
    for repair in [Repair::Ours, Repair::All] {
        let done = look(record(), &found, &Sent::new(), repair);
        assert_eq!((done.verdict, done.changed, done.repaired), (Verdict::Equal, true, false));
        assert_eq!((done.record.state, done.record.body.missing.len()), (State::Clean, 0), "it is never written over");
        assert_eq!(done.record.body.fields.0["Phone"].value, json!("+42"));
        assert_eq!(done.record.body.fields.0["Title"].stamp.key, CRM_KEY);
    }
}

#[test]
fn a_value_of_ours_that_is_in_doubt_is_ours_even_over_the_crms_own_word() {
    let mut doubtful = record();
    doubtful.doubt = Some(Doubt { revision: 2, verify_after: now() });
    doubtful.body.late.insert("Phone".into(), vec![json!("+43")]);
    let done = look(doubtful, &shows(&[("Phone", json!("+43"))], Some(HOUR)), &Sent::new(), Repair::Ours);
    assert_eq!((causes(&done), done.record.state), (vec![("Phone", Cause::Ours)], State::Due));
    assert_eq!(done.record.body.fields.0["Phone"].value, json!("+41"), "the person's value is put back");
}

#[test]
fn what_the_crm_considers_equal_is_equal() {
    let mut mailed = record();
    mailed.body.fields.0.insert("Email".into(), held("Ada@Example.com", "k1"));
    let done = look(mailed, &shows(&[("Email", json!("ada@example.com"))], Some(HOUR)), &Sent::new(), Repair::All);
    assert_eq!((done.verdict, done.changed), (Verdict::Equal, false));
}

#[test]
fn one_record_may_differ_in_both_ways() {
    let found = shows(&[("City", json!("Basel")), ("Company", json!("Other"))], Some(HOUR));
    let done = look(record(), &found, &sent(&[("Basel", HOUR * 3), ("Bern", HOUR * 2)]), Repair::Ours);
    assert_eq!((done.verdict, causes(&done)), (Verdict::Ours, vec![("City", Cause::Ours), ("Company", Cause::Edited)]));
    assert_eq!(done.record.body.missing, BTreeSet::from(["City".to_owned()]));
    assert_eq!(done.record.body.fields.0["Company"].value, json!("Other"));
}

#[test]
fn a_missing_record_is_created_again_only_where_everything_is_put_right_and_a_route_creates() {
    let gone = Ok(Found::Held(None));
    let told = look(record(), &gone, &Sent::new(), Repair::Off);
    assert_eq!((told.verdict, told.changed), (Verdict::Missing, false));
    let ours = look(record(), &gone, &Sent::new(), Repair::Ours);
    assert_eq!((ours.verdict, ours.repaired, ours.record.state), (Verdict::Missing, false, State::Clean));
    let whole: BTreeSet<String> = ["City", "Company", "Phone"].map(str::to_owned).into();
    assert_eq!(
        (ours.record.crm_id.as_ref(), ours.record.adopted, &ours.record.body.missing),
        (None, false, &whole),
        "the next write is whole"
    );
    assert_eq!(
        look(Record { fence: 7, ..ours.record.clone() }, &gone, &Sent::new(), Repair::Ours).verdict,
        Verdict::Missing,
        "until it is there"
    );
    let back = look(ours.record, &shows(&[], Some(HOUR)), &Sent::new(), Repair::Ours);
    assert_eq!((back.verdict, back.record.crm_id.as_deref(), back.record.body.missing.len()), (Verdict::Equal, Some("003"), 0));
    let all = look(record(), &gone, &Sent::new(), Repair::All);
    assert_eq!((all.repaired, all.record.state, &all.record.body.missing), (true, State::Due, &whole));
    let policy = Policy::default();
    let reconciling = Reconciling {
        policy: &policy,
        repair: Repair::All,
        creates: false,
        now: now(),
        call: call(Duration::ZERO),
        fence: 7,
        open: false,
        equal: &equal,
    };
    let updates_only = reconcile(record(), &gone, &Sent::new(), &reconciling);
    assert_eq!((updates_only.repaired, updates_only.record.state), (false, State::Clean));
}

#[test]
fn a_record_that_never_was_there_or_was_deleted_is_not_missing() {
    let refused = Record { state: State::Clean, fence: 7, revision: 1, ..Record::default() };
    let mut deleted = Record { pushed: 2, crm_id: None, ..record() };
    deleted.body.fields.0.clear();
    for record in [refused, deleted] {
        for found in [Ok(Found::Held(None)), shows(&[], None)] {
            let done = look(record.clone(), &found, &Sent::new(), Repair::All);
            assert_eq!((done.verdict, done.changed), (Verdict::Equal, false));
        }
    }
}

#[test]
fn several_under_one_key_are_held_for_a_person() {
    let mut ambiguous = Failure::new(Class::Conflict, Scope::Record, "ambiguous", "2 records");
    ambiguous.reason = Some(Reason::AmbiguousMatch);
    let told = look(record(), &Err(ambiguous.clone()), &Sent::new(), Repair::Off);
    assert_eq!((told.verdict, told.hold, told.changed), (Verdict::Duplicated, false, false));
    let done = look(record(), &Err(ambiguous), &Sent::new(), Repair::Ours);
    assert_eq!((done.verdict, done.hold, done.record.adopted), (Verdict::Duplicated, true, false));
    let unread = look(record(), &Err(Failure::new(Class::Permanent, Scope::Record, "x", "y")), &Sent::new(), Repair::All);
    assert_eq!((unread.verdict, unread.changed), (Verdict::Unread, false));
}

#[test]
fn a_record_that_is_being_worked_on_is_busy_whatever_was_seen() {
    let found = shows(&[("City", json!("Genf"))], Some(HOUR));
    let mut due = record();
    due.due(now());
    let claimed = Record { fence: 8, ..record() };
    for busy in [due, claimed] {
        let done = look(busy.clone(), &found, &Sent::new(), Repair::All);
        assert_eq!((done.verdict, done.changed, done.record), (Verdict::Busy, false, busy));
    }
    let policy = Policy::default();
    let reconciling = Reconciling {
        policy: &policy,
        repair: Repair::All,
        creates: true,
        now: now(),
        call: call(Duration::ZERO),
        fence: 7,
        open: true,
        equal: &equal,
    };
    assert_eq!(reconcile(record(), &found, &Sent::new(), &reconciling).verdict, Verdict::Busy);
}

#[test]
fn what_was_sent_is_asked_for_only_where_something_differs() {
    assert!(!differs(&record(), &shows(&[], None), &equal));
    assert!(differs(&record(), &shows(&[("City", json!("Genf"))], None), &equal));
    assert!(!differs(&record(), &Ok(Found::Held(None)), &equal));
}

#[test]
fn a_schedule_is_due_after_its_span_and_after_a_clock_that_stepped_back() {
    assert!(!due(HOUR, now() - HOUR / 2, now()) && due(HOUR, now() - HOUR, now()) && due(HOUR, now() + HOUR, now()));
    assert!(!due(Duration::from_secs(1), now() - Duration::from_secs(60), now()), "not more often than every five minutes");
}
