//! Reads a body: exact bytes, within the source's limit, in time.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Duration, Instant, timeout_at};

use crate::{Limits, Problem};

/// How much of a body that nobody wants is taken in, so that its sender gets to read the answer instead of a reset.
const DRAINED_BYTES_MAX: usize = 1 << 20;
const DRAINED_FOR_MAX: Duration = Duration::from_secs(1);
/// What is reserved before a body has come: an announcement is not yet a body.
const RESERVED_BYTES_MAX: usize = 64 << 10;

/// Reads a whole body. What comes back with it is its share of `held`.
pub(crate) async fn read(
    body: &mut Incoming,
    bytes_max: usize,
    limits: &Limits,
    held: &Arc<Semaphore>,
) -> Result<(Bytes, OwnedSemaphorePermit), Problem> {
    let announced = body.size_hint().exact();
    if announced.is_some_and(|announced| announced > bytes_max as u64) {
        return Err(Problem::TooLarge);
    }
    let started = Instant::now();
    let mut share = held.clone().try_acquire_many_owned(0).map_err(|_| Problem::Busy)?;
    let mut first = Bytes::new();
    let mut whole = Vec::new();
    let mut received = 0;
    loop {
        let span = limits.body_grace + Duration::from_secs(received as u64) / limits.body_rate.max(1);
        let Ok(frame) = timeout_at(started + span.min(limits.body), body.frame()).await else {
            return Err(Problem::TooSlow);
        };
        let data = match frame {
            None => break,
            Some(Err(_)) => return Err(Problem::Malformed),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => data,
                Err(_trailers) => continue,
            },
        };
        received += data.len();
        if received > bytes_max {
            return Err(Problem::TooLarge);
        }
        hold(held, &mut share, received)?;
        if received == data.len() {
            first = data;
            continue;
        }
        if whole.is_empty() {
            let expected = announced.and_then(|announced| usize::try_from(announced).ok()).unwrap_or(received);
            whole.reserve(expected.min(RESERVED_BYTES_MAX).max(received));
            whole.extend_from_slice(&first);
        }
        whole.extend_from_slice(&data);
    }
    Ok((if whole.is_empty() { first } else { whole.into() }, share))
}

/// Makes a share of what may be held at once as large as this many bytes.
pub(crate) fn hold(held: &Arc<Semaphore>, share: &mut OwnedSemaphorePermit, bytes: usize) -> Result<(), Problem> {
    let missing = u32::try_from(bytes.div_ceil(1024).saturating_sub(share.num_permits())).map_err(|_| Problem::TooLarge)?;
    share.merge(held.clone().try_acquire_many_owned(missing).map_err(|_| Problem::Busy)?);
    Ok(())
}

/// Takes in the rest of a body that was refused, within bounds.
pub(crate) async fn drain(body: &mut Incoming) {
    let until = Instant::now() + DRAINED_FOR_MAX;
    let mut drained = 0;
    while drained < DRAINED_BYTES_MAX && !body.is_end_stream() {
        match timeout_at(until, body.frame()).await {
            Ok(Some(Ok(frame))) => drained += frame.data_ref().map_or(0, Bytes::len),
            Ok(Some(Err(_)) | None) | Err(_) => return,
        }
    }
}
