//! The sandbox behind a listener, where a cut connection is really cut.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use model::Time;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::core::{self as crm, Core, Options};
use crate::http::{Exchange, HttpReply, HttpRequest};
use crate::journal::{Journal, WrongJournal};
use crate::salesforce::Refusal;

/// The largest request body.
pub const MAX_BODY_BYTES: usize = 10 * 1024 * 1024;
/// Connections served at once; further ones wait in the listener's queue.
const MAX_CONNECTIONS: usize = 1_024;
/// How long a client may take to send a request's head, and its body.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long open exchanges may take to end when the sandbox stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// A sandbox that is listening. Dropping it stops it at once; [`Sandbox::stop`] lets open exchanges end.
#[derive(Debug)]
pub struct Sandbox {
    core: Arc<Mutex<Core>>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

/// The connection is to be cut. Never shown to anyone: hyper closes a connection whose service fails, without a byte of an answer.
#[derive(Debug, Error)]
#[error("cut on request")]
struct Cut;

struct Served<N> {
    core: Arc<Mutex<Core>>,
    journal: Option<Mutex<Journal>>,
    now: N,
}

impl Sandbox {
    /// Serves a new [`Core`] on a listener; `now` is the clock it goes by. Its records end with it.
    ///
    /// # Errors
    ///
    /// The listener has no address.
    pub fn serve<N>(listener: TcpListener, seed: u64, options: Options, now: N) -> io::Result<Self>
    where
        N: Fn() -> Time + Send + Sync + 'static,
    {
        Self::start(listener, Core::new(seed, options), None, now)
    }

    /// Serves what a journal holds, which it makes if there is none, and adds to it whatever changes before that is answered: it
    /// survives the end of the process, however it comes, though perhaps not a power cut. Late writes land at their time also after
    /// a restart; tokens, the log of calls (not its numbering) and faults set by request end with the process.
    ///
    /// While the journal cannot be written, every call is refused with 503 and a line in the log.
    ///
    /// # Errors
    ///
    /// The journal cannot be read or written, is in use or damaged; or the listener has no address.
    pub fn serve_with_journal<N>(listener: TcpListener, seed: u64, options: Options, path: &Path, now: N) -> Result<Self, WrongJournal>
    where
        N: Fn() -> Time + Send + Sync + 'static,
    {
        let mut core = Core::new(seed, options);
        let journal = Journal::open(path, &mut core)?;
        Self::start(listener, core, Some(journal), now).map_err(|error| WrongJournal::Unusable { path: path.into(), error })
    }

    fn start<N>(listener: TcpListener, core: Core, journal: Option<Journal>, now: N) -> io::Result<Self>
    where
        N: Fn() -> Time + Send + Sync + 'static,
    {
        let address = listener.local_addr()?;
        let core = Arc::new(Mutex::new(core));
        let (stop, stopped) = watch::channel(false);
        let served = Served { core: core.clone(), journal: journal.map(Mutex::new), now };
        let accepting = tokio::spawn(accept(listener, Arc::new(served), stopped));
        Ok(Self { core, address, stop, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The CRM itself, for tests that look without HTTP. Hold the lock briefly: every call waits for it.
    pub fn core(&self) -> Arc<Mutex<Core>> {
        self.core.clone()
    }

    /// Stops accepting, lets open exchanges end for up to three seconds, and closes what is left.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(STOP_TIMEOUT, &mut self.accepting).await.is_err() {
            self.accepting.abort();
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Ends when the sandbox is to stop.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|&stop| stop).await;
}

/// Accepts until told to stop. The connections belong to this task and end with it.
async fn accept<N>(listener: TcpListener, served: Arc<Served<N>>, mut stopped: watch::Receiver<bool>)
where
    N: Fn() -> Time + Send + Sync + 'static,
{
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let place = room.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        tokio::select! {
            biased;
            () = told(&mut stopped) => break,
            Some(_) = connections.join_next() => {}
            (place, accepted) = next => match accepted {
                Ok((stream, _)) => {
                    let connection = connect(stream, served.clone(), stopped.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    // Mostly too many open files: waiting lets connections end.
                    tracing::warn!(%error, "the sandbox cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connect<N>(stream: TcpStream, served: Arc<Served<N>>, mut stopped: watch::Receiver<bool>)
where
    N: Fn() -> Time + Send + Sync + 'static,
{
    // Answers are written whole, so waiting to fill a packet would only add latency.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let served = served.clone();
        async move { served.answer(request).await }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        biased;
        () = told(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
        // A client that hangs up and a cut of our own both end here; neither is news.
        _ = connection.as_mut() => {}
    }
}

impl<N: Fn() -> Time> Served<N> {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Cut> {
        let (head, body) = request.into_parts();
        let too_large = || Ok(respond(HttpReply::text(413, "text/plain", "the body is over 10 MiB\n")));
        // What is announced as too large is refused before it is sent.
        if usize::try_from(body.size_hint().lower()).is_ok_and(|announced| announced > MAX_BODY_BYTES) {
            return too_large();
        }
        let body = match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => return too_large(),
            Ok(Err(_)) => return Err(Cut),
            Err(_) => return Ok(respond(HttpReply::text(408, "text/plain", "the body took too long\n"))),
        };
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let headers: Vec<(String, String)> =
            head.headers.iter().map(|(name, value)| (name.as_str().into(), text(value.as_bytes()))).collect();
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let incoming = Core::read(&HttpRequest { method: head.method.as_str(), target, headers: &headers, body: &body });
        let now = (self.now)();
        let exchange = self.exchange(incoming, now);
        if !exchange.latency.is_zero() {
            tokio::time::sleep(exchange.latency).await;
        }
        exchange.reply.map(respond).ok_or(Cut)
    }

    /// One exchange, after which the journal holds what it changed.
    fn exchange(&self, incoming: crm::Incoming, now: Time) -> Exchange {
        let mut core = lock(&self.core);
        let Some(journal) = &self.journal else { return core.take(incoming, now) };
        let mut journal = lock(journal);
        // First what could not be written before: nothing is built on, or read from, what a restart would forget.
        let kept = journal.settle().and_then(|()| {
            let exchange = core.take(incoming, now);
            journal.keep(&mut core).map(|()| exchange)
        });
        kept.unwrap_or_else(|error| {
            tracing::error!(%error, "the sandbox cannot write its journal and refuses every call until it can; is the disk full?");
            let says = "The sandbox cannot write its journal; its log says why.";
            Exchange { reply: Some(Refusal::new(503, "SERVER_UNAVAILABLE", says).reply()), latency: Duration::ZERO }
        })
    }
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

fn respond(reply: HttpReply) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(reply.body)));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests say what went wrong by panicking")]
mod tests {
    use std::fs::File;

    use super::*;

    type Crm = Served<fn() -> Time>;

    fn crm(path: &Path) -> Crm {
        let mut core = Core::new(7, Options { latency: Duration::ZERO, ..Options::default() });
        let journal = Mutex::new(Journal::open(path, &mut core).unwrap());
        Served { core: Arc::new(Mutex::new(core)), journal: Some(journal), now: || Time(0) }
    }

    fn call(crm: &Crm, method: &str, target: &str) -> u16 {
        let headers = [("authorization", "Bearer t"), ("content-type", "application/json")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let body = br#"{"LastName":"Stone","Company":"Example"}"#;
        let incoming = Core::read(&HttpRequest { method, target, headers: &headers, body });
        crm.exchange(incoming, Time(0)).reply.unwrap().status
    }

    fn lead(key: &str) -> String {
        format!("/services/data/v68.0/sobjects/Lead/Ext_Id__c/{key}")
    }

    #[test]
    fn while_the_journal_cannot_be_written_every_call_is_refused_and_nothing_is_applied() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sandbox.jsonl");
        let served = crm(&path);
        assert_eq!(call(&served, "PATCH", &lead("a")), 201);
        // Open for reading only, it fails as a full disk does, also at cutting off what may be torn.
        let writable = lock(served.journal.as_ref().unwrap()).exchange(File::open(&path).unwrap());
        for (method, target) in [("PATCH", lead("b")), ("PATCH", lead("c")), ("GET", lead("b")), ("GET", "/_sandbox/records".into())] {
            assert_eq!(call(&served, method, &target), 503, "{method} {target}");
        }
        assert!(lock(&served.core).records(None, None).all(|record| record.key.as_deref() != Some("c")), "not on top of what is owed");
        lock(served.journal.as_ref().unwrap()).exchange(writable);
        assert_eq!(call(&served, "PATCH", &lead("d")), 201);
        let before: Vec<_> = lock(&served.core).records(None, None).collect();
        drop(served);
        let after: Vec<_> = lock(&crm(&path).core).records(None, None).collect();
        assert_eq!((after.len(), &after), (3, &before), "a and d, and b, which was only refused");
    }

    #[test]
    fn a_file_that_has_grown_is_written_anew_while_it_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sandbox.jsonl");
        let served = crm(&path);
        for key in ["a", "b", "a", "a", "a", "a"] {
            call(&served, "PATCH", &lead(key));
        }
        let grown = std::fs::metadata(&path).unwrap().len();
        lock(served.journal.as_ref().unwrap()).rewrite_soon();
        call(&served, "PATCH", &lead("a"));
        assert!(std::fs::metadata(&path).unwrap().len() < grown);
        let other = Journal::open(&path, &mut Core::new(7, Options::default()));
        assert!(matches!(other, Err(WrongJournal::InUse(_))), "the new file is ours as well");
        call(&served, "PATCH", &lead("c"));
        let before: Vec<_> = lock(&served.core).records(None, None).collect();
        drop(served);
        let after: Vec<_> = lock(&crm(&path).core).records(None, None).collect();
        assert_eq!((after.len(), &after), (3, &before));
    }
}
