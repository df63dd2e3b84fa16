//! Sends what a script says, over so many connections, as fast as it is taken or at a fixed rate.
//!
//! It shares the machine with what it measures, so it is lean: requests are composed and signed ahead, written whole, and of an
//! answer only status and length are read. One thread does all of it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::LocalSet;

use super::script::Script;
use super::voice::Voice;
use crate::clock;
use crate::command::Refused;

/// Requests that are composed at once; a burst of so many is composed before its clock begins.
const CHUNK: usize = 25_000;
/// At a fixed rate, a chunk lasts at most this long: a signature is good for five minutes.
const CHUNK_SECONDS: u32 = 60;
/// How long a vendor keeps sending one webhook again.
const RESEND_FOR: Duration = Duration::from_secs(90);
/// From the first byte sent to the last received.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The longest wait before it is sent again.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Refusals for good, with nothing taken, after which nothing more is sent.
const REFUSALS_MAX: u32 = 100;

/// What to send.
pub struct Load {
    pub script: Arc<Script>,
    pub voices: Arc<Vec<Voice>>,
    pub connections: usize,
    /// Webhooks a second; as fast as they are taken if there is none.
    pub rate: Option<u32>,
    /// Counts what is through.
    pub done: Arc<AtomicU64>,
    /// Ends it early.
    pub stop: Arc<AtomicBool>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Sent {
    /// By event: whether at least one copy was answered with 2xx.
    pub accepted: Vec<bool>,
    /// From the moment it was due to the answer's last byte, in microseconds, sorted; one for each webhook that was taken.
    pub latencies: Vec<u64>,
    /// Webhooks that were sent again after an answer that asks for it, or none.
    pub resent: u64,
    /// Webhooks that were refused for good, by status; 0 for those that nobody took in time.
    pub refused: BTreeMap<u16, u32>,
    /// From the first byte sent to the last answer.
    pub took: Duration,
}

/// Requests, one behind the other.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// Where each ends, and its event.
    ends: Vec<(usize, u32)>,
}

/// Sends everything; blocks its thread until it is through.
///
/// # Errors
///
/// The requests cannot be signed, or the system gives no threads.
pub fn run(load: Load) -> Result<Sent, Refused> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Refused::because(format!("the load cannot be sent: {error}")))?;
    let (chunks, composed) = mpsc::channel(1);
    let (script, voices, rate) = (Arc::clone(&load.script), Arc::clone(&load.voices), load.rate);
    let composing = std::thread::spawn(move || compose(&script, &voices, rate, &chunks));
    let sent = LocalSet::new().block_on(&runtime, send(load, composed));
    match composing.join() {
        Ok(Ok(())) => Ok(sent),
        Ok(Err(refused)) => Err(refused),
        Err(_) => Err(Refused::because("the webhooks could not be composed because of a bug")),
    }
}

/// Composes chunk after chunk, each while the one before is sent.
fn compose(script: &Script, voices: &[Voice], rate: Option<u32>, chunks: &mpsc::Sender<Chunk>) -> Result<(), Refused> {
    let size = rate.map_or(CHUNK, |rate| CHUNK.min(rate.saturating_mul(CHUNK_SECONDS) as usize)).max(1);
    for events in script.sends.chunks(size) {
        let now = clock::now();
        let mut chunk = Chunk { bytes: Vec::with_capacity(events.len() * 2_048), ends: Vec::with_capacity(events.len()) };
        for event in events {
            let facts = script.facts(*event);
            if let Some(voice) = voices.get(facts.source) {
                voice.write(&facts, now, &mut chunk.bytes)?;
                chunk.ends.push((chunk.bytes.len(), *event));
            }
        }
        if chunks.blocking_send(chunk).is_err() {
            break;
        }
    }
    Ok(())
}

/// What the connections share.
struct Room {
    address: String,
    chunks: Mutex<mpsc::Receiver<Chunk>>,
    chunk: RefCell<Rc<Chunk>>,
    next: Cell<usize>,
    /// Webhooks that were handed out.
    taken: Cell<u32>,
    begun: Instant,
    pace: Option<(u32, Arc<Semaphore>)>,
    sent: RefCell<Sent>,
    done: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

/// One webhook to be sent.
struct Due {
    chunk: Rc<Chunk>,
    place: usize,
    at: Instant,
}

impl Due {
    fn event(&self) -> u32 {
        self.chunk.ends.get(self.place).map_or(0, |(_, event)| *event)
    }

    fn bytes(&self) -> &[u8] {
        let begin = self.place.checked_sub(1).and_then(|before| self.chunk.ends.get(before)).map_or(0, |(end, _)| *end);
        let end = self.chunk.ends.get(self.place).map_or(begin, |(end, _)| *end);
        self.chunk.bytes.get(begin..end).unwrap_or_default()
    }
}

async fn send(load: Load, mut composed: mpsc::Receiver<Chunk>) -> Sent {
    let first = composed.recv().await.unwrap_or_default();
    let total = load.script.sends.len();
    let connections = load.connections.clamp(1, total.max(1));
    let begun = Instant::now();
    let pace = load.rate.map(|rate| (rate.max(1), Arc::new(Semaphore::new(0))));
    let metronome = pace.clone().map(|(rate, ticks)| {
        let stop = Arc::clone(&load.stop);
        std::thread::spawn(move || {
            tick(begun, rate, total, &ticks, &stop);
            // Each connection finds that there is nothing more.
            ticks.add_permits(connections);
        })
    });
    let room = Rc::new(Room {
        address: load.voices.first().map(Voice::address).unwrap_or_default(),
        chunks: Mutex::new(composed),
        chunk: RefCell::new(Rc::new(first)),
        next: Cell::new(0),
        taken: Cell::new(0),
        begun,
        pace,
        sent: RefCell::new(Sent { accepted: vec![false; load.script.events as usize], ..Sent::default() }),
        done: load.done,
        stop: load.stop,
    });
    let mut conversations = tokio::task::JoinSet::new();
    for _ in 0..connections {
        conversations.spawn_local(Rc::clone(&room).converse());
    }
    while conversations.join_next().await.is_some() {}
    // Should the composer still be at it, it must not wait for a reader.
    room.chunks.lock().await.close();
    if let Some(metronome) = metronome {
        let _ = metronome.join();
    }
    let mut sent = room.sent.take();
    sent.took = room.begun.elapsed();
    sent.latencies.sort_unstable();
    sent
}

/// Lets one webhook go after the other, each at its time. A thread of its own sleeps more finely than the runtime's timer.
fn tick(begun: Instant, rate: u32, total: usize, ticks: &Semaphore, stop: &AtomicBool) {
    for place in 0..total {
        let due = due(begun, place, rate);
        let left = due.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            std::thread::sleep(left);
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        ticks.add_permits(1);
    }
}

fn due(begun: Instant, place: usize, rate: u32) -> Instant {
    #[expect(clippy::cast_precision_loss, reason = "at most a million")]
    let seconds = place as f64 / f64::from(rate);
    begun + Duration::from_secs_f64(seconds)
}

impl Room {
    /// The next webhook, once it is due.
    async fn next(&self) -> Option<Due> {
        if let Some((_, ticks)) = &self.pace {
            ticks.acquire().await.ok()?.forget();
        }
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            let chunk = Rc::clone(&self.chunk.borrow());
            let place = self.next.get();
            if place < chunk.ends.len() {
                self.next.set(place + 1);
                let number = self.taken.replace(self.taken.get() + 1);
                let at = self.pace.as_ref().map_or_else(Instant::now, |(rate, _)| due(self.begun, number as usize, *rate));
                return Some(Due { chunk, place, at });
            }
            let mut chunks = self.chunks.lock().await;
            // Another connection may have fetched it meanwhile.
            if self.next.get() < self.chunk.borrow().ends.len() {
                continue;
            }
            let fetched = chunks.recv().await?;
            *self.chunk.borrow_mut() = Rc::new(fetched);
            self.next.set(0);
        }
    }

    /// One connection: request, answer, request, answer.
    async fn converse(self: Rc<Self>) {
        let mut stream = None;
        let mut answer = Vec::with_capacity(4_096);
        while let Some(due) = self.next().await {
            self.deliver(&due, &mut stream, &mut answer).await;
            self.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sends one webhook until it is taken, refused, or old.
    async fn deliver(&self, due: &Due, stream: &mut Option<TcpStream>, answer: &mut Vec<u8>) {
        let mut wait = Duration::from_millis(50);
        let mut last = 0;
        loop {
            let retry_after = match self.exchange(due.bytes(), stream, answer).await {
                Some(head) if (200..300).contains(&head.status) => return self.taken_in(due),
                Some(head) => {
                    last = head.status;
                    if !matches!(head.status, 408 | 429 | 500 | 502 | 503 | 504) {
                        return self.refused(head.status);
                    }
                    head.retry_after
                }
                None => None,
            };
            if due.at.elapsed() > RESEND_FOR || self.stop.load(Ordering::Relaxed) {
                return self.refused(last);
            }
            self.sent.borrow_mut().resent += 1;
            tokio::time::sleep(retry_after.unwrap_or(wait).min(WAIT_MAX)).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    fn taken_in(&self, due: &Due) {
        let mut sent = self.sent.borrow_mut();
        sent.latencies.push(u64::try_from(due.at.elapsed().as_micros()).unwrap_or(u64::MAX));
        if let Some(accepted) = sent.accepted.get_mut(due.event() as usize) {
            *accepted = true;
        }
    }

    fn refused(&self, status: u16) {
        let mut sent = self.sent.borrow_mut();
        *sent.refused.entry(status).or_default() += 1;
        if sent.latencies.is_empty() && sent.refused.values().sum::<u32>() >= REFUSALS_MAX {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    /// One request and the head of its answer; `None` if there was none.
    async fn exchange(&self, request: &[u8], held: &mut Option<TcpStream>, answer: &mut Vec<u8>) -> Option<Head> {
        let exchanging = async {
            let mut stream = match held.take() {
                Some(stream) => stream,
                None => {
                    let stream = TcpStream::connect(&self.address).await.ok()?;
                    stream.set_nodelay(true).ok()?;
                    stream
                }
            };
            stream.write_all(request).await.ok()?;
            answer.clear();
            loop {
                if stream.read_buf(answer).await.ok()? == 0 || answer.len() > ANSWER_BYTES_MAX {
                    return None;
                }
                if let Some(head) = Head::read(answer) {
                    if answer.len() < head.length {
                        continue;
                    }
                    if !head.close {
                        *held = Some(stream);
                    }
                    return Some(head);
                }
            }
        };
        tokio::time::timeout(TIMEOUT, exchanging).await.ok().flatten()
    }
}

/// What is read of an answer.
struct Head {
    status: u16,
    /// Of head and body together.
    length: usize,
    close: bool,
    retry_after: Option<Duration>,
}

impl Head {
    /// Reads a head once it is all there. An answer without a length ends with its connection, and is taken to end here.
    fn read(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let text = std::str::from_utf8(bytes.get(..end)?).ok()?;
        let mut lines = text.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let mut head = Self { status, length: end, close: false, retry_after: None };
        let mut framed = matches!(status, 204 | 304);
        for line in lines {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                head.length = end.saturating_add(value.parse().ok()?);
                framed = true;
            } else if name.eq_ignore_ascii_case("connection") {
                head.close = value.eq_ignore_ascii_case("close");
            } else if name.eq_ignore_ascii_case("retry-after") {
                head.retry_after = value.parse().ok().map(Duration::from_secs);
            }
        }
        head.close |= !framed;
        Some(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answers_head_is_read_once_it_is_all_there() {
        let whole = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 2\r\nconnection: close\r\n\r\n{}";
        for cut in 0..whole.len() - 2 {
            assert!(Head::read(&whole[..cut]).is_none(), "{cut}");
        }
        let head = Head::read(whole).unwrap();
        assert_eq!((head.status, head.length, head.close), (503, whole.len(), true));
        assert_eq!(head.retry_after, Some(Duration::from_secs(1)));
        assert!(Head::read(b"HTTP/1.1 200 OK\r\n\r\n").unwrap().close, "nothing says where it ends");
        assert!(Head::read(b"nonsense\r\n\r\n").is_none());
    }
}
