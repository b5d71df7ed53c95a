//! The HTTP server: the page, the API, health and metrics.
//!
//! Decides paths, statuses, who may call, and how much one client may hold. Does not decide what a session does.

mod access;
mod base_path;
mod body;
mod connections;
mod events;
mod gpu;
mod info;
mod metrics;
mod middleware;
mod options;
mod page;
mod per_address;
mod problem;
mod request_metrics;
mod sessions;
mod speech;
mod speech_stream;
mod startup;
mod state;
mod texts;
mod tls;
mod trace;
mod unconnected;
mod viewers;
mod whep;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::http::{HeaderValue, Method, header};
use axum::routing::{MethodRouter, delete, get, patch, post};
use axum::{Extension, Router};
use axum_server::{Address, Handle, Server};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use thiserror::Error;
use tower_http::cors::{AllowOrigin, CorsLayer};

use connections::{Counting, Protocol, RefusedConnections};

pub use access::Access;
pub use base_path::BasePath;
pub use connections::ConnectionLimits;
pub use sessions::{avatar_in, offer_in};
pub use startup::{Startup, StartupTask};
pub use state::{AppState, Asset, ClientLimits, Facts, Shared};
pub use tls::{Secured, TlsError, TlsFiles, self_signed};
pub use trace::{TraceFile, TraceReport};

/// Requests in flight get this long when the server stops.
const DRAIN: Duration = Duration::from_secs(2);

/// Why the server cannot run.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The port is in use, or the address is not one of this machine.
    #[error("cannot bind TCP {address}: {}", plain(source))]
    Bind {
        /// The address and port.
        address: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// An origin that no browser sends.
    #[error("wanted an origin such as https://example.org or *, found \"{found}\"")]
    Origin {
        /// The text given.
        found: String,
    },
    /// The listener failed.
    #[error("the HTTP server ended: {0}")]
    Ended(io::Error),
}

/// The error without its number: `address already in use`.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// A bound port.
#[derive(Debug)]
pub struct Listener {
    socket: std::net::TcpListener,
    /// The address and port that it is bound to.
    pub address: SocketAddr,
    /// Most connections at once.
    pub limits: ConnectionLimits,
}

/// Binds the port.
///
/// # Errors
/// If it is in use, or the address is not one of this machine.
pub fn bind(address: SocketAddr) -> Result<Listener, ServeError> {
    let error = |source| ServeError::Bind { address, source };
    let socket = std::net::TcpListener::bind(address).map_err(error)?;
    socket.set_nonblocking(true).map_err(error)?;
    let address = socket.local_addr().map_err(error)?;
    Ok(Listener { socket, address, limits: ConnectionLimits::of_process() })
}

/// Serves until `stop` is ready, then lets requests in flight finish for a moment.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: Listener,
    router: Router,
    tls: Option<Secured>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let handle = Handle::new();
    let ending = handle.clone();
    tokio::spawn(async move {
        stop.await;
        ending.graceful_shutdown(Some(DRAIN));
    });
    let refused = RefusedConnections::default();
    // For `GET /metrics`.
    let router = router.layer(Extension(refused.clone()));
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let served = if let Some(Secured(config)) = tls {
        let server = axum_server::from_tcp_rustls(listener.socket, config).map_err(ServeError::Ended)?;
        let counting = Counting::new(listener.limits, Protocol::Tls, refused);
        with_timeouts(server.map(|tls| tls.acceptor(counting)), listener.limits).handle(handle).serve(service).await
    } else {
        let server = axum_server::from_tcp(listener.socket).map_err(ServeError::Ended)?;
        let counting = Counting::new(listener.limits, Protocol::Http, refused);
        with_timeouts(server.acceptor(counting), listener.limits).handle(handle).serve(service).await
    };
    served.map_err(ServeError::Ended)
}

/// Closes connections that send nothing. HTTP/1 alone, which every client speaks, with upgrades to WebSocket (the
/// server's own `http1_only` would refuse them).
fn with_timeouts<A: Address, C>(mut server: Server<A, C>, limits: ConnectionLimits) -> Server<A, C> {
    *server.http_builder() = Builder::new(TokioExecutor::new()).http1_only();
    server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(limits.next_request);
    server.first_request_timeout(limits.first_request)
}

/// Checks origins before they are given to [`Access::new`] and [`AppState::new`].
///
/// # Errors
/// If one is neither `*` nor a scheme and a host with at most a port, in lower case and without a path.
pub fn check_origins(origins: &[String]) -> Result<(), ServeError> {
    let is_origin = |origin: &&String| {
        let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        let is_host = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.:[]".contains(c);
        *origin == "*" || host.is_some_and(|host| !host.is_empty() && host.chars().all(is_host))
    };
    match origins.iter().find(|origin| !is_origin(origin)) {
        Some(odd) => Err(ServeError::Origin { found: odd.clone() }),
        None => Ok(()),
    }
}

/// All routes.
pub fn router(state: AppState) -> Router {
    let mut router = Router::new();
    for (path, methods) in routes() {
        router = router.route(path, methods.fallback(middleware::method_not_allowed));
    }
    let gated = router
        .fallback(page::file)
        .layer(axum::middleware::from_fn(middleware::problems))
        .layer(axum::middleware::from_fn_with_state(state.clone(), middleware::token));
    // Without origins no CORS header is sent: pages of other sites get 403 anyway.
    let origins = &state.origins;
    let open = if origins.is_empty() { gated } else { gated.layer(cors(origins)) };
    let open = open.layer(axum::middleware::from_fn_with_state(state.access.clone(), access::only_allowed));
    let about = (state.clone(), middleware::policy(origins));
    open.layer(axum::middleware::from_fn(whep::advertise))
        .layer(axum::middleware::from_fn_with_state(about, middleware::headers))
        .with_state(state)
}

/// The paths of the API; a test compares them with its description.
pub fn paths() -> impl Iterator<Item = &'static str> {
    routes().into_iter().map(|(path, _)| path)
}

/// Every path of the API, as `web/openapi.json` describes them.
fn routes() -> Vec<(&'static str, MethodRouter<AppState>)> {
    vec![
        ("/v1/server", get(info::server)),
        ("/v1/avatars", get(info::avatars)),
        ("/v1/avatars/{name}/still.png", get(info::still)),
        ("/v1/packs", get(info::packs)),
        ("/v1/gpus", get(info::gpus)),
        ("/v1/sessions", get(sessions::list).post(sessions::join)),
        ("/v1/sessions/{id}", get(sessions::show).patch(sessions::change).delete(sessions::leave)),
        ("/v1/sessions/{id}/stats", get(sessions::stats)),
        ("/v1/sessions/{id}/viewers", post(viewers::join)),
        ("/v1/sessions/{id}/viewers/{viewer}", delete(viewers::leave)),
        ("/whep/{id}", post(whep::join).get(whep::live).head(whep::discover).options(whep::options)),
        ("/whep/{id}/{viewer}", patch(whep::trickle).delete(whep::leave).options(whep::options)),
        ("/v1/sessions/{id}/events", get(events::events)),
        ("/v1/sessions/{id}/speech", post(speech::speak)),
        ("/v1/sessions/{id}/speech/stream", get(speech_stream::speech_stream)),
        ("/v1/sessions/{id}/interrupt", post(sessions::interrupt)),
        ("/healthz", get(info::health)),
        ("/readyz", get(info::ready)),
        ("/metrics", get(info::prometheus)),
    ]
}

fn cors(origins: &[String]) -> CorsLayer {
    let listed = origins.iter().filter_map(|origin| origin.parse::<HeaderValue>().ok());
    let is_any = origins.iter().any(|origin| origin == "*");
    CorsLayer::new()
        .allow_origin(if is_any { AllowOrigin::any() } else { AllowOrigin::list(listed) })
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([header::CONTENT_TYPE, header::AUTHORIZATION, header::IF_MATCH])
        .expose_headers([header::LOCATION, header::RETRY_AFTER, header::ETAG])
        .max_age(Duration::from_mins(10))
}
