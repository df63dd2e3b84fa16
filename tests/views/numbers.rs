//! Gauges, refused requests, bulk replays and the audit trail.

use std::collections::BTreeMap;
use std::time::Duration;

use model::drift::{ChangeKind, Kinds, Observed, Shape};
use model::{Reason, RejectedId, ReplayId};
use serde_json::json;
use store::{Disposition, NewRejected, RejectedBounds, Reopen, Store, audit_hash};

use crate::world::{ADA, Told, World, at, refused, unmapped, wrote};

pub async fn gauges_know_queues_sources_and_destinations(world: World) {
    let empty = world.store.gauges(at(0)).await.unwrap();
    assert_eq!(empty.queue, [("crm".to_owned(), 0, None)]);
    assert_eq!((empty.destinations, empty.sources), (vec![("crm".to_owned(), "active".to_owned())], vec![]));
    world.accept(at(5), ADA).await;
    world.accept(at(6), Told { id: "id-2", ..ADA }).await;
    world.accept_as(at(7), Told { id: "id-3", source: "typeform", ..ADA }, unmapped()).await;
    let gauges = world.store.gauges(at(8)).await.unwrap();
    assert_eq!(gauges.queue, [("crm".to_owned(), 2, Some(at(5)))]);
    assert_eq!(gauges.sources, [("demo".to_owned(), at(6)), ("typeform".to_owned(), at(7))]);
    assert_eq!(gauges.dead_letters, [(String::new(), Reason::Unmapped, 1)]);
    world.accept(at(20), Told { id: "id-4", ..ADA }).await;
    assert_eq!(world.store.gauges(at(21)).await.unwrap().sources[0], ("demo".to_owned(), at(20)));
    let other = if world.url.starts_with("sqlite:") {
        Store::open_read_only(&world.url, store::Options::default()).await
    } else {
        Store::open(&world.url).await
    };
    assert_eq!(other.unwrap().gauges(at(21)).await.unwrap().sources.len(), 2, "whoever looks for the first time sees the same");
    world.work(at(30), &wrote).await;
    assert!(world.store.pause(at(40), "ann", "crm", "maintenance").await.unwrap());
    let [row] = world.store.destinations(at(41)).await.unwrap().try_into().unwrap();
    assert_eq!((row.state.as_str(), row.reason.as_deref(), row.until), ("paused", Some("ann: maintenance"), None));
    assert_eq!((row.open, row.oldest_open, row.last_success_at), (0, None, Some(at(30))));
    // What was asked ten seconds ago counts no more, and nobody bounds a day here.
    let [burst] = row.quota.as_slice() else { panic!("{:?}", row.quota) };
    assert_eq!((burst.window.as_str(), burst.left, burst.limit, burst.told), ("burst", 100, 100, false));
    assert_eq!((row.concurrency, row.concurrency_max), (Some(4), Some(4)));
    let gauges = world.store.gauges(at(41)).await.unwrap();
    assert_eq!(gauges.quota, row.quota.iter().map(|left| ("crm".to_owned(), left.clone())).collect::<Vec<_>>());
    assert_eq!(gauges.concurrency, [("crm".to_owned(), 4)]);
    let counts = BTreeMap::from([("succeeded".to_owned(), 3), ("quarantined".to_owned(), 1)]);
    assert_eq!(world.store.counts(at(0)).await.unwrap(), counts);
    assert_eq!(world.store.counts(at(19)).await.unwrap(), BTreeMap::from([("succeeded".to_owned(), 1)]));
}

pub async fn the_oldest_dead_letter_that_nobody_dealt_with_is_known_by_destination(world: World) {
    assert_eq!(world.store.gauges(at(0)).await.unwrap().oldest_dead_letters, []);
    let letter = world.accept(at(5), ADA).await.id.delivery(1);
    world.work(at(100), &refused).await;
    world.accept(at(200), Told { id: "id-2", ..ADA }).await;
    world.work(at(300), &refused).await;
    world.accept_as(at(400), Told { id: "id-3", ..ADA }, unmapped()).await;
    world.accept_as(at(500), Told { id: "id-4", source: "typeform", ..ADA }, unmapped()).await;
    let oldest = async |now| world.store.gauges(at(now)).await.unwrap().oldest_dead_letters;
    assert_eq!(
        oldest(501).await,
        [(String::new(), at(400)), ("crm".to_owned(), at(100))],
        "as old as its failure, whatever the event's age"
    );
    world.store.reopen(at(600), "ann", "why", &Reopen { delivery: letter, event: None, edited: None }).await.unwrap();
    assert_eq!(oldest(601).await[1], ("crm".to_owned(), at(300)), "who is replayed is none any more");
    world.work(at(700), &refused).await;
    assert_eq!(oldest(701).await[1], ("crm".to_owned(), at(300)), "and one that fails again is a new one");
}

pub async fn a_replayed_delivery_is_as_old_in_the_queue_as_its_replay(world: World) {
    let first = world.accept(at(0), ADA).await.id.delivery(1);
    world.work(at(1), &refused).await;
    world.store.reopen(at(5_000), "ann", "why", &Reopen { delivery: first, event: None, edited: None }).await.unwrap();
    world.accept(at(4_000), Told { id: "id-2", ..ADA }).await;
    assert_eq!(world.store.gauges(at(5_001)).await.unwrap().queue, [("crm".to_owned(), 2, Some(at(4_000)))]);
}

pub async fn rejected_requests_are_kept_within_their_bounds_for_each_source(world: World) {
    let bounds = RejectedBounds { rows_max: 3, bytes_max: 1_000, age_max: Duration::from_secs(1_000) };
    let keep = async |source: &str, seconds: u64, bytes: usize| {
        let id = RejectedId(world.store.next_id(at(seconds)));
        let rejected = NewRejected {
            id,
            source: source.into(),
            at: at(seconds),
            reason: "signature_mismatch".into(),
            diagnosis: "signed with none of the secrets".into(),
            body_bytes: bytes as u64,
            body_sha256: [9; 32],
            key_id: 1,
            sealed: vec![5; bytes],
        };
        world.store.keep_rejected(at(seconds), &rejected, bounds).await.unwrap();
        id
    };
    let listed = async |source: Option<&str>| {
        let rows = world.store.rejected(source, 100).await.unwrap();
        rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    let other = keep("typeform", 0, 10).await;
    let mut ids = Vec::new();
    for n in 1..=5 {
        ids.push(keep("demo", n, 100).await);
    }
    assert_eq!(listed(Some("demo")).await, [ids[4], ids[3], ids[2]]);
    let large = keep("demo", 6, 850).await;
    assert_eq!(listed(Some("demo")).await, [large, ids[4]], "bytes count too");
    let late = keep("demo", 1_006, 1).await;
    assert_eq!(listed(None).await, [late, large, other], "so does age, of its own source");
    let whole = world.store.rejected_one(large).await.unwrap().unwrap();
    assert_eq!((whole.sealed.len(), whole.body_sha256, whole.source.as_str(), whole.at), (850, [9; 32], "demo", at(6)));
    assert!(world.store.rejected_one(ids[0]).await.unwrap().is_none());
    assert!(world.store.source_existed("demo").await.unwrap());
    assert!(!world.store.source_existed("crm").await.unwrap(), "a destination is no source");
}

pub async fn a_refused_request_is_taken_in_once_and_is_off_the_list_with_it(world: World) {
    let bounds = RejectedBounds { rows_max: 10, bytes_max: 1_000, age_max: Duration::from_secs(1_000) };
    let rejected = |n: u64| NewRejected {
        id: RejectedId(world.store.next_id(at(n))),
        source: "demo".into(),
        at: at(n),
        reason: "signature_mismatch".into(),
        diagnosis: "signed with none of the secrets".into(),
        body_bytes: 3,
        body_sha256: [9; 32],
        key_id: 1,
        sealed: vec![5; 3],
    };
    let (one, two) = (rejected(1), rejected(2));
    for kept in [&one, &two] {
        world.store.keep_rejected(at(3), kept, bounds).await.unwrap();
    }
    assert_eq!(world.store.count_rejected().await.unwrap(), BTreeMap::from([("demo".to_owned(), 2)]));
    assert_eq!(world.store.rejected_after("demo", RejectedId(0), 10).await.unwrap(), [one.id, two.id]);
    assert_eq!(world.store.rejected_after("demo", one.id, 10).await.unwrap(), [two.id]);
    let intake = world.intake(at(1), ADA, None);
    let take = async || world.store.take_back(at(500), "ann", "mended", one.id, &intake).await.unwrap();
    let (first, second) = tokio::join!(take(), take());
    let taken: Vec<_> = [first, second].into_iter().flatten().collect();
    assert_eq!(taken.len(), 1, "of two at once, one finds it gone");
    let answer = &taken[0].answers[0][0];
    assert_eq!((answer.status, taken[0].wakeups.len()), (Disposition::Accepted, 1));
    let (row, _, _) = world.store.event(at(501), answer.id).await.unwrap().unwrap();
    assert_eq!(row.received_at, at(1), "it came when it came");
    let audit = world.store.audit_rows(None, 10).await.unwrap();
    assert_eq!((audit.len(), audit[0].action.as_str(), audit[0].subject.clone()), (1, "take_back", intake.raw.id.to_string()));
    assert_eq!(audit[0].detail["rejected"], json!(one.id));
    let trace = world.trace(&answer.id.to_string()).await;
    let told = trace.steps.iter().find(|step| step.step == "taken_back").unwrap();
    assert!(told.detail.contains("by ann") && told.detail.contains("mended"), "{}", told.detail);
    // What stays has a fresh diagnosis.
    world.store.diagnose_rejected(two.id, "timestamp_stale", "signed 400 s before it came").await.unwrap();
    let left = world.store.rejected(Some("demo"), 10).await.unwrap();
    assert_eq!(left.iter().map(|row| (row.id, row.reason.as_str())).collect::<Vec<_>>(), [(two.id, "timestamp_stale")]);
}

pub async fn what_bodies_look_like_is_learned_by_several_and_each_change_is_told_to_one(world: World) {
    let observed = |bodies: u64, paths: &[(&str, Kinds)]| {
        let mut shape = Shape::default();
        paths.iter().for_each(|(path, kinds)| assert!(shape.note(path, *kinds)));
        let mut observed = Observed::default();
        (0..bodies).for_each(|_| observed.add(&shape));
        BTreeMap::from([("lead.created".to_owned(), observed)])
    };
    let usual = observed(15, &[("id", Kinds::TEXT)]);
    let learn = async |n: u64, observed: &BTreeMap<String, Observed>| world.store.learn(at(n), "demo", observed).await.unwrap();
    // The first two meet where there is no row yet.
    let (one, two) = tokio::join!(learn(1, &usual), learn(1, &usual));
    assert!(one.is_empty() && two.is_empty());
    let odd = observed(2, &[("id", Kinds::NUMBER), ("consent", Kinds::BOOLEAN)]);
    let (one, two) = tokio::join!(learn(2, &odd), learn(2, &odd));
    let told: Vec<_> =
        one.iter().chain(&two).map(|(event_type, change)| (event_type.as_str(), change.kind, change.path.as_str())).collect();
    let expected = [("lead.created", ChangeKind::New, "consent"), ("lead.created", ChangeKind::ChangedType, "id")];
    assert_eq!(told, expected, "each to one of them");
    let rows = world.store.drift("demo").await.unwrap();
    assert_eq!((rows.len(), rows[0].bodies, rows[0].paths, rows[0].changes.len(), rows[0].updated_at), (1, 34, 2, 2, at(2)));
    assert!(world.store.drift("typeform").await.unwrap().is_empty());
}

pub async fn a_bulk_replay_can_be_followed_and_found_again_after_a_stop(world: World) {
    let id = ReplayId(world.store.next_id(at(0)));
    let filter = json!({ "where": { "reason": "unmapped" }, "mapping": "current" });
    world.store.begin_replay(at(0), id, "ann", "mapped now", &filter, 12).await.unwrap();
    world.store.note_replay(id, 5, 1, None).await.unwrap();
    let row = world.store.replay(id).await.unwrap().unwrap();
    assert_eq!((row.matched, row.reopened, row.refused, row.finished_at, row.filter), (12, 5, 1, None, filter));
    assert_eq!(world.store.unfinished_replays().await.unwrap().len(), 1);
    world.store.note_replay(id, 11, 1, Some(at(9))).await.unwrap();
    assert_eq!(world.store.replay(id).await.unwrap().unwrap().finished_at, Some(at(9)));
    assert!(world.store.unfinished_replays().await.unwrap().is_empty());
    assert!(world.store.replay(ReplayId(1)).await.unwrap().is_none());
}

pub async fn the_audit_trail_reads_newest_first_and_its_hashes_hold(world: World) {
    for n in 0..5 {
        world.store.audit(at(n), "ann", "raw_event_read", "raw_1", &json!({ "n": n })).await.unwrap();
    }
    let rows = world.store.audit_rows(None, 3).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [5, 4, 3]);
    let rest = world.store.audit_rows(Some(3), 100).await.unwrap();
    assert_eq!(rest.iter().map(|row| row.seq).collect::<Vec<_>>(), [2, 1]);
    let mut before = Vec::new();
    for row in rest.iter().rev().chain(rows.iter().rev()) {
        before = audit_hash(&before, row.seq, row.at, [&row.actor, &row.action, &row.subject], &row.detail.to_string());
        assert_eq!(hex::encode(&before), row.hash);
    }
}
