use super::*;

fn at(seconds: i64) -> Time {
    Time::from_seconds(1_800_000_000 + seconds)
}

fn failure(class: Class) -> Failure {
    Failure::new(class, Scope::Call, "x", "y")
}

#[test]
fn five_failures_in_a_row_open_the_breaker_and_one_probe_goes_at_a_time() {
    let policy = Policy::default();
    let mut destination = Destination::default();
    for n in 0..4 {
        destination.observe(&policy, at(n), at(n), Some(&failure(Class::Unknown)));
        assert!(matches!(destination.permit(&policy, at(n), 0), Permit::Calls(_)), "{n}");
    }
    destination.observe(&policy, at(4), at(4), Some(&failure(Class::Unknown)));
    assert_eq!(destination.permit(&policy, at(4), 0), Permit::Not(Some(at(5))));
    assert_eq!(destination.permit(&policy, at(5), 0), Permit::Probe);
    destination.take(&policy, at(5), 1);
    assert!(matches!(destination.permit(&policy, at(6), 1), Permit::Not(_)));
    destination.observe(&policy, at(6), at(6), Some(&failure(Class::Unknown)));
    assert_eq!(destination.permit(&policy, at(6), 0), Permit::Not(Some(at(8))), "the wait doubles");
    destination.observe(&policy, at(9), at(9), None);
    assert!(matches!(destination.permit(&policy, at(9), 0), Permit::Calls(_)));
    assert_eq!(destination.state(at(9)), "active");
}

#[test]
fn the_quota_is_a_budget_per_window() {
    let policy = Policy { calls: 2, per: Duration::from_secs(1), concurrency: 10, ..Policy::default() };
    let mut destination = Destination::default();
    assert_eq!(destination.permit(&policy, at(0), 0), Permit::Calls(2));
    destination.take(&policy, at(0), 2);
    let Permit::Not(Some(until)) = destination.permit(&policy, at(0), 2) else { panic!("the budget is spent") };
    assert!(until >= at(1) && until <= at(1) + Duration::from_millis(100), "{until}");
    assert_eq!(destination.permit(&policy, until, 0), Permit::Calls(2));
    assert_eq!(destination.permit(&policy, at(60), 0), Permit::Calls(2), "unused calls do not pile up");
    // However far the clock steps back, a spent budget costs what it would have cost once more.
    assert_eq!(destination.permit(&policy, at(-3_600), 0), Permit::Calls(2));
}

#[test]
fn throttling_pauses_halves_and_recovers_slowly() {
    let policy = Policy { concurrency: 8, calls: 1_000, ..Policy::default() };
    let mut destination = Destination::default();
    let mut throttled = failure(Class::Throttled);
    throttled.retry_after = Some(Duration::from_secs(10));
    destination.observe(&policy, at(0), at(0), Some(&throttled));
    assert_eq!(destination.permit(&policy, at(9), 0), Permit::Not(Some(at(10))));
    assert_eq!(destination.permit(&policy, at(10), 0), Permit::Calls(4));
    for _ in 0..20 {
        destination.observe(&policy, at(11), at(11), None);
    }
    assert_eq!(destination.permit(&policy, at(11), 0), Permit::Calls(5));
}

#[test]
fn refused_credentials_stop_everything_until_a_resume_or_a_good_probe() {
    let policy = Policy::default();
    let mut destination = Destination::default();
    destination.observe(&policy, at(0), at(0), Some(&failure(Class::Auth)));
    assert_eq!(destination.state(at(0)), "auth_failed");
    assert_eq!(destination.permit(&policy, at(1), 0), Permit::Not(Some(at(60))));
    destination.resume(at(1));
    assert!(matches!(destination.permit(&policy, at(1), 0), Permit::Calls(_)));
    destination.observe(&policy, at(2), at(0), Some(&failure(Class::Auth)));
    assert_eq!(destination.state(at(2)), "active", "a call from before the mending says nothing of it");
    destination.observe(&policy, at(3), at(2), Some(&failure(Class::Auth)));
    assert_eq!(destination.state(at(3)), "auth_failed");
}

#[test]
fn a_call_is_not_sent_when_it_could_outlive_its_lease() {
    let policy = Policy::default();
    assert!(policy.may_send(Duration::from_secs(19)));
    assert!(!policy.may_send(Duration::from_secs(20)));
}

#[test]
fn calls_under_way_together_are_throttled_once() {
    let policy = Policy { concurrency: 8, calls: 1_000, ..Policy::default() };
    let mut destination = Destination::default();
    for _ in 0..4 {
        destination.observe(&policy, at(1), at(0), Some(&failure(Class::Throttled)));
    }
    assert_eq!(destination.concurrency, 4);
    destination.observe(&policy, at(3), at(2), Some(&failure(Class::Throttled)));
    assert_eq!(destination.concurrency, 2);
    for n in 4..40 {
        destination.observe(&policy, at(n), at(n), Some(&failure(Class::Throttled)));
    }
    assert_eq!(destination.concurrency, 1, "never below one");
}

#[test]
fn two_calls_in_a_row_without_an_answer_in_time_halve_what_goes_at_once() {
    let policy = Policy { concurrency: 8, calls: 1_000, breaker_failures: 100, ..Policy::default() };
    let late = Failure { code: "timeout".into(), ..failure(Class::Unknown) };
    let mut destination = Destination::default();
    destination.observe(&policy, at(0), at(0), Some(&late));
    destination.observe(&policy, at(1), at(1), None);
    destination.observe(&policy, at(2), at(2), Some(&late));
    destination.observe(&policy, at(3), at(3), Some(&failure(Class::Unknown)));
    destination.observe(&policy, at(4), at(4), Some(&late));
    assert_eq!(destination.concurrency, 0, "none in a row");
    destination.observe(&policy, at(5), at(5), Some(&late));
    assert_eq!(destination.concurrency, 4);
    destination.configured(&policy);
    assert_eq!(destination.at_once(), Some((4, 8)));
}

#[test]
fn a_pause_may_last_a_day_and_ends_with_a_clock_that_steps_back() {
    let policy = Policy::default();
    let mut destination = Destination::default();
    let moved = Failure { retry_after: Some(Duration::from_secs(30 * 3_600)), ..failure(Class::Throttled) };
    destination.observe(&policy, at(0), at(0), Some(&moved));
    assert_eq!(destination.permit(&policy, at(1), 0), Permit::Not(Some(at(86_400))), "longer than that none lasts");
    assert_eq!((destination.state(at(1)), destination.until(at(1))), ("throttled", Some(at(86_400))));
    assert_eq!(destination.permit(&policy, at(86_399), 0), Permit::Not(Some(at(86_400))));
    assert!(matches!(destination.permit(&policy, at(86_400), 0), Permit::Calls(_)));
    // Set by a clock that was two days ahead.
    assert!(matches!(destination.permit(&policy, at(-2 * 86_400), 0), Permit::Calls(_)));
    // As an older version left it: what it never set so long is over.
    let undated = Destination { throttled_at: None, ..destination };
    assert!(matches!(undated.permit(&policy, at(0), 0), Permit::Calls(_)));
    assert_eq!(undated.permit(&policy, at(86_400 - 60), 0), Permit::Not(Some(at(86_400))));
}

#[test]
fn a_days_budget_that_is_used_up_rests_the_destination_until_it_is_not() {
    let policy = Policy { daily: Some(3), reserve: 0, ..Policy::default() };
    let mut destination = Destination::default();
    destination.configured(&policy);
    destination.take(&policy, at(0), 3);
    let Permit::Not(Some(until)) = destination.permit(&policy, at(5), 0) else { panic!("the day is spent") };
    assert!(until >= at(86_400) && until <= at(86_400 + 3_600), "{until}");
    assert_eq!((destination.state(at(5)), destination.until(at(5))), ("throttled", Some(until)));
    assert!(destination.because(at(5)).unwrap().contains("used up"));
    assert_eq!(destination.permit(&policy, until, 0), Permit::Calls(3));
    assert_eq!((destination.state(until), destination.because(until)), ("active", None));
    // A person cannot make more of it, but a raised budget holds at once.
    destination.resume(at(6));
    assert_eq!(destination.permit(&policy, at(6), 0), Permit::Not(Some(until)));
    assert_eq!(destination.permit(&Policy { daily: Some(5), ..policy }, at(6), 0), Permit::Calls(2));
}

#[test]
fn what_an_older_version_left_behind_is_read_and_bounds_nothing() {
    let text = r#"{"paused":false,"tokens_milli":-5000,"refilled_at":1800000000000000,"concurrency":2,"failures":1}"#;
    let destination: Destination = serde_json::from_str(text).unwrap();
    assert_eq!(destination.permit(&Policy::default(), at(0), 0), Permit::Calls(2));
    assert_eq!((destination.at_once(), destination.left(at(0))), (None, Vec::new()));
}
