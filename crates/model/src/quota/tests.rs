use proptest::prelude::*;

use super::*;
use crate::destination::{Destination, Permit, Policy};

const START: i64 = 1_800_000_000;

fn at(seconds: i64) -> Time {
    Time::from_seconds(START + seconds)
}

fn moment(text: &str) -> Time {
    Time::parse_rfc3339(text).unwrap()
}

/// The most calls that any span of this length holds.
fn most_in(span: Duration, calls: &[Time]) -> usize {
    let within = |begin: usize| calls[begin..].iter().take_while(|at| at.since(calls[begin]) < span).count();
    (0..calls.len()).map(within).max().unwrap_or_default()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_span_of_the_window_holds_more_calls_than_the_budget(
        calls in 1_u32..40,
        per_millis in 500_u64..20_000,
        waits in prop::collection::vec((0_i64..900_000, 1_u32..12), 1..300),
    ) {
        let policy = Policy { calls, per: Duration::from_millis(per_millis), concurrency: 1_000, ..Policy::default() };
        let mut destination = Destination::default();
        let mut now = at(0);
        let mut made = Vec::new();
        for (wait, wanted) in waits {
            now = Time(now.0 + wait);
            match destination.permit(&policy, now, 0) {
                Permit::Calls(most) => {
                    prop_assert!(most > 0);
                    let taken = most.min(wanted);
                    destination.take(&policy, now, taken);
                    made.extend((0..taken).map(|_| now));
                }
                Permit::Not(Some(until)) => {
                    prop_assert!(until > now);
                    // Once it is time, there is a call; and the wait is a tenth of the span too long at most.
                    let refused = matches!(destination.permit(&policy, until, 0), Permit::Not(_));
                    prop_assert!(!refused);
                    let oldest = made[made.len() - calls as usize];
                    prop_assert!(until.since(oldest) <= policy.per + policy.per / 10 + Duration::from_micros(1));
                }
                Permit::Probe | Permit::Not(None) => prop_assert!(false, "it is well, and says until when"),
            }
        }
        prop_assert!(most_in(policy.per, &made) <= calls as usize);
    }

    #[test]
    fn no_day_holds_more_calls_than_its_budget_and_the_reserve_is_left_to_better_lanes(
        daily in 1_u64..60,
        reserve in 0_u8..90,
        rolling in any::<bool>(),
        waits in prop::collection::vec((0_i64..6 * 3_600, any::<bool>()), 1..250),
    ) {
        let day = if rolling { Day::Rolling } else { Day::parse("Europe/Berlin").unwrap() };
        let policy = Policy { daily: Some(daily), reserve, day: day.clone(), ..Policy::default() };
        let mut destination = Destination::default();
        let mut now = at(0);
        let (mut made, mut low): (Vec<Time>, Vec<Time>) = (Vec::new(), Vec::new());
        for (wait, spares) in waits {
            now = now + Duration::from_secs(wait as u64);
            let Permit::Calls(_) = destination.permit(&policy, now, 0) else { continue };
            if spares {
                match destination.spare(&policy, now) {
                    Ok(most) => prop_assert!(most > 0),
                    Err(until) => {
                        prop_assert!(until > now && destination.spare(&policy, until).is_ok());
                        continue;
                    }
                }
                low.push(now);
            }
            destination.take(&policy, now, 1);
            made.push(now);
        }
        let kept = daily * u64::from(reserve) / 100;
        if rolling {
            prop_assert!(most_in(DAY, &made) as u64 <= daily);
            prop_assert!(most_in(DAY, &low) as u64 <= daily - kept);
        } else {
            for at in &made {
                let (begin, end) = day.slot(*at);
                let on_it = |calls: &[Time]| calls.iter().filter(|at| **at >= begin && **at < end).count() as u64;
                prop_assert!(on_it(&made) <= daily && on_it(&low) <= daily - kept);
            }
        }
    }

    #[test]
    fn the_crms_own_limit_is_never_overrun_whoever_else_uses_it(limit in 2_u64..40, others in prop::collection::vec(0_u64..4, 1..60)) {
        let policy = Policy::default();
        let mut destination = Destination::default();
        let mut used = 0;
        for (n, others) in others.into_iter().enumerate() {
            let now = at(n as i64);
            used = (used + others).min(limit);
            destination.hear(&policy, now, 1, &[Usage::day(used, limit)]);
            while let Permit::Calls(_) = destination.permit(&policy, now, 0) {
                destination.take(&policy, now, 1);
                used += 1;
                prop_assert!(used <= limit);
            }
            prop_assert_eq!(used, limit);
        }
    }
}

#[test]
fn each_lane_has_its_turn_and_better_ones_have_most_of_them() {
    let mut turns = Turns::default();
    let mut first = Vec::new();
    for _ in 0..1_000 {
        let order = turns.order();
        let mut sorted = order;
        sorted.sort();
        assert_eq!(sorted, Lane::ALL, "every lane is looked at");
        first.push(order[0]);
        turns.took();
    }
    let of = |lane: Lane| first.iter().filter(|first| **first == lane).count();
    assert!(of(Lane::Action) > 780, "{}", of(Lane::Action));
    assert!((95..=101).contains(&of(Lane::Fresh)), "{}", of(Lane::Fresh));
    for lane in [Lane::Replay, Lane::CatchUp] {
        assert!((46..=51).contains(&of(lane)), "{lane:?}: {}", of(lane));
        let places: Vec<usize> = first.iter().enumerate().filter(|(_, first)| **first == lane).map(|(place, _)| place).collect();
        assert!(places[0] < 23 && places.windows(2).all(|pair| pair[1] - pair[0] <= 23), "it waits for 22 claims of others at most");
    }
    // Two that claim side by side see the same; a turn is not lost by that.
    let mut turns = Turns::default();
    let mut replays = 0;
    for _ in 0..100 {
        replays += usize::from(turns.order()[0] == Lane::Replay);
        turns.took();
        turns.took();
    }
    assert!(replays >= 8, "{replays}");
}

#[test]
fn a_day_ends_at_midnight_there_even_when_the_clocks_change() {
    let berlin = Day::parse("Europe/Berlin").unwrap();
    let (begin, end) = berlin.slot(moment("2026-10-25T12:00:00Z"));
    assert_eq!((begin, end), (moment("2026-10-24T22:00:00Z"), moment("2026-10-25T23:00:00Z")), "a day of 25 hours");
    assert_eq!(Day::parse("UTC").unwrap().slot(moment("2026-11-22T18:04:00Z")).1, moment("2026-11-23T00:00:00Z"));
    assert!(Day::parse("Berlin").is_none() && Day::parse("").is_none());
    let policy = Policy { daily: Some(1), day: berlin, ..Policy::default() };
    let mut destination = Destination::default();
    let noon = moment("2026-10-25T12:00:00Z");
    destination.take(&policy, noon, 1);
    assert_eq!(destination.permit(&policy, noon, 0), Permit::Not(Some(end)));
    assert!(matches!(destination.permit(&policy, end, 0), Permit::Calls(1)));
    // A clock that steps back over midnight gives the day away once, and not twice.
    destination.take(&policy, end, 1);
    assert_eq!(destination.permit(&policy, Time(end.0 - 1_000_000), 0), Permit::Not(Some(berlin_midnight_after(end))));
}

fn berlin_midnight_after(at: Time) -> Time {
    Day::parse("Europe/Berlin").unwrap().slot(at).1
}

#[test]
fn what_the_crm_tells_bounds_what_is_configured() {
    let policy = Policy { daily: Some(1_000), reserve: 20, calls: 100, per: Duration::from_secs(10), concurrency: 50, ..Policy::default() };
    let mut destination = Destination::default();
    destination.configured(&policy);
    destination.take(&policy, at(0), 1);
    destination.hear(&policy, at(0), 1, &[Usage::day(14_995, 15_000), Usage::burst(60, 100, Duration::from_secs(10))]);
    // Others have used nearly all of the account's day: five are left, and none for replays.
    assert_eq!(destination.permit(&policy, at(1), 0), Permit::Calls(5));
    assert!(destination.spare(&policy, at(1)).is_err());
    let left = destination.left(at(1));
    assert_eq!(
        left.iter().map(|left| (left.window, left.left, left.limit, left.told)).collect::<Vec<_>>(),
        [(Window::Burst, 40, 100, true), (Window::Day, 5, 15_000, true)]
    );
    assert_eq!(left[1].reserve, 3_000);
    destination.take(&policy, at(1), 5);
    // Nothing more is heard of the CRM's rolling day by whoever calls no more: it is asked again after an hour.
    let Permit::Not(Some(until)) = destination.permit(&policy, at(2), 0) else { panic!("the account's day is spent") };
    assert_eq!(until, at(3_600));
    assert!(matches!(destination.permit(&policy, until, 0), Permit::Calls(_)));
    // A person who knows better is believed.
    destination.resume(at(3));
    assert!(matches!(destination.permit(&policy, at(3), 0), Permit::Calls(_)));
}

#[test]
fn the_last_of_several_answers_at_once_is_believed() {
    let policy = Policy::default();
    let mut destination = Destination::default();
    for used in [10, 12, 11] {
        destination.hear(&policy, at(0), 1, &[Usage::day(used, 20)]);
    }
    assert_eq!(destination.left(at(0))[0].left, 8);
    destination.hear(&policy, at(1), 1, &[Usage::day(2, 20)]);
    assert_eq!(destination.left(at(1))[0].left, 18, "the window moves along");
    destination.hear(&policy, at(2), 1, &[Usage::day(7, 0)]);
    assert_eq!(destination.left(at(2))[0].left, 18, "a limit of nothing is no limit");
}

#[test]
fn a_call_counts_as_the_requests_that_it_took() {
    let policy = Policy { daily: Some(100), calls: 10, per: Duration::from_secs(10), concurrency: 50, ..Policy::default() };
    let left = |destination: &Destination| destination.left(at(0)).iter().map(|left| left.left).collect::<Vec<_>>();
    let mut destination = Destination::default();
    destination.configured(&policy);
    destination.take(&policy, at(0), 2);
    destination.hear(&policy, at(0), 4, &[]);
    assert_eq!(left(&destination), [5, 95], "three beyond the one that was counted");
    destination.hear(&policy, at(0), 0, &[]);
    assert_eq!(left(&destination), [6, 96], "one was not made");
}

#[test]
fn nothing_is_kept_of_what_no_longer_counts() {
    let policy = Policy { daily: Some(1_000_000), ..Policy::default() };
    let mut destination = Destination::default();
    for hour in 0..200 {
        destination.take(&policy, at(hour * 3_600), 1);
        destination.hear(&policy, at(hour * 3_600), 1, &[Usage::day(5, 10_000_000), Usage::burst(1, 100, Duration::from_secs(10))]);
    }
    let text = serde_json::to_string(&destination).unwrap();
    assert!(text.len() < 2_500, "{} bytes", text.len());
    assert_eq!(serde_json::from_str::<Destination>(&text).unwrap(), destination);
}
