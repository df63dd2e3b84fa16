//! What a destination bears, agreed upon by everybody who draws from it.

use model::Time;
use model::destination::{Destination, Permit};

use super::settle::observe;
use super::{Call, Finished, Work, call_row};
use crate::Error;
use crate::tx::Tx;

/// Calls of the destination that are out.
pub(super) async fn in_flight(tx: &mut Tx, work: &Work<'_>, now: Time) -> Result<u32, Error> {
    // A lease that ends later than any taken now was taken by a clock that has since stepped back.
    tx.live_calls(work.destination, now, now + work.policy.lease()).await
}

/// Takes what the calls cost out of the destination's budget and writes their intents, now that nobody else can change it: the last and shortest step, so
/// that the workers of a destination hardly wait for each other. Gives the destination as it is then.
pub(super) async fn agree(
    tx: &mut Tx,
    work: &Work<'_>,
    (seen, mut destination): (&Destination, Destination),
    finished: &[Finished],
    (calls, spares): (&[Call], bool),
    now: Time,
) -> Result<Destination, Error> {
    let count = u32::try_from(calls.len()).unwrap_or(u32::MAX);
    let held = tx.hold_destination(work.destination).await?.unwrap_or_default();
    if held != *seen {
        destination = held;
        destination.configured(work.policy);
        observe(&mut destination, work.policy, now, finished);
        let permit =
            if calls.is_empty() { Permit::Calls(0) } else { destination.permit(work.policy, now, in_flight(tx, work, now).await?) };
        let spared = !spares || destination.spare(work.policy, now).is_ok_and(|spare| spare >= count);
        if !spared || !matches!(permit, Permit::Calls(permitted) if permitted >= count) {
            return Err(Error::Raced("another worker has taken what the destination bears".into()));
        }
    }
    if !calls.is_empty() {
        destination.take(work.policy, now, count);
        destination.quota.turns.took();
        tx.insert_calls(&calls.iter().map(|call| call_row(work, call)).collect::<Vec<_>>()).await?;
    }
    tx.put_destination(work.destination, &destination).await?;
    Ok(destination)
}
