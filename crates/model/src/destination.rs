//! One CRM account: how fast it may be asked, and whether it may be asked at all.

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::quota::{Allowance, Day, Left, Quota, RESERVE, Usage, lasts};
use crate::schedule::Schedule;
use crate::{Class, Failure, Scope, Time};

/// How much longer than a call's timeout a lease lasts: room to notice, to settle, and for a margin before sending.
pub const LEASE_MARGIN: Duration = Duration::from_secs(25);
/// A call that has less than its timeout and this much of its lease left is not sent any more.
pub const SEND_MARGIN: Duration = Duration::from_secs(5);
/// No pause is set for longer than this: an account that is being moved may be away for a day.
const PAUSE_MAX: Duration = Duration::from_secs(86_400);
/// As long was a pause at most of which it was not noted when it was set.
const UNDATED_PAUSE_MAX: Duration = Duration::from_secs(3_600);
/// Calls in a row without an answer in time after which fewer go at once: one may have had bad luck, two are a CRM that cannot keep up.
const TIMEOUTS: u32 = 2;
/// Good calls after which one more goes at once.
const STEADY: u32 = 20;
/// What a call without an answer in time is called.
const TIMEOUT: &str = "timeout";
/// How long after an authentication failure it is looked at again without anybody asking.
const AUTH_PROBE: Duration = Duration::from_secs(60);

/// What the configuration says about a destination.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// At most this many calls …
    pub calls: u32,
    /// … in any span of this length.
    pub per: Duration,
    /// At most this many calls in a day; `None`: as many as the CRM itself tells.
    pub daily: Option<u64>,
    /// What a day is.
    pub day: Day,
    /// The share of a day's calls, in percent, that replays and catching up leave to others. 0 to 90.
    pub reserve: u8,
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
            daily: None,
            day: Day::Rolling,
            reserve: RESERVE,
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
    fn allowance(&self) -> Allowance<'_> {
        Allowance { calls: self.calls, per: self.per, daily: self.daily, day: &self.day, reserve: self.reserve }
    }

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
    /// Told to wait by the CRM until then …
    pub throttled_until: Option<Time>,
    /// … at this moment.
    pub throttled_at: Option<Time>,
    /// Destination-level failures in a row.
    pub failures: u32,
    /// Not asked before then, except for this: the first call after it is a probe.
    pub open_until: Option<Time>,
    /// Probes that failed in a row.
    pub probes: u32,
    /// Credentials were refused.
    pub auth_failed: bool,
    /// What is left of its budgets, and whose turn it is.
    pub quota: Quota,
    /// Calls at once that the CRM seems to bear; 0 means: as configured.
    pub concurrency: u32,
    /// Calls at once as configured last, for those who only look.
    pub concurrency_max: u32,
    /// When concurrency last fell: what was claimed before that says nothing of what it is now.
    pub slowed_at: Option<Time>,
    /// Calls in a row without an answer in time.
    pub timeouts: u32,
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
        } else if self.rests_until(now).is_some() {
            "throttled"
        } else {
            "active"
        }
    }

    /// Until when it is left alone by itself: told so by the CRM, or because the day's calls are used up.
    fn rests_until(&self, now: Time) -> Option<Time> {
        self.throttled(now).max(self.quota.day_spent_until(now))
    }

    fn throttled(&self, now: Time) -> Option<Time> {
        self.throttled_until.filter(|&until| match self.throttled_at {
            Some(set) => lasts(set, until, now),
            None => until > now && until.since(now) <= UNDATED_PAUSE_MAX,
        })
    }

    /// When it goes on by itself, where it does not go on now.
    pub fn until(&self, now: Time) -> Option<Time> {
        let until = match self.state(now) {
            "breaker_open" => self.open_until,
            "throttled" => self.rests_until(now),
            _ => None,
        };
        until.filter(|until| *until > now)
    }

    /// Why it does not go on now, in words for people, where it is not the CRM or a person who stopped it.
    pub fn because(&self, now: Time) -> Option<String> {
        if let Some(until) = self.quota.day_spent_until(now) {
            return Some(format!("the day's calls are used up; the next one may be made at {until}"));
        }
        let spared = self.quota.spared_until(now)?;
        Some(format!("replays and catching up leave the rest of the day's calls to fresh events and actions, until {spared}"))
    }

    /// What is left of its budgets.
    pub fn left(&self, now: Time) -> Vec<Left> {
        self.quota.left(now)
    }

    /// Calls at once that it bears now, and as configured; `None` before anybody has looked at it.
    pub fn at_once(&self) -> Option<(u32, u32)> {
        let most = self.concurrency_max;
        (most > 0).then(|| (if self.concurrency == 0 { most } else { self.concurrency.min(most) }, most))
    }

    /// Remembers what the configuration allows, for those who only look.
    pub fn configured(&mut self, policy: &Policy) {
        self.quota.configured(&policy.allowance());
        self.concurrency_max = policy.concurrency.max(1);
    }

    /// Every word that [`Destination::state`] can say.
    pub const STATES: [&'static str; 5] = ["active", "paused", "throttled", "breaker_open", "auth_failed"];

    /// Whether it may be asked now, while `in_flight` calls are out.
    pub fn permit(&self, policy: &Policy, now: Time, in_flight: u32) -> Permit {
        if self.paused {
            return Permit::Not(None);
        }
        if let Some(until) = self.throttled(now) {
            return Permit::Not(Some(until));
        }
        let left = self.quota.permitted(&policy.allowance(), now);
        if let Some(until) = self.open_until {
            // One that would last longer than any that we set was set by a clock that has since stepped back.
            let longest = policy.probe_max.max(AUTH_PROBE).max(policy.lease());
            return match left {
                _ if until > now && until.since(now) <= longest => Permit::Not(Some(until)),
                Err(until) => Permit::Not(Some(until)),
                Ok(_) if in_flight > 0 => Permit::Not(None),
                Ok(_) => Permit::Probe,
            };
        }
        let free = self.concurrency_now(policy).saturating_sub(in_flight);
        match left {
            Err(until) => Permit::Not(Some(until)),
            Ok(_) if free == 0 => Permit::Not(None),
            Ok(left) => Permit::Calls(free.min(u32::try_from(left).unwrap_or(u32::MAX))),
        }
    }

    /// Of the calls that [`Destination::permit`] allows, those that replays and catching up may take.
    ///
    /// # Errors
    ///
    /// None before then: what is left of the day's calls is kept for fresh events and actions.
    pub fn spare(&self, policy: &Policy, now: Time) -> Result<u32, Time> {
        self.quota.spare(&policy.allowance(), now).map(|spare| u32::try_from(spare).unwrap_or(u32::MAX))
    }

    /// Counts calls that are about to be made. A probe shuts the door behind it, so that only one goes.
    pub fn take(&mut self, policy: &Policy, now: Time, calls: u32) {
        self.quota.take(&policy.allowance(), now, calls);
        if self.open_until.is_some() {
            self.open_until = Some(now + policy.lease());
        }
    }

    /// Learns how many requests a call took that was counted as one, and what the CRM told of its own count.
    pub fn hear(&mut self, policy: &Policy, now: Time, requests: u32, usage: &[Usage]) {
        match requests {
            0 => self.quota.take_back(),
            1 => {}
            more => self.quota.take(&policy.allowance(), now, more - 1),
        }
        self.quota.hear(&policy.allowance(), now, usage);
    }

    fn concurrency_now(&self, policy: &Policy) -> u32 {
        if self.concurrency == 0 { policy.concurrency } else { self.concurrency.min(policy.concurrency) }.max(1)
    }

    /// Fewer at once, once for all calls that were under way together.
    fn slow_down(&mut self, policy: &Policy, now: Time, asked_at: Time) {
        self.steady = 0;
        if self.slowed_at.is_none_or(|last| asked_at >= last || last > now) {
            self.concurrency = (self.concurrency_now(policy) / 2).max(1);
            self.slowed_at = Some(now);
        }
    }

    /// Learns from the end of a call that was claimed at `asked_at`. `failure` is the whole call's failure, `None` if the CRM answered for each record.
    pub fn observe(&mut self, policy: &Policy, now: Time, asked_at: Time, failure: Option<&Failure>) {
        let Some(failure) = failure else { return self.answered(policy, now) };
        // Whoever resumed it has mended what calls from before failed of; being told to wait still counts.
        if self.resumed_at.is_some_and(|resumed| asked_at < resumed && resumed <= now) && failure.class != Class::Throttled {
            return;
        }
        self.time(policy, now, asked_at, failure);
        match (failure.class, failure.scope) {
            (Class::Throttled, _) => {
                let wait = failure.retry_after.unwrap_or(Duration::from_secs(1)).min(PAUSE_MAX);
                self.throttled_until = self.throttled(now).max(Some(now + wait));
                self.throttled_at = Some(now);
                self.slow_down(policy, now, asked_at);
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

    /// Counts calls without an answer in time; anything else that comes back ends the count.
    fn time(&mut self, policy: &Policy, now: Time, asked_at: Time, failure: &Failure) {
        if failure.code != TIMEOUT {
            self.timeouts = 0;
            return;
        }
        self.timeouts += 1;
        if self.timeouts >= TIMEOUTS {
            self.timeouts = 0;
            self.slow_down(policy, now, asked_at);
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
        self.timeouts = 0;
        if self.concurrency != 0 {
            self.steady += 1;
            // Falls fast, recovers slowly.
            if self.steady >= STEADY {
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
        (self.throttled_until, self.throttled_at) = (None, None);
        self.quota.disbelieve();
        self.close();
    }
}

fn said(failure: &Failure) -> String {
    format!("{}: {}", failure.code, failure.message)
}
