//! One CRM account: how fast it may be asked, and whether it may be asked at all.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::schedule::Schedule;
use crate::{Class, Failure, Scope, Time};

/// How much longer than a call's timeout a lease lasts: room to notice, to settle, and for a margin before sending.
pub const LEASE_MARGIN: Duration = Duration::from_secs(25);
/// A call that has less than its timeout and this much of its lease left is not sent any more.
pub const SEND_MARGIN: Duration = Duration::from_secs(5);
/// No pause is set for longer than this.
const PAUSE_MAX: Duration = Duration::from_secs(3_600);
/// How long after an authentication failure it is looked at again without anybody asking.
const AUTH_PROBE: Duration = Duration::from_secs(60);

/// What the configuration says about a destination.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// At most this many calls …
    pub calls: u32,
    /// … in this time.
    pub per: Duration,
    /// At most this many calls at once.
    pub concurrency: u32,
    /// The total timeout of one call.
    pub call_timeout: Duration,
    /// How long after it was sent a write may still land (protocol.md: W).
    pub late_window: Duration,
    /// When to try again.
    pub schedule: Schedule,
    /// Consecutive destination-level failures that open the breaker.
    pub breaker_failures: u32,
    /// The first wait of an open breaker; it doubles with each failed probe …
    pub probe_first: Duration,
    /// … up to this.
    pub probe_max: Duration,
    /// What becomes of deliveries when credentials are refused.
    pub on_auth_failure: OnAuthFailure,
    /// From this trust on, an event may change identifiers.
    pub identifier_trust: u8,
    /// The trust of values that were in the CRM before us.
    pub crm_trust: u8,
    /// How long an update waits for its record to appear.
    pub update_only_wait: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            calls: 100,
            per: Duration::from_secs(1),
            concurrency: 4,
            call_timeout: Duration::from_secs(60),
            late_window: Duration::from_secs(300),
            schedule: Schedule::default(),
            breaker_failures: 5,
            probe_first: Duration::from_secs(1),
            probe_max: Duration::from_secs(30),
            on_auth_failure: OnAuthFailure::Pause,
            identifier_trust: 90,
            crm_trust: 50,
            update_only_wait: Duration::from_secs(600),
        }
    }
}

impl Policy {
    /// How long a worker holds the records of one call.
    pub fn lease(&self) -> Duration {
        self.call_timeout + LEASE_MARGIN
    }

    /// Whether a call may still be sent so long after the claim was begun, by a clock that only goes forward: it must end before its lease does.
    pub fn may_send(&self, elapsed: Duration) -> bool {
        elapsed + self.call_timeout + SEND_MARGIN < self.lease()
    }
}

/// What becomes of deliveries when credentials are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnAuthFailure {
    /// They stay open until the destination is well.
    #[default]
    Pause,
    /// They become dead letters.
    DeadLetter,
}

/// Whether present values are read before a record is first written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Adopt {
    /// Read them and let them count.
    #[default]
    Read,
    /// Write over them.
    Overwrite,
}

/// What the ledger knows of a destination; shared by every worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Destination {
    /// Stopped by a person until resumed.
    pub paused: bool,
    /// Who stopped it and why, or what the CRM said.
    pub reason: Option<String>,
    /// Told to wait by the CRM until then.
    pub throttled_until: Option<Time>,
    /// Destination-level failures in a row.
    pub failures: u32,
    /// Not asked before then, except for this: the first call after it is a probe.
    pub open_until: Option<Time>,
    /// Probes that failed in a row.
    pub probes: u32,
    /// Credentials were refused.
    pub auth_failed: bool,
    /// Calls left in the present window, in thousandths.
    pub tokens_milli: i64,
    /// When tokens were last counted.
    pub refilled_at: Time,
    /// Calls at once that the CRM seems to bear; 0 means: as configured.
    pub concurrency: u32,
    /// Successful calls since concurrency last changed.
    pub steady: u32,
    /// The last time it answered a call of ours with a result.
    pub last_success_at: Option<Time>,
    /// The last destination-level failure, in the CRM's words.
    pub last_error: Option<String>,
    /// When somebody last let it go on.
    pub resumed_at: Option<Time>,
}

/// Whether a destination may be asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// At most this many calls.
    Calls(u32),
    /// One call, to find out whether it is well again.
    Probe,
    /// None before then; `None`: before somebody resumes it, or a call in flight comes back.
    Not(Option<Time>),
}

impl Destination {
    /// The word shown to people and used in metrics.
    pub fn state(&self, now: Time) -> &'static str {
        if self.paused {
            "paused"
        } else if self.auth_failed {
            "auth_failed"
        } else if self.open_until.is_some() {
            "breaker_open"
        } else if self.throttled_until.is_some_and(|until| ahead(until, now)) {
            "throttled"
        } else {
            "active"
        }
    }

    /// Every word that [`Destination::state`] can say.
    pub const STATES: [&'static str; 5] = ["active", "paused", "throttled", "breaker_open", "auth_failed"];

    /// Whether it may be asked now, while `in_flight` calls are out.
    pub fn permit(&self, policy: &Policy, now: Time, in_flight: u32) -> Permit {
        if self.paused {
            return Permit::Not(None);
        }
        if let Some(until) = self.throttled_until.filter(|&until| ahead(until, now)) {
            return Permit::Not(Some(until));
        }
        if let Some(until) = self.open_until {
            return match ahead(until, now) {
                true => Permit::Not(Some(until)),
                false if in_flight > 0 => Permit::Not(None),
                false => Permit::Probe,
            };
        }
        let free = self.concurrency_now(policy).saturating_sub(in_flight);
        if free == 0 {
            return Permit::Not(None);
        }
        let tokens = self.tokens_at(policy, now);
        if tokens < 1_000 {
            let missing = u64::try_from(1_000 - tokens).unwrap_or(1_000);
            let wait = policy.per.as_micros() as u64 * missing / (u64::from(policy.calls.max(1)) * 1_000);
            return Permit::Not(Some(now + Duration::from_micros(wait + 1)));
        }
        Permit::Calls(free.min(u32::try_from(tokens / 1_000).unwrap_or(1)))
    }

    /// Counts calls that are about to be made. A probe shuts the door behind it, so that only one goes.
    pub fn take(&mut self, policy: &Policy, now: Time, calls: u32) {
        self.tokens_milli = self.tokens_at(policy, now) - i64::from(calls) * 1_000;
        self.refilled_at = now;
        if self.open_until.is_some() {
            self.open_until = Some(now + policy.lease());
        }
    }

    fn concurrency_now(&self, policy: &Policy) -> u32 {
        if self.concurrency == 0 { policy.concurrency } else { self.concurrency.min(policy.concurrency) }.max(1)
    }

    fn tokens_at(&self, policy: &Policy, now: Time) -> i64 {
        let full = i64::from(policy.calls.max(1)) * 1_000;
        // A row that was never used, or a clock that stepped back: it costs a window at most, where waiting for the clock could cost hours.
        if self.refilled_at == Time::default() || now < self.refilled_at {
            return full;
        }
        let gained = now.since(self.refilled_at).as_micros() * full as u128 / policy.per.as_micros().max(1);
        self.tokens_milli.saturating_add(i64::try_from(gained).unwrap_or(full)).min(full)
    }

    /// Learns from the end of a call that was claimed at `asked_at`. `failure` is the whole call's failure, `None` if the CRM answered for each record.
    pub fn observe(&mut self, policy: &Policy, now: Time, asked_at: Time, failure: Option<&Failure>) {
        let Some(failure) = failure else { return self.answered(policy, now) };
        // Whoever resumed it has mended what calls from before failed of; being told to wait still counts.
        if self.resumed_at.is_some_and(|resumed| asked_at < resumed && resumed <= now) && failure.class != Class::Throttled {
            return;
        }
        match (failure.class, failure.scope) {
            (Class::Throttled, _) => {
                let wait = failure.retry_after.unwrap_or(Duration::from_secs(1)).min(PAUSE_MAX);
                let until = now + wait;
                self.throttled_until = Some(self.throttled_until.map_or(until, |held| held.max(until)));
                self.concurrency = (self.concurrency_now(policy) / 2).max(1);
                self.steady = 0;
                self.last_error = Some(failure.code.clone());
                // The CRM answers: whatever opened the breaker is over.
                self.close();
            }
            (Class::Auth, _) => {
                self.auth_failed = true;
                self.open_until = Some(now + AUTH_PROBE);
                self.last_error = Some(said(failure));
            }
            (Class::Permanent | Class::Conflict, Scope::Record | Scope::Call) => self.answered(policy, now),
            (Class::Permanent | Class::Conflict, Scope::Destination) => {
                self.failures = policy.breaker_failures;
                self.open(policy, now, failure);
            }
            (Class::Retryable | Class::Unknown, _) => {
                self.failures = self.failures.saturating_add(1);
                self.last_error = Some(said(failure));
                if self.open_until.is_some() || self.failures >= policy.breaker_failures {
                    self.open(policy, now, failure);
                }
            }
        }
    }

    /// A probe that never came about: the door opens again at once for the next one.
    pub fn probe_not_sent(&mut self, now: Time) {
        if self.open_until.is_some() {
            self.open_until = Some(now);
        }
    }

    fn open(&mut self, policy: &Policy, now: Time, failure: &Failure) {
        let wait = policy.probe_first.saturating_mul(1 << self.probes.min(16)).min(policy.probe_max);
        self.probes = self.probes.saturating_add(1);
        self.open_until = Some(now + wait);
        self.last_error = Some(said(failure));
    }

    fn close(&mut self) {
        self.failures = 0;
        self.probes = 0;
        self.open_until = None;
        self.auth_failed = false;
    }

    fn answered(&mut self, policy: &Policy, now: Time) {
        self.close();
        self.last_success_at = Some(now);
        self.last_error = None;
        if self.concurrency != 0 {
            self.steady += 1;
            // One more at once after each 20 good calls: falls fast, recovers slowly.
            if self.steady >= 20 {
                self.steady = 0;
                self.concurrency += 1;
                if self.concurrency >= policy.concurrency {
                    self.concurrency = 0;
                }
            }
        }
    }

    /// Stops deliveries until somebody resumes them.
    pub fn pause(&mut self, reason: String) {
        self.paused = true;
        self.reason = Some(reason);
    }

    /// Lets deliveries go again at once, whatever stopped them.
    pub fn resume(&mut self, now: Time) {
        self.resumed_at = Some(now);
        self.paused = false;
        self.reason = None;
        self.throttled_until = None;
        self.close();
    }
}

/// Whether a pause still lasts. One that would last longer than any that we set was set by a clock that has since stepped back.
fn ahead(until: Time, now: Time) -> bool {
    until > now && until.since(now) <= PAUSE_MAX
}

fn said(failure: &Failure) -> String {
    format!("{}: {}", failure.code, failure.message)
}

#[cfg(test)]
mod tests {
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
        assert!(until > at(0) && until <= at(1));
        assert_eq!(destination.permit(&policy, until, 0), Permit::Calls(1));
        assert_eq!(destination.permit(&policy, at(60), 0), Permit::Calls(2), "unused calls do not pile up");
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
}
