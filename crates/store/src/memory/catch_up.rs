//! Runs of catching up.

use model::Time;

use super::Tx;
use crate::Error;
use crate::catch_up::{CatchUpRow, CatchUpState, KEPT_MAX, SCHEDULE};

impl Tx {
    pub(crate) fn insert_catch_up(&mut self, new: &CatchUpRow) -> Result<(), Error> {
        self.0.catch_ups.insert(new.id, new.clone());
        let of_source: Vec<_> = self.0.catch_ups.values().filter(|row| row.source == new.source).map(|row| row.id).collect();
        let old = of_source.iter().rev().skip(usize::try_from(KEPT_MAX).unwrap_or(usize::MAX));
        for id in old {
            if self.0.catch_ups.get(id).is_some_and(|row| row.state != CatchUpState::Open) {
                self.0.catch_ups.remove(id);
            }
        }
        Ok(())
    }

    pub(crate) fn open_catch_ups(&mut self, source: &str) -> Result<Vec<CatchUpRow>, Error> {
        let open = |row: &&CatchUpRow| row.source == source && row.state == CatchUpState::Open;
        Ok(self.0.catch_ups.values().filter(open).cloned().collect())
    }

    pub(crate) fn put_catch_up(&mut self, held: &CatchUpRow) -> Result<(), Error> {
        self.0.catch_ups.insert(held.id, held.clone());
        Ok(())
    }

    pub(crate) fn last_catch_up(&mut self, source: &str) -> Result<(Option<Time>, Option<Time>), Error> {
        let of_source = || self.0.catch_ups.values().filter(|row| row.source == source);
        let done = of_source().filter(|row| row.state == CatchUpState::Done && !row.dry_run).map(|row| row.until).max();
        Ok((done, of_source().filter(|row| row.actor == SCHEDULE).map(|row| row.at).max()))
    }

    pub(crate) fn count_correlated(&mut self, correlation: &str) -> Result<u64, Error> {
        Ok(self.0.events.values().filter(|event| event.correlation_id.as_deref() == Some(correlation)).count() as u64)
    }
}
