//! One request and its answer.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Version};
use model::signature::Rejection;
use model::source::Answer;
use model::{RawEventId, Received};
use serde::Serialize;
use store::{AnsweredEvent, Disposition};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::admit::{Admitted, Refused};
use crate::chance::Nonces;
use crate::commit::{Committer, NotCommitted, NotTaken};
use crate::drift::{Seen, Watcher};
use crate::gone::Gone;
use crate::gzip::{self, Coding};
use crate::handshake::{self, Met};
use crate::ready::Readiness;
use crate::rejected::Keeper;
use crate::{Door, Gate, Problem, address, body};

/// Everything that the connections of one listener share.
pub(crate) struct Room {
    pub(crate) door: Arc<Door>,
    committer: Committer,
    keeper: Keeper,
    watcher: Watcher,
    gone: Gone,
    readiness: Readiness,
    /// Told to stop: each connection ends with its next answer.
    leaving: AtomicBool,
    nonces: Nonces,
    in_flight: Arc<Semaphore>,
    held: Arc<Semaphore>,
}

impl Room {
    pub(crate) fn new(door: Arc<Door>, committer: Committer, keeper: Keeper, watcher: Watcher) -> Self {
        let permits = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        let (in_flight, held) = (permits(door.limits.in_flight), permits(door.limits.held_bytes / 1024));
        let (gone, readiness, nonces) = (Gone::default(), Readiness::default(), Nonces::default());
        Self { door, committer, keeper, watcher, gone, readiness, leaving: AtomicBool::new(false), nonces, in_flight, held }
    }

    /// From now on whoever asks is told that another process is to be preferred.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }
}

/// The answer to one request, whatever happens.
pub(crate) async fn answer(room: Arc<Room>, peer: IpAddr, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let chunked = request.headers().contains_key(TRANSFER_ENCODING);
    let mut answering = pin!(route(&room, peer, request));
    let answered = std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(response)) => Poll::Ready(Some(response)),
        Err(_panic) => Poll::Ready(None),
    })
    .await;
    let mut response = answered.unwrap_or_else(|| {
        tracing::error!("a request was not answered because of a bug");
        count("unknown", Problem::Internal.result());
        Problem::Internal.response()
    });
    // The framing is not followed into chunks (see `framing`), so nothing may come after them.
    if chunked || room.leaving.load(Ordering::Relaxed) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn route(room: &Room, peer: IpAddr, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, mut body) = request.into_parts();
    if head.version != Version::HTTP_11 || head.headers.get_all(HOST).iter().count() != 1 {
        count("unknown", Problem::Malformed.result());
        return Problem::Malformed.response();
    }
    let reads = head.method == Method::GET || head.method == Method::HEAD;
    let answered = match head.uri.path() {
        "/healthz" if reads => return json(StatusCode::OK, &Life { status: "ok" }),
        "/readyz" if reads => return ready(room).await,
        path => match path.strip_prefix("/webhooks/") {
            Some(name) => webhook(room, peer, name, &head, &mut body).await,
            None => Err(("unknown", Problem::NotFound)),
        },
    };
    answered.unwrap_or_else(|(source, problem)| {
        count(source, problem.result());
        problem.response()
    })
}

/// What a webhook is answered, or under which source's name it counts as what problem.
async fn webhook<'a>(
    room: &'a Room,
    peer: IpAddr,
    name: &str,
    head: &Parts,
    body: &mut Incoming,
) -> Result<Response<Full<Bytes>>, (&'a str, Problem)> {
    let started = Instant::now();
    let Ok(_in_flight) = room.in_flight.try_acquire() else { return Err(("unknown", Problem::Busy)) };
    let Some((source, gate)) = room.door.gates.get_key_value(name) else {
        let problem = room.gone.problem(name, &room.door.store).await;
        return Err(refuse_early("unknown", problem, head, body).await);
    };
    let coding = gzip::coding(&head.headers);
    let early = if gate.source.retired {
        Some(Problem::SourceGone)
    } else if !takes_method(gate, &head.method) {
        Some(Problem::WrongMethod)
    } else if !takes(gate, coding) {
        Some(Problem::Encoded)
    } else {
        None
    };
    if let Some(problem) = early {
        return Err(refuse_early(source, problem, head, body).await);
    }
    let response = match body::read(body, gate.source.body_max, &room.door.limits, &room.held).await {
        Ok((bytes, held)) => match plain(room, gate, coding, bytes, held).await {
            Ok((bytes, held)) => take(room, gate, peer, head, &bytes, held).await.map_err(|problem| (source.as_str(), problem)),
            Err(problem) => Err((source.as_str(), problem)),
        },
        Err(problem @ (Problem::TooLarge | Problem::Busy)) => Err(refuse_early(source, problem, head, body).await),
        Err(problem) => Err((source.as_str(), problem)),
    };
    metrics::histogram!("onceward_ingest_duration_seconds").record(started.elapsed());
    response
}

/// Webhooks are posted; some vendors try the address with something else first.
fn takes_method(gate: &Gate, method: &Method) -> bool {
    method == Method::POST || gate.source.handshake.as_ref().is_some_and(|handshake| handshake.takes(method.as_str()))
}

fn takes(gate: &Gate, coding: Coding) -> bool {
    match coding {
        Coding::Plain => true,
        Coding::Gzip => gate.source.gzip,
        Coding::Other => false,
    }
}

/// The body as it was before it was compressed: that is what vendors sign, and what is read and kept.
async fn plain(
    room: &Room,
    gate: &Gate,
    coding: Coding,
    body: Bytes,
    mut held: OwnedSemaphorePermit,
) -> Result<(Bytes, OwnedSemaphorePermit), Problem> {
    if coding == Coding::Plain {
        return Ok((body, held));
    }
    let (bytes_max, budget) = (gate.source.body_max, room.held.clone());
    let unpacking = tokio::task::spawn_blocking(move || {
        let grow = |size: usize| body::hold(&budget, &mut held, size);
        gzip::unpack(&body, bytes_max, grow).map(|body| (body, held))
    });
    unpacking.await.map_err(|panic| {
        tracing::error!(%panic, "a compressed body was not read because of a bug");
        Problem::Internal
    })?
}

/// Before a refusal that does not depend on the body: lets the rest of it arrive, so that the sender gets to read the answer. One
/// that asked for leave (`Expect`) has not sent it and reads the refusal at once.
async fn refuse_early<'a>(source: &'a str, problem: Problem, head: &Parts, body: &mut Incoming) -> (&'a str, Problem) {
    if !head.headers.contains_key(EXPECT) {
        body::drain(body).await;
    }
    (source, problem)
}

/// From the exact bytes to the answer.
async fn take(
    room: &Room,
    gate: &Gate,
    peer: IpAddr,
    head: &Parts,
    body: &Bytes,
    held: OwnedSemaphorePermit,
) -> Result<Response<Full<Bytes>>, Problem> {
    let door = &room.door;
    let headers = owned(&head.headers);
    let target = head.uri.path_and_query().map_or("", |target| target.as_str());
    let request = Received { method: head.method.as_str(), target, headers: &headers, body };
    let now = (door.now)();
    let nonce = room.nonces.next().map_err(|error| {
        tracing::error!(%error, "nothing can be sealed without random bytes");
        Problem::Internal
    })?;
    let refuse = |rejection: Rejection, held| {
        tracing::debug!(source = gate.source.name, reason = rejection.as_str(), "refused");
        if room.keeper.has_room(&gate.source.name) {
            match door.keepsake(gate, &request, rejection, now, nonce) {
                Ok(rejected) => room.keeper.keep(rejected, held),
                Err(error) => tracing::warn!(source = gate.source.name, %error, "a refused request was not kept"),
            }
        }
        Err(Problem::Unauthentic)
    };
    if !address::sender(peer, &head.headers, &door.proxies).is_some_and(|sender| gate.verifier.allows(sender)) {
        return refuse(Rejection::AddressNotAllowed, held);
    }
    match handshake::meet(door, gate, &request, now).await {
        Met::Ordinary if head.method != Method::POST => return Err(Problem::WrongMethod),
        Met::Ordinary => {}
        Met::Answered(response) => {
            count(&gate.source.name, "handshake");
            return Ok(response);
        }
        Met::Refused(rejection) => return refuse(rejection, held),
        Met::NotNow => return Err(Problem::Unavailable),
    }
    let Admitted { intake, raw } = match door.admit(gate, &request, now, nonce) {
        Ok(admitted) => admitted,
        Err(Refused::Unauthentic(rejection)) => return refuse(rejection, held),
        Err(Refused::Sealing(error)) => {
            tracing::error!(source = gate.source.name, %error, "a genuine request could not be sealed");
            return Err(Problem::Internal);
        }
    };
    let correlation_id = tracing::enabled!(tracing::Level::DEBUG).then(|| intake.raw.correlation_id.clone());
    let watched = room.watcher.wants(&gate.source.name, body, &intake.events);
    // Nothing is awaited between the body's last byte and this: a client that leaves now has been heard.
    let answered = room.committer.submit(intake, Some(held)).map_err(|not_taken| match not_taken {
        NotTaken::Full => Problem::Busy,
        NotTaken::Away => Problem::Unavailable,
    })?;
    let events = match timeout(door.limits.commit, answered).await {
        Ok(Ok(Ok(events))) => events,
        Ok(Ok(Err(NotCommitted::Unavailable)) | Err(_)) | Err(_) => return Err(Problem::Unavailable),
        Ok(Ok(Err(NotCommitted::Refused))) => return Err(Problem::Internal),
    };
    if let Some(types) = watched {
        room.watcher.look(Seen { source: Arc::clone(&gate.source), types, target: target.to_owned(), headers, body: body.clone() });
    }
    count(&gate.source.name, result(&events));
    if let Some(correlation_id) = correlation_id {
        log(door, &gate.source.name, &correlation_id, &events);
    }
    Ok(match &gate.source.answer {
        Some(wanted) => wanted_answer(wanted),
        None => json(StatusCode::OK, &Taken { raw_event: raw, events: &events }),
    })
}

/// The answer that a vendor wants instead of ours.
fn wanted_answer(wanted: &Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(wanted.body.clone())));
    *response.status_mut() = StatusCode::from_u16(wanted.status).unwrap_or(StatusCode::OK);
    if let Some(kind) = wanted.content_type.as_deref().and_then(|kind| HeaderValue::from_str(kind).ok()) {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    response
}

fn owned(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    // What is kept is the body without its coding, so that is not said of it.
    let headers = headers.iter().filter(|(name, _)| **name != CONTENT_ENCODING);
    headers.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
}

/// One word for a request that may hold several events: the one that says most about what follows.
fn result(events: &[AnsweredEvent]) -> &'static str {
    let any = |status| events.iter().any(|event| event.status == status);
    if any(Disposition::Accepted) {
        "accepted"
    } else if any(Disposition::DeadLetter) {
        "dead_letter"
    } else if any(Disposition::Duplicate) {
        "duplicate"
    } else if any(Disposition::Ignored) {
        "ignored"
    } else {
        "empty"
    }
}

fn log(door: &Door, source: &str, correlation_id: &str, events: &[AnsweredEvent]) {
    for event in events {
        let idempotency_key = model::intake::loggable_key(&event.idempotency_key, &door.hash_key);
        let status = match event.status {
            Disposition::Accepted => "accepted",
            Disposition::Duplicate => "duplicate",
            Disposition::Ignored => "ignored",
            Disposition::DeadLetter => "dead_letter",
        };
        tracing::debug!(source, correlation_id, %idempotency_key, status, event = %event.id, "taken in");
    }
}

/// Counts a request. `source` is a configured source's name or `unknown`: a stranger's word never becomes a label.
pub(crate) fn count(source: &str, result: &'static str) {
    metrics::counter!("onceward_ingest_requests_total", "source" => source.to_owned(), "result" => result).increment(1);
}

#[derive(Serialize)]
struct Taken<'a> {
    raw_event: RawEventId,
    events: &'a [AnsweredEvent],
}

#[derive(Serialize)]
struct Life {
    status: &'static str,
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    reasons: Vec<String>,
}

async fn ready(room: &Room) -> Response<Full<Bytes>> {
    let found = match room.leaving.load(Ordering::Relaxed) {
        true => Err("This process is stopping: send to another one.".to_owned()),
        false => room.readiness.get(&room.door.store).await,
    };
    match found {
        Ok(()) => json(StatusCode::OK, &Ready { ready: true, reasons: Vec::new() }),
        Err(reason) => json(StatusCode::SERVICE_UNAVAILABLE, &Ready { ready: false, reasons: vec![reason] }),
    }
}

fn json(status: StatusCode, answer: &impl Serialize) -> Response<Full<Bytes>> {
    let Ok(body) = serde_json::to_vec(answer) else { return Problem::Internal.response() };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
