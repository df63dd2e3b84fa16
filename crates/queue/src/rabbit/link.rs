//! One connection to the broker, which never makes anybody wait and ends when it is told to.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use lapin::{AsyncTcpStream, Channel, Connection, ConnectionProperties, Event};
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::Address;

/// How long reaching the broker may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// The most addresses of a host that are tried.
const ADDRESSES_MAX: usize = 4;
/// How long the broker may take to answer a question.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long a goodbye may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// Why a connection, or a channel of it, is of no more use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("{0}")]
    Failed(#[from] lapin::Error),
    #[error("the broker was silent for {within:?} when asked to {what}")]
    Silent { what: &'static str, within: Duration },
    #[error("the connection ended")]
    Ended,
    #[error("a queue was gone; it is declared again")]
    Missing,
    #[error("the broker has wakeups for us and does not send them, or no longer knows that we consume")]
    Forgotten,
    #[error("the broker cancelled the consumer: its queue was deleted or is moving")]
    Cancelled,
}

/// Asks the broker something. The client may wait for an answer for ever (traps.md 1), we do not.
pub(super) async fn ask<T>(what: &'static str, within: Duration, asked: impl Future<Output = lapin::Result<T>>) -> Result<T, Broken> {
    match timeout(within, asked).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Broken::Silent { what, within }),
    }
}

/// A connection. Dropping it cuts it.
pub(super) struct Link {
    // First, so that it is cut before the client tries to say goodbye to a broker that may not listen.
    _socket: Socket,
    pub(super) connection: Connection,
    pub(super) events: Events,
}

/// What happens to a connection.
pub(super) struct Events(Pin<Box<dyn Stream<Item = Event> + Send>>);

/// The socket under a connection. The client's thread waits on it for ever where a broker neither answers nor leaves, during the handshake
/// for instance: without this, each attempt against a frozen broker would leave a thread behind.
#[derive(Clone, Default)]
struct Socket(Arc<OnceLock<TcpStream>>);

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(socket) = self.0.get() {
            // Fails where the other end was faster.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Link {
    /// Connects. `name` is what the broker shows.
    pub(super) async fn open(address: &Address, name: &str) -> Result<Self, Broken> {
        let socket = Socket::default();
        let slot = socket.0.clone();
        let connecting = Connection::connector(
            address.uri(),
            lapin::runtime::default_runtime()?,
            async move |uri, runtime| {
                let host = (uri.authority.host.as_str(), uri.authority.port);
                let addresses =
                    timeout(CONNECT_WITHIN, lookup_host(host)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
                let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
                for address in addresses.take(ADDRESSES_MAX) {
                    match timeout(CONNECT_WITHIN, AsyncTcpStream::connect(&runtime, address)).await {
                        Ok(Ok(stream)) => {
                            if let AsyncTcpStream::Plain(plain) = &stream {
                                let _ = slot.set(plain.get_ref().as_fd().try_clone_to_owned()?.into());
                            }
                            return Ok(stream);
                        }
                        Ok(Err(error)) => last = error,
                        Err(_) => last = io::Error::from(io::ErrorKind::TimedOut),
                    }
                }
                Err(last.into())
            },
            ConnectionProperties::default().with_connection_name(name.into()),
        );
        let connection = ask("connect", CONNECT_WITHIN, connecting).await?;
        let events = Events(Box::pin(connection.events_listener()));
        Ok(Self { _socket: socket, connection, events })
    }

    /// Says goodbye, where the broker listens.
    pub(super) async fn close(self) {
        let _ = ask("close", CLOSE_WITHIN, self.connection.close(200, "OK".into())).await;
    }
}

impl Events {
    /// What happens next. The client tells of a channel's errors here as well; those end what asked for the channel, not the connection.
    pub(super) async fn next(&mut self) -> Result<Event, Broken> {
        loop {
            match self.0.next().await {
                Some(Event::Error(error)) if error.is_amqp_soft_error() => {}
                Some(Event::Error(error)) => return Err(error.into()),
                Some(event) => return Ok(event),
                None => return Err(Broken::Ended),
            }
        }
    }
}

pub(super) async fn channel(connection: &Connection) -> Result<Channel, Broken> {
    ask("open a channel", ANSWER_WITHIN, connection.create_channel()).await
}
