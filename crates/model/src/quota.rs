//! How much a destination may be asked, by our own count and by the CRM's, and whose turn it is.
//!
//! A budget is a number of calls in a span of time. Calls are counted in slots; a slot counts for as long as any call in it may lie within the span, so that
//! no span of that length ever holds more calls than the budget, wherever it begins. What a CRM tells of its own count ([`Usage`]) is a second
//! budget beside ours: it knows of others who use the same account, and ours knows of calls that it has not answered yet.

#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::Time;

/// Slots of a short span: a tenth of it is waited for at most beyond what would be exact.
const BURST_SLOTS: u32 = 10;
/// Slots of a day.
const DAY_SLOTS: u32 = 24;
const DAY: Duration = Duration::from_secs(86_400);
/// How long a CRM's word of a rolling day is believed: it frees up by itself, and who makes no call hears of it no more.
const TOLD_FOR: Duration = Duration::from_secs(3_600);
/// The share of a day's calls that less urgent lanes leave to others, in percent, where nothing is configured.
pub const RESERVE: u8 = 20;

/// How urgent work is. Better lanes go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Somebody asked for it and waits.
    Action,
    /// A webhook.
    #[default]
    Fresh,
    /// A person sent it through again.
    Replay,
    /// A vendor's list had what no push told of.
    CatchUp,
}

impl Lane {
    /// Every lane, best first; the place in this list is the number in the ledger.
    pub const ALL: [Self; 4] = [Self::Action, Self::Fresh, Self::Replay, Self::CatchUp];

    /// The word shown to people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Fresh => "fresh",
            Self::Replay => "replay",
            Self::CatchUp => "catch_up",
        }
    }

    /// The number in the ledger.
    pub const fn number(self) -> i64 {
        self as i64
    }

    /// Reads the number back.
    pub fn from_number(number: i64) -> Option<Self> {
        usize::try_from(number).ok().and_then(|place| Self::ALL.get(place).copied())
    }

    /// Whether it leaves the reserve of a day's budget to others.
    pub const fn spares(self) -> bool {
        match self {
            Self::Action | Self::Fresh => false,
            Self::Replay | Self::CatchUp => true,
        }
    }

    /// After how many claims in which others were looked at first it is this lane's turn; 0: it is first whenever it is nobody's turn.
    const fn turn_after(self) -> u32 {
        match self {
            Self::Action => 0,
            Self::Fresh => 9,
            Self::Replay | Self::CatchUp => 19,
        }
    }
}

/// Claims since each lane was last looked at first. Strict priority would let a flood of one lane starve those behind it for as long as it lasts: so each
/// tenth claim begins with fresh events, whatever actions there are, and each twentieth with replays, another one with what was caught up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Turns([u32; 4]);

impl Turns {
    /// In which order the next claim looks at the lanes.
    pub fn order(&self) -> [Lane; 4] {
        let waited = |lane: Lane| self.0.get(lane as usize).copied().unwrap_or_default();
        // The least urgent first: it is its turn the most rarely.
        let owed = Lane::ALL.into_iter().rev().find(|lane| lane.turn_after() > 0 && waited(*lane) >= lane.turn_after());
        let mut order = Lane::ALL;
        if let Some(first) = owed {
            // Those before it move back by one.
            order[..=first as usize].rotate_right(1);
        }
        order
    }

    /// A claim was made in [`Turns::order`].
    pub fn took(&mut self) {
        let [first, ..] = self.order();
        for lane in Lane::ALL {
            if let Some(waited) = self.0.get_mut(lane as usize) {
                *waited = if lane == first { 0 } else { waited.saturating_add(1).min(1_000) };
            }
        }
    }
}

/// What a day is, to whoever counts calls in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Day {
    /// The last 24 hours at any moment.
    #[default]
    Rolling,
    /// From midnight to midnight there.
    In(TimeZone),
}

impl Day {
    /// `rolling`, or a zone of the IANA database: `UTC`, `Europe/Berlin`.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "rolling" { Some(Self::Rolling) } else { TimeZone::get(text).ok().map(Self::In) }
    }

    /// From when until when a call that is made now counts.
    fn slot(&self, now: Time) -> (Time, Time) {
        match self {
            Self::Rolling => rolling(now, DAY, DAY_SLOTS),
            Self::In(zone) => midnights(zone, now).unwrap_or_else(|| rolling(now, DAY, DAY_SLOTS)),
        }
    }

    /// Until when the CRM's word of its day is believed.
    fn told_until(&self, now: Time) -> Time {
        match self {
            Self::Rolling => now + TOLD_FOR,
            Self::In(_) => self.slot(now).1,
        }
    }
}

fn rolling(now: Time, span: Duration, slots: u32) -> (Time, Time) {
    let length = (span / slots).max(Duration::from_millis(1));
    let micros = i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
    let from = Time(now.0.div_euclid(micros) * micros);
    (from, from + length + span)
}

/// The midnights before and after a moment; `None` beyond the calendar.
fn midnights(zone: &TimeZone, now: Time) -> Option<(Time, Time)> {
    let at = jiff::Timestamp::from_microsecond(now.0).ok()?.to_zoned(zone.clone());
    let (begin, end) = (at.start_of_day().ok()?, at.tomorrow().ok()?.start_of_day().ok()?);
    Some((Time(begin.timestamp().as_microsecond()), Time(end.timestamp().as_microsecond())))
}

/// Which of a destination's budgets is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// The short one: seconds.
    Burst,
    /// The day's.
    Day,
}

impl Window {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Burst, Self::Day];

    /// The word used in metrics and pages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Burst => "burst",
            Self::Day => "day",
        }
    }
}

/// A CRM's own count of one of its windows, as an answer told it. It counts everybody who uses the account or app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Which window.
    pub window: Window,
    /// Calls used in it.
    pub used: u64,
    /// Calls allowed in it.
    pub limit: u64,
    /// How long a short window is; of a day the configuration knows when it ends.
    pub span: Option<Duration>,
}

impl Usage {
    /// Of the day's calls.
    pub const fn day(used: u64, limit: u64) -> Self {
        Self { window: Window::Day, used, limit, span: None }
    }

    /// Of a short window's calls.
    pub const fn burst(used: u64, limit: u64, span: Duration) -> Self {
        Self { window: Window::Burst, used, limit, span: Some(span) }
    }
}

/// The longest short window of a CRM that is believed.
const BURST_MAX: Duration = Duration::from_secs(3_600);

/// What a CRM told last, and the calls that were taken since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    used: u64,
    limit: u64,
    at: Time,
    until: Time,
    since: u64,
}

impl Told {
    fn holds(&self, now: Time) -> bool {
        lasts(self.at, self.until, now)
    }
}

/// Calls that count from a moment until another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Slot(Time, Time, u64);

/// Whether something that was set at one moment until another one still holds. Was it set further ahead of now than it was to last, then by a clock that has
/// since stepped back: it is over. A step back so costs what it would have cost once more, and never the length of the step.
pub(crate) fn lasts(set: Time, until: Time, now: Time) -> bool {
    until > now && set.since(now) <= until.since(set)
}

/// The calls of one budget.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counted {
    /// As the configuration had it last, for those who only look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    slots: Vec<Slot>,
    #[serde(skip_serializing_if = "Option::is_none")]
    told: Option<Told>,
}

impl Counted {
    fn used(&self, now: Time) -> u64 {
        self.slots.iter().filter(|slot| lasts(slot.0, slot.1, now)).map(|slot| slot.2).fold(0, u64::saturating_add)
    }

    fn told(&self, now: Time) -> Option<&Told> {
        self.told.as_ref().filter(|told| told.holds(now))
    }

    /// Calls that are left, of which `keep` percent of the limit are not ours; `None`: nothing bounds them. By whichever of the two counts leaves less.
    pub fn left(&self, now: Time, limit: Option<u64>, keep: u8) -> Option<u64> {
        self.tighter(now, limit, keep).map(|tighter| tighter.0)
    }

    /// What is left, of how many, and whether that is the CRM's word.
    fn tighter(&self, now: Time, limit: Option<u64>, keep: u8) -> Option<(u64, u64, bool)> {
        let own = limit.map(|limit| (limit.saturating_sub(self.used(now)).saturating_sub(kept(limit, keep)), limit, false));
        let told = self.told(now).map(|told| {
            let used = told.used.saturating_add(told.since).saturating_add(kept(told.limit, keep));
            (told.limit.saturating_sub(used), told.limit, true)
        });
        own.into_iter().chain(told).min_by_key(|(left, _, told)| (*left, *told))
    }

    /// When the next call may be made where none is left; now, if one may.
    pub fn frees_at(&self, now: Time, limit: Option<u64>, keep: u8) -> Time {
        let told = self.told(now).filter(|told| told.used.saturating_add(told.since).saturating_add(kept(told.limit, keep)) >= told.limit);
        let told = told.map_or(now, |told| told.until);
        let Some(limit) = limit else { return told };
        let most = limit.saturating_sub(kept(limit, keep));
        let mut counting: Vec<&Slot> = self.slots.iter().filter(|slot| lasts(slot.0, slot.1, now)).collect();
        counting.sort_by_key(|slot| slot.1);
        let mut used = self.used(now);
        let mut own = now;
        for slot in counting {
            if used < most {
                break;
            }
            used = used.saturating_sub(slot.2);
            own = slot.1;
        }
        own.max(told)
    }

    /// Counts calls in a slot; without one, only beside what the CRM counts. What no longer counts is forgotten.
    fn add(&mut self, now: Time, slot: Option<(Time, Time)>, calls: u64) {
        self.slots.retain(|slot| lasts(slot.0, slot.1, now));
        if let Some((from, until)) = slot {
            match self.slots.iter_mut().find(|slot| slot.0 == from && slot.1 == until) {
                Some(slot) => slot.2 = slot.2.saturating_add(calls),
                None => self.slots.push(Slot(from, until, calls)),
            }
        }
        self.told = self.told.take().filter(|told| told.holds(now));
        if let Some(told) = &mut self.told {
            told.since = told.since.saturating_add(calls);
        }
    }

    /// A call that was counted and then not made.
    fn take_back(&mut self) {
        if let Some(last) = self.slots.iter_mut().rev().find(|slot| slot.2 > 0) {
            last.2 -= 1;
        }
        if let Some(told) = &mut self.told {
            told.since = told.since.saturating_sub(1);
        }
    }

    fn hear(&mut self, now: Time, until: Time, used: u64, limit: u64) {
        let left = |told: &Told| told.limit.saturating_sub(told.used).saturating_sub(told.since);
        let heard = Told { used: used.min(limit), limit, at: now, until, since: 0 };
        // Of several answers that came at once, the one that was given last tells the least.
        if self.told.as_ref().is_none_or(|held| held.at != now || left(held) > left(&heard)) {
            self.told = Some(heard);
        }
    }
}

fn kept(limit: u64, keep: u8) -> u64 {
    limit / 100 * u64::from(keep) + limit % 100 * u64::from(keep) / 100
}

/// What the configuration allows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Allowance<'a> {
    pub calls: u32,
    pub per: Duration,
    pub daily: Option<u64>,
    pub day: &'a Day,
    pub reserve: u8,
}

/// What is left of one of a destination's budgets, as shown to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Which budget.
    pub window: Window,
    /// Calls that are left.
    pub left: u64,
    /// Of so many.
    pub limit: u64,
    /// By the CRM's own count; else by ours.
    pub told: bool,
    /// How many of the last calls replays and catching up leave to others.
    pub reserve: u64,
    /// When the next call may be made, where none is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

/// The budgets of a destination; shared by every worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Quota {
    burst: Counted,
    day: Counted,
    /// As configured last, for those who only look.
    reserve: u8,
    /// Whose turn it is.
    pub turns: Turns,
}

impl Quota {
    /// Calls that may be made now; `Err`: none before then.
    pub(crate) fn permitted(&self, allowed: &Allowance<'_>, now: Time) -> Result<u64, Time> {
        let burst = (&self.burst, Some(u64::from(allowed.calls.max(1))));
        let day = (&self.day, allowed.daily);
        let mut most = u64::MAX;
        let mut until = None;
        for (counted, limit) in [burst, day] {
            match counted.left(now, limit, 0) {
                Some(0) => until = until.max(Some(counted.frees_at(now, limit, 0))),
                Some(left) => most = most.min(left),
                None => {}
            }
        }
        until.map_or(Ok(most), Err)
    }

    /// Of the day's calls, those that replays and catching up may take; `Err`: none before then.
    pub(crate) fn spare(&self, allowed: &Allowance<'_>, now: Time) -> Result<u64, Time> {
        match self.day.left(now, allowed.daily, allowed.reserve) {
            Some(0) => Err(self.day.frees_at(now, allowed.daily, allowed.reserve)),
            Some(left) => Ok(left),
            None => Ok(u64::MAX),
        }
    }

    /// Counts calls that are about to be made, or that were made beyond those.
    pub(crate) fn take(&mut self, allowed: &Allowance<'_>, now: Time, calls: u32) {
        let calls = u64::from(calls);
        self.burst.add(now, Some(rolling(now, allowed.per, BURST_SLOTS)), calls);
        self.day.add(now, allowed.daily.map(|_| allowed.day.slot(now)), calls);
    }

    /// A call that was counted was not made after all.
    pub(crate) fn take_back(&mut self) {
        self.burst.take_back();
        self.day.take_back();
    }

    /// Learns what the CRM counts.
    pub(crate) fn hear(&mut self, allowed: &Allowance<'_>, now: Time, usage: &[Usage]) {
        for Usage { window, used, limit, span } in usage.iter().copied().filter(|usage| usage.limit > 0) {
            match window {
                Window::Burst => {
                    let span = span.unwrap_or(allowed.per).min(BURST_MAX);
                    self.burst.hear(now, now + span, used, limit);
                }
                Window::Day => self.day.hear(now, allowed.day.told_until(now), used, limit),
            }
        }
    }

    /// Forgets what the CRM told: somebody knows better. What was configured still holds.
    pub(crate) fn disbelieve(&mut self) {
        (self.burst.told, self.day.told) = (None, None);
    }

    /// Remembers what the configuration allows.
    pub(crate) fn configured(&mut self, allowed: &Allowance<'_>) {
        self.burst.limit = Some(u64::from(allowed.calls.max(1)));
        self.day.limit = allowed.daily;
        self.reserve = allowed.reserve;
    }

    /// Until when the day's calls are used up, by what was configured last.
    pub fn day_spent_until(&self, now: Time) -> Option<Time> {
        (self.day.left(now, self.day.limit, 0) == Some(0)).then(|| self.day.frees_at(now, self.day.limit, 0))
    }

    /// Until when replays and catching up leave what is left of the day's calls to others, by what was configured last.
    pub fn spared_until(&self, now: Time) -> Option<Time> {
        let spared = self.day.left(now, self.day.limit, self.reserve) == Some(0);
        spared.then(|| self.day.frees_at(now, self.day.limit, self.reserve))
    }

    /// What is left of each budget that is known, by what was configured last.
    pub fn left(&self, now: Time) -> Vec<Left> {
        let known = [(Window::Burst, &self.burst, 0), (Window::Day, &self.day, self.reserve)];
        let left = known.into_iter().filter_map(|(window, counted, reserve)| {
            let (left, limit, told) = counted.tighter(now, counted.limit, 0)?;
            let until = (left == 0).then(|| counted.frees_at(now, counted.limit, 0));
            Some(Left { window, left, limit, told, reserve: kept(limit, reserve), until })
        });
        left.collect()
    }
}
