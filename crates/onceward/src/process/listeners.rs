//! Where a process listens.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::command::Refused;

/// Takes an address.
///
/// # Errors
///
/// Somebody else has it, or it is not ours.
pub async fn bind(what: &str, address: SocketAddr) -> Result<TcpListener, Refused> {
    TcpListener::bind(address).await.map_err(|error| cannot_listen(what, address, &error))
}

/// Why there is no listener, and what to do.
pub fn cannot_listen(what: &str, address: SocketAddr, error: &io::Error) -> Refused {
    let option = match what {
        "sandbox" => "--listen",
        "admin" => "--admin",
        _ => "--public",
    };
    let why = if error.kind() == io::ErrorKind::AddrInUse {
        format!("something else listens there; stop it, or use another address (`{option} 127.0.0.1:0` picks a free port)")
    } else {
        format!("{error}; use another address with `{option}`")
    };
    Refused::because(format!("the {what} listener cannot have {address}: {why}"))
}

/// The address in use.
///
/// # Errors
///
/// The system does not say.
pub fn local(listener: &TcpListener) -> Result<SocketAddr, Refused> {
    listener.local_addr().map_err(|error| Refused::because(format!("a listener has no address: {error}")))
}
