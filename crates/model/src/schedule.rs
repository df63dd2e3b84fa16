//! When to try again.

use std::time::Duration;

/// The wait before each attempt. Its length is the number of attempts; anyone can read off when the last one will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule(Vec<Duration>);

/// The most attempts that a schedule may have.
pub const ATTEMPTS_MAX: usize = 1_000;

impl Schedule {
    /// A schedule from the waits before attempts 1, 2, 3 …; between 1 and [`ATTEMPTS_MAX`] of them.
    pub fn new(waits: Vec<Duration>) -> Option<Self> {
        (1..=ATTEMPTS_MAX).contains(&waits.len()).then_some(Self(waits))
    }

    /// How many attempts there are.
    pub fn attempts(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// The wait before attempt `attempt`, the first being 1; the last wait repeats beyond the end.
    ///
    /// `chance` in 0..1 spreads waits over one second by up to a fifth, never shorter, so that records that failed
    /// together do not come back together.
    pub fn wait_before(&self, attempt: u32, chance: f64) -> Duration {
        let last = self.0.len().saturating_sub(1);
        let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(last).min(last);
        let wait = self.0.get(index).copied().unwrap_or_default();
        if wait > Duration::from_secs(1) { wait.mul_f64(1.0 + 0.2 * chance.clamp(0.0, 1.0)) } else { wait }
    }
}

impl Default for Schedule {
    /// DESIGN section 5: nothing before attempts 1–3, 1 s before 4–5, then 2, 4, 8 … 60 s up to 15, 60 s up to 50.
    fn default() -> Self {
        let seconds = (1..=50u32).map(|attempt| match attempt {
            1..=3 => 0,
            4..=5 => 1,
            6..=10 => 1 << (attempt - 5),
            _ => 60,
        });
        Self(seconds.map(Duration::from_secs).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_one_of_the_contract() {
        let waits: Vec<u64> = (1..=17).map(|attempt| Schedule::default().wait_before(attempt, 0.0).as_secs()).collect();
        assert_eq!(waits, [0, 0, 0, 1, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60, 60]);
        assert_eq!(Schedule::default().attempts(), 50);
        assert_eq!(Schedule::default().wait_before(51, 0.0).as_secs(), 60);
    }

    #[test]
    fn chance_lengthens_by_a_fifth_at_most_and_never_shortens() {
        let schedule = Schedule::default();
        for attempt in 1..60 {
            let plain = schedule.wait_before(attempt, 0.0);
            let spread = schedule.wait_before(attempt, 1.0);
            assert!(spread >= plain && spread <= plain.mul_f64(1.2), "attempt {attempt}");
        }
        assert_eq!(schedule.wait_before(4, 1.0), Duration::from_secs(1));
    }
}
