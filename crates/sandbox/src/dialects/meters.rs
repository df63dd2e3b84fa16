//! Budgets of calls: how many in which window, and what is left.

use std::collections::BTreeMap;
use std::time::Duration;

use model::Time;
use serde::{Deserialize, Serialize};

/// One budget that a request draws on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meter {
    /// `writes`: what tells the dialect's budgets apart.
    pub name: &'static str,
    /// What may be spent in a window.
    pub limit: u64,
    /// How long a window lasts; it begins with the first call after the last one.
    pub per: Duration,
    /// What this request spends.
    pub cost: u64,
}

impl Meter {
    /// A budget of calls.
    pub const fn calls(name: &'static str, limit: u64, per: Duration) -> Self {
        Self { name, limit, per, cost: 1 }
    }

    /// A budget for the day, of which a call spends one.
    pub const fn daily(limit: u64) -> Self {
        Self::calls("day", limit, Duration::from_secs(86_400))
    }
}

/// How a budget stands after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub name: &'static str,
    pub limit: u64,
    pub left: u64,
    /// How long until the whole of it is there again.
    pub resets: Duration,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Window {
    since: Time,
    spent: u64,
}

/// What has been spent, by dialect and budget.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Meters {
    windows: BTreeMap<String, Window>,
}

impl Meters {
    /// Spends what a call costs, on all of its budgets or on none; how they stand then, or which one is used up and for how long.
    pub fn spend(&mut self, dialect: &str, meters: &[Meter], now: Time) -> Result<Vec<Reading>, (&'static str, Duration)> {
        for meter in meters {
            let window = self.window(dialect, meter, now);
            if window.spent.saturating_add(meter.cost) > meter.limit {
                return Err((meter.name, (window.since + meter.per).since(now)));
            }
        }
        let spent = |meter: &Meter| {
            let window = self.window(dialect, meter, now);
            window.spent = window.spent.saturating_add(meter.cost);
            let (left, resets) = (meter.limit.saturating_sub(window.spent), (window.since + meter.per).since(now));
            Reading { name: meter.name, limit: meter.limit, left, resets }
        };
        Ok(meters.iter().map(spent).collect())
    }

    fn window(&mut self, dialect: &str, meter: &Meter, now: Time) -> &mut Window {
        let window = self.windows.entry(format!("{dialect}.{}", meter.name)).or_insert(Window { since: now, spent: 0 });
        if now.since(window.since) >= meter.per {
            *window = Window { since: now, spent: 0 };
        }
        window
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests say what went wrong by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_call_draws_on_all_of_its_budgets_or_on_none() {
        let mut meters = Meters::default();
        let (short, long) = (Meter::calls("second", 2, Duration::from_secs(1)), Meter::daily(3));
        let mut spend = |millis| meters.spend("x", &[short, long], Time::from_millis(millis)).map(|readings| readings[1].left);
        assert_eq!((spend(0), spend(400)), (Ok(2), Ok(1)));
        assert_eq!(spend(600), Err(("second", Duration::from_millis(400))), "and the day is not charged");
        assert_eq!(spend(1_000), Ok(0));
        assert_eq!(spend(1_001).unwrap_err().0, "day");
        assert_eq!(spend(86_400_000), Ok(2));
    }
}
