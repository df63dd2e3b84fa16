//! The promise, tried: thousands of signed webhooks, a third of them doubled and all of them shuffled, from two sources of different
//! trust, into a CRM that misbehaves, through a process that is killed again and again. In the end every accepted event has ended,
//! each person was created once, and each field is what a model says that was written without a look at the product's own merge.
//!
//! `ONCEWARD_EXACTNESS=20000x500` sends 20,000 webhooks about 500 people; `ONCEWARD_EXACTNESS_SEED` repeats a run.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use harness::{Dice, Onceward, Setup, Story, Vendors, assert_crm_is_as_told, assert_ended, until};

/// Higher than any real CRM's, because what is ready shares calls: 3,000 webhooks need few.
const FAULTS: &str = "429=0.03,500-before=0.04,500-after=0.04,cut-before=0.02,cut-after=0.04,late=0.06:2s,partial=0.1,lock=0.05,\
                      expired-token=0.005,garbage=0.02,missing=0.02";
/// Of the faults, `429` asks for a second; the others are felt at once.
const SETUP: Setup = Setup {
    faults: FAULTS,
    latency_millis: 3,
    token_life_millis: 3_600_000,
    call_timeout: "1s",
    late_window: "4s",
    destination: "quota = { calls = 1000, per = \"1s\", concurrency = 4 }\nbreaker = { failures = 5, probe = \"1s\", probe_max = \"1s\" }",
    more: "",
};
/// How many connections the vendors have.
const SENDERS: usize = 8;
/// How long each of them pauses.
const PACE: Duration = Duration::from_millis(15);

/// Kills the process and starts it again.
fn cut_power(onceward: &mut Onceward, vendors: &Vendors) {
    vendors.door(0, "");
    onceward.kill9();
    onceward.restart();
    vendors.door(0, &onceward.public);
}

fn size() -> (usize, u64) {
    let text = std::env::var("ONCEWARD_EXACTNESS").unwrap_or_else(|_| "3000x100".to_owned());
    let read = text.split_once('x').and_then(|(webhooks, people)| Some((webhooks.parse().ok()?, people.parse().ok()?)));
    read.expect("ONCEWARD_EXACTNESS is webhooks and people, such as 20000x500")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_has_its_effect_once_whatever_fails() {
    let mut dice = Dice::from_environment("ONCEWARD_EXACTNESS_SEED");
    let (webhooks, people) = size();
    let story = Story::tell(&mut dice, webhooks, people);
    let mut onceward = Onceward::with(SETUP).await;
    let begun = Instant::now();

    let vendors = Vendors::new(onceward.http.clone(), story.sent, 1, PACE);
    vendors.door(0, &onceward.public);
    let senders = vendors.send(SENDERS);

    // Four power cuts while webhooks come in, at places that nobody chose.
    let mut cuts: Vec<usize> = (0..4).map(|_| usize::try_from(dice.below(webhooks as u64 * 9 / 10)).unwrap()).collect();
    cuts.sort_unstable();
    for cut in cuts {
        until(&format!("{cut} webhooks have been accepted"), Duration::from_secs(120), async || (vendors.accepted() >= cut).then_some(()))
            .await;
        cut_power(&mut onceward, &vendors);
    }
    let answered = until("every webhook has been accepted", Duration::from_secs(180), async || {
        (vendors.accepted() == webhooks || senders.is_empty()).then_some(())
    });
    answered.await;
    println!("{webhooks} webhooks accepted after {:?}", begun.elapsed());

    // And two more while what is left is being delivered.
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(100 + dice.below(900))).await;
        cut_power(&mut onceward, &vendors);
    }
    let ids = vendors.told(senders).await;
    assert_eq!(ids.keys().cloned().collect::<BTreeSet<_>>(), story.keys, "each key was answered, and no other");

    onceward.until_idle(Duration::from_secs(180)).await;
    println!("idle after {:?}; {}", begun.elapsed(), onceward.crm.stats().await);
    assert_ended(&onceward.admin, &ids).await;
    assert_crm_is_as_told(&onceward.crm, story.people).await;
}
