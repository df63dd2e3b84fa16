//! Open deliveries that have been on their way for long.

use model::{DeliveryId, Time};

use crate::Error;
use crate::columns::{Columns, get};
use crate::types::LongOpen;

/// One of them.
pub fn long_open(row: &impl Columns) -> Result<LongOpen, Error> {
    Ok(LongOpen {
        delivery: DeliveryId(get(row, "id")?),
        destination: get(row, "destination")?,
        object: get(row, "object")?,
        owner: get(row, "owner")?,
        source: get(row, "source")?,
        event_type: get(row, "event_type")?,
        received_at: Time(get(row, "received_at")?),
    })
}
