//! The HTTP door: the page, the API, health and metrics.
//!
//! Decides paths, statuses and limits. Sessions, faces and networks are other rooms'.

mod body;
mod events;
mod gpu;
mod info;
mod metrics;
mod middleware;
mod options;
mod page;
mod problem;
mod request_metrics;
mod sessions;
mod speech;
mod startup;
mod state;
mod tls;
mod trace;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, Method, header};
use axum::routing::{MethodRouter, get, post};
use axum_server::{Address, Handle, Server};
use thiserror::Error;
use tower_http::cors::{AllowOrigin, CorsLayer};

pub use sessions::{avatar_in, offer_in};
pub use startup::{Startup, StartupTask};
pub use state::{AppState, Asset, Facts, Shared};
pub use tls::{Secured, TlsError, TlsFiles, self_signed};
pub use trace::{TraceFile, TraceReport};

/// Requests under way get this long when the server goes down.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// A connection must bring the head of a request within this time.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);

/// Why the server does not serve.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The port is taken, or the address is not this machine's.
    #[error("wanted TCP {address}, found: {source}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// An origin that browsers would never send.
    #[error("wanted an origin such as https://example.org or *, found \"{found}\"")]
    Origin {
        /// What was given.
        found: String,
    },
    /// Serving ended.
    #[error("serving ended: {0}")]
    Ended(io::Error),
}

/// A bound port.
#[derive(Debug)]
pub struct Listener {
    socket: std::net::TcpListener,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Binds the port.
///
/// # Errors
/// If it is taken.
pub fn bind(address: SocketAddr) -> Result<Listener, ServeError> {
    let error = |source| ServeError::Bind { address, source };
    let socket = std::net::TcpListener::bind(address).map_err(error)?;
    socket.set_nonblocking(true).map_err(error)?;
    let address = socket.local_addr().map_err(error)?;
    Ok(Listener { socket, address })
}

/// Serves until `stop` is there, then gives requests under way their last words.
///
/// # Errors
/// If certificates are unusable or the listener fails.
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
        ending.graceful_shutdown(Some(LAST_WORDS));
    });
    let service = router.into_make_service();
    let served = if let Some(Secured(config)) = tls {
        let server = axum_server::from_tcp_rustls(listener.socket, config).map_err(ServeError::Ended)?;
        impatient(server).handle(handle).serve(service).await
    } else {
        let server = axum_server::from_tcp(listener.socket).map_err(ServeError::Ended)?;
        impatient(server).handle(handle).serve(service).await
    };
    served.map_err(ServeError::Ended)
}

/// Lets go of connections that bring nothing.
fn impatient<A: Address, C>(mut server: Server<A, C>) -> Server<A, C> {
    server.http_builder().http1().header_read_timeout(HEAD_PATIENCE);
    server.http1_only().first_request_timeout(HEAD_PATIENCE)
}

/// Checks origins before they are given to [`AppState::new`].
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
    // Without origins there is no answer to a browser's question whether another page may call.
    let origins = &state.origins;
    let open = if origins.is_empty() { gated } else { gated.layer(cors(origins)) };
    let about = (state.clone(), middleware::policy(origins));
    open.layer(axum::middleware::from_fn_with_state(about, middleware::headers)).with_state(state)
}

/// The paths of the API, for whoever checks its description.
pub fn paths() -> impl Iterator<Item = &'static str> {
    routes().into_iter().map(|(path, _)| path)
}

/// Every path of the API; `web/openapi.json` describes the same, and a test compares them.
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
        ("/v1/sessions/{id}/events", get(events::events)),
        ("/v1/sessions/{id}/speech", post(speech::speak)),
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
        .allow_headers([header::CONTENT_TYPE, header::AUTHORIZATION])
        .expose_headers([header::LOCATION, header::RETRY_AFTER])
        .max_age(Duration::from_mins(10))
}
