//! How many TCP connections are open: in all, and of one client, so that a client that opens hundreds and says nothing
//! does not lock the others out.
//!
//! Decides by the limit of open files of the process. What is asked on a connection, others decide.

use std::fs;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::StatusCode;
use axum_server::accept::Accept;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::per_address::{Client, Held, PerAddress};

/// Files that are left for everything else: listeners, UDP sockets, the page of metrics, a trace, what libraries open.
const OTHER_FILES: usize = 64;
/// Most connections whatever the limit of files: an idle one takes about 10 kB.
const MOST: usize = 4096;
/// Open files where the system does not say: the smallest limit in use (macOS).
const USUAL_FILES: usize = 256;
/// Slow networks send a request within a few seconds; a client that only holds a place sends none.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// The page asks at least every 10 s, so its connection stays open.
const NEXT_REQUEST: Duration = Duration::from_secs(30);
/// Refusals that are written at once; further connections are closed without a word.
const REFUSALS: usize = 32;
/// How long a refused client may take to read why.
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// How many connections are open at once, and how long a silent one stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Of all clients.
    pub total: usize,
    /// Of one client; see [`Client`].
    pub per_address: usize,
    /// A new connection must send the head of its first request within this time.
    pub first_request: Duration,
    /// The same for every further request: a connection that is kept open is closed after this time without one.
    pub next_request: Duration,
}

impl ConnectionLimits {
    /// For a process that may open `files` files: one client gets at most half.
    #[must_use]
    pub fn of(files: usize) -> Self {
        let total = files.saturating_sub(OTHER_FILES).clamp(16, MOST);
        Self { total, per_address: total / 2, first_request: FIRST_REQUEST, next_request: NEXT_REQUEST }
    }

    /// For this process.
    #[must_use]
    pub fn of_process() -> Self {
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        Self::of(open_files(&limits).unwrap_or(USUAL_FILES))
    }
}

/// The soft limit of open files in Linux's `/proc/self/limits`.
fn open_files(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let soft = line.split_whitespace().next()?;
    if soft == "unlimited" { Some(usize::MAX) } else { soft.parse().ok() }
}

/// What clients expect on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A refusal can be written at once.
    Http,
    /// A client in its handshake does not understand an HTTP answer: the connection is closed.
    Tls,
}

/// Connections that were refused. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct RefusedConnections(Arc<[AtomicU64; 2]>);

/// Why a connection was refused: its place in the counts.
#[derive(Clone, Copy, Debug)]
enum Limit {
    PerAddress,
    Total,
}

impl RefusedConnections {
    fn count(&self, limit: Limit) {
        self.0[limit as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// By reason: one client held as many as it may, or all clients together.
    pub fn by_reason(&self) -> [(&'static str, f64); 2] {
        let of = |limit: Limit| self.0[limit as usize].load(Ordering::Relaxed) as f64;
        [("per_client_limit", of(Limit::PerAddress)), ("total_limit", of(Limit::Total))]
    }
}

/// Counts connections as they are accepted, and refuses those above the limits.
#[derive(Clone, Debug)]
pub struct Counting {
    all: Arc<Semaphore>,
    per_address: PerAddress,
    refusals: Arc<Semaphore>,
    refused: RefusedConnections,
    protocol: Protocol,
}

impl Counting {
    /// Up to `limits`; those above are counted in `refused`.
    #[must_use]
    pub fn new(limits: ConnectionLimits, protocol: Protocol, refused: RefusedConnections) -> Self {
        Self {
            all: Arc::new(Semaphore::new(limits.total)),
            per_address: PerAddress::new(limits.per_address),
            refusals: Arc::new(Semaphore::new(REFUSALS)),
            refused,
            protocol,
        }
    }

    fn count(&self, peer: IpAddr) -> Result<Counted<()>, String> {
        let held = self.per_address.take(Client::from(peer)).ok_or_else(|| {
            self.refused.count(Limit::PerAddress);
            refusal(StatusCode::TOO_MANY_REQUESTS, "this address has too many open connections")
        })?;
        let permit = Arc::clone(&self.all).try_acquire_owned().map_err(|_full| {
            self.refused.count(Limit::Total);
            refusal(StatusCode::SERVICE_UNAVAILABLE, "the server has too many open connections")
        })?;
        Ok(Counted { stream: (), _held: held, _permit: permit })
    }

    fn refuse(&self, stream: TcpStream, answer: String) {
        if self.protocol == Protocol::Tls {
            return;
        }
        if let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() {
            tokio::spawn(async move {
                // Whether the client has read it does not matter any more.
                let _ = tokio::time::timeout(REFUSAL_TIME, say(stream, answer)).await;
                drop(permit);
            });
        }
    }
}

/// Writes `answer` and reads what the client has sent: closed with unread bytes, the system would discard the answer.
async fn say(mut stream: TcpStream, answer: String) -> io::Result<()> {
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    let mut discarded = [0; 1024];
    while stream.read(&mut discarded).await? > 0 {}
    Ok(())
}

/// An answer to a request that was not read.
fn refusal(status: StatusCode, detail: &str) -> String {
    let title = status.canonical_reason().unwrap_or_default();
    let problem = json!({
        "type": "about:blank", "title": title, "status": status.as_u16(), "code": "too_many_connections",
        "detail": detail, "hint": "close connections that are not needed, and try again in a few seconds",
    });
    let body = problem.to_string();
    format!(
        "HTTP/1.1 {} {title}\r\ncontent-type: application/problem+json\r\nretry-after: 5\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        status.as_u16(),
        body.len()
    )
}

impl<S: Send + 'static> Accept<TcpStream, S> for Counting {
    type Stream = Counted<TcpStream>;
    type Service = S;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, S)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let counted = stream.peer_addr().map(|peer| self.count(peer.ip()));
        let accepted = match counted {
            Ok(Ok(Counted { _held: held, _permit: permit, stream: () })) => {
                Ok((Counted { stream, _held: held, _permit: permit }, service))
            }
            Ok(Err(answer)) => {
                self.refuse(stream, answer);
                Err(io::Error::other("too many connections"))
            }
            Err(error) => Err(error),
        };
        Box::pin(std::future::ready(accepted))
    }
}

/// A connection that is counted until it is dropped.
#[derive(Debug)]
pub struct Counted<T> {
    stream: T,
    _held: Held,
    _permit: OwnedSemaphorePermit,
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_follow_the_open_files_of_the_process() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
            Max open files            256                  4096                 files     \n";
        assert_eq!(open_files(limits), Some(256));
        assert_eq!(
            open_files("Max open files            unlimited            unlimited            files\n"),
            Some(usize::MAX)
        );
        let counts = |files| (ConnectionLimits::of(files).total, ConnectionLimits::of(files).per_address);
        assert_eq!([counts(256), counts(10), counts(usize::MAX)], [(192, 96), (16, 8), (MOST, MOST / 2)]);
    }
}
