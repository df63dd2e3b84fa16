//! The admin listener's accept loop, with a deadline for everything a client can be slow at.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

/// The most connections at a time; the next waits in the kernel's list.
const CONNECTIONS_MAX: usize = 256;
/// How long request headers may take; also how long an idle connection is kept.
const HEADERS_WITHIN: Duration = Duration::from_secs(15);
/// Bytes of a connection's buffer: the most that request line and headers may take.
const BUFFER_BYTES: usize = 64 * 1_024;
/// How long requests that are running get to finish once the listener stops.
const STOPS_WITHIN: Duration = Duration::from_secs(5);

/// Serves the admin listener until `shutdown` resolves, then lets running requests finish for up to five seconds.
///
/// # Errors
///
/// The listener itself broke. What goes wrong with one connection ends that connection only.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (stop, stopping) = watch::channel(false);
    tokio::pin!(shutdown);
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) if is_the_connections(&error) => continue,
            Err(error) => {
                // Out of file descriptors, mostly: accepting at once again would only spin.
                tracing::warn!(error = %error, "the admin listener could not accept a connection");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        let (router, mut stopping) = (router.clone(), stopping.clone());
        tokio::spawn(async move {
            let _place = place;
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS_WITHIN)
                .max_buf_size(BUFFER_BYTES)
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
            tokio::pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => return,
                _ = stopping.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        });
    }
    drop(listener);
    stop.send_replace(true);
    let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(STOPS_WITHIN, places.acquire_many(all)).await;
    Ok(())
}

fn is_the_connections(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
