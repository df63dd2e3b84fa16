//! The public listener: our own accept loop, because every deadline and every cap is ours to set.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::commit::Committer;
use crate::drift::Watcher;
use crate::guard::{Guard, Patience};
use crate::rejected::Keeper;
use crate::webhook::{self, Room};
use crate::{Door, Problem};

/// A head with the longest URI that hyper reads (64 KiB, then 414) still fits; anything beyond is answered with 431.
const HEAD_BYTES_MAX: usize = 80 << 10;
/// Connections over the cap that are told so at once; more are closed without a word.
const TURNED_AWAY_AT_ONCE: usize = 64;
const TURN_AWAY_FOR: Duration = Duration::from_millis(250);
/// What a client that is turned away may still send before we close.
const TURN_AWAY_BYTES: usize = 16 << 10;
/// After an accept that failed, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections that may have knocked without having been let in, when the listener stops.
const BACKLOG_MAX: usize = 1_024;
/// For the last commit, after the last connection.
const LAST_COMMIT: Duration = Duration::from_secs(1);

/// Takes in webhooks until `shutdown` and for [`crate::Limits::leave`] after it, then lets what is under way end, for at most [`crate::Limits::stop`] and a
/// second. Everything that was answered with 2xx is committed by then.
pub async fn serve(listener: TcpListener, door: Arc<Door>, shutdown: impl Future<Output = ()>) {
    let limits = door.limits;
    let (committer, committing) = Committer::start(door.store.clone(), door.queue.clone(), door.now.clone(), &limits);
    let (keeper, keeping) = Keeper::start(door.store.clone(), door.now.clone(), limits.rejected_rate, limits.rejected);
    let (watcher, watching) = Watcher::start(door.store.clone(), door.now.clone());
    let room = Arc::new(Room::new(door, committer, keeper, watcher));
    let (stop, stopped) = watch::channel(());
    let mut entrance = Entrance { room, stopped, turned_away: Arc::new(Semaphore::new(TURNED_AWAY_AT_ONCE)), connections: JoinSet::new() };
    let (leave, left) = (entrance.room.clone(), limits.leave);
    let leaving = async move {
        shutdown.await;
        leave.leave();
        sleep(left).await;
    };
    let mut leaving = std::pin::pin!(leaving);
    loop {
        tokio::select! {
            biased;
            () = &mut leaving => break,
            Some(ended) = entrance.connections.join_next() => {
                if let Err(panic) = ended {
                    tracing::error!(%panic, "a connection ended because of a bug");
                }
            }
            accepted = listener.accept() => entrance.opened(accepted).await,
        }
    }
    // Whoever knocked before the door is shut is let in, or would be told that nobody is there.
    for _ in 0..BACKLOG_MAX {
        tokio::select! {
            biased;
            accepted = listener.accept() => entrance.opened(accepted).await,
            () = std::future::ready(()) => break,
        }
    }
    let Entrance { room, stopped, mut connections, .. } = entrance;
    drop(listener);
    drop((room, stopped));
    // Dropping the sender is the signal.
    drop(stop);
    let ended = timeout(limits.stop, async { while connections.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        tracing::warn!(connections = connections.len(), "connections that did not end in time were cut");
        connections.shutdown().await;
    }
    let _ = timeout(LAST_COMMIT, async { (committing.await, keeping.await, watching.await) }).await;
}

/// Where connections come in.
struct Entrance {
    room: Arc<Room>,
    stopped: watch::Receiver<()>,
    turned_away: Arc<Semaphore>,
    connections: JoinSet<()>,
}

impl Entrance {
    async fn opened(&mut self, accepted: std::io::Result<(TcpStream, std::net::SocketAddr)>) {
        match accepted {
            Ok((socket, peer)) if self.connections.len() < self.room.door.limits.connections => {
                self.connections.spawn(converse(socket, peer.ip(), self.room.clone(), self.stopped.clone()));
            }
            Ok((socket, _)) => {
                webhook::count("unknown", Problem::Crowded.result());
                if let Ok(permit) = self.turned_away.clone().try_acquire_owned() {
                    tokio::spawn(async move {
                        turn_away(socket).await;
                        drop(permit);
                    });
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection, from its first byte to its last.
async fn converse(socket: TcpStream, peer: IpAddr, room: Arc<Room>, mut stopped: watch::Receiver<()>) {
    // Answers are small and wait for nothing.
    let _ = socket.set_nodelay(true);
    let limits = &room.door.limits;
    let guard = Guard::new(socket, Patience { head: limits.head, idle: limits.idle, write: limits.write });
    let service = service_fn(|request| {
        let room = room.clone();
        async move { Ok::<_, Infallible>(webhook::answer(room, peer, request).await) }
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            // Else hyper drops a request whose last byte came together with the connection's end, before we have seen it.
            .half_close(true)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(guard), service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended
        && error.is_parse()
    {
        webhook::count("unknown", Problem::Malformed.result());
    }
}

/// Says why, and closes so that the client gets to read it.
async fn turn_away(mut socket: TcpStream) {
    let _ = timeout(TURN_AWAY_FOR, async {
        let answer = Problem::Crowded.raw();
        tokio::io::AsyncWriteExt::write_all(&mut socket, answer.as_bytes()).await.ok()?;
        tokio::io::AsyncWriteExt::shutdown(&mut socket).await.ok()?;
        let mut unread = [0; 1024];
        let mut bytes = 0;
        while bytes < TURN_AWAY_BYTES {
            match socket.read(&mut unread).await {
                Ok(0) | Err(_) => break,
                Ok(read) => bytes += read,
            }
        }
        Some(())
    })
    .await;
}
