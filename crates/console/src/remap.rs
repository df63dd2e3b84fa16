//! An event made again: the stored request, read with today's mapping and routes.

use store::{DeadLetterRow, Reopen};

use crate::App;
use crate::problem::Refusal;
use crate::replays::Mapping;

/// What is to be opened again for a dead letter.
pub(crate) async fn reopen(_app: &App, row: &DeadLetterRow, _mapping: Mapping, _edited: Option<Vec<u8>>) -> Result<Reopen, Refusal> {
    Ok(Reopen { delivery: row.id, event: None, edited: None })
}
