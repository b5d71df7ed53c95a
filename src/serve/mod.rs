//! The HTTP door: the page, the API, health and metrics.
//!
//! Decides paths, statuses and limits. Sessions, faces and networks are other rooms'.

mod about;
mod events;
mod gate;
mod metrics;
mod page;
mod problem;
mod sessions;
mod speech;
mod state;
mod tls;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, Method, header};
use axum::middleware;
use axum::routing::{MethodRouter, get, post};
use axum_server::Handle;
use thiserror::Error;
use tower_http::cors::CorsLayer;

pub use state::{AppState, Asset, Facts, Shared};
pub use tls::{TlsError, TlsFiles, self_signed};

use crate::rtc::LONGEST_OFFER;

/// Requests under way get this long when the server goes down.
const LAST_WORDS: Duration = Duration::from_secs(2);

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
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
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
    tls: Option<TlsFiles>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let handle = Handle::new();
    let ending = handle.clone();
    tokio::spawn(async move {
        stop.await;
        ending.graceful_shutdown(Some(LAST_WORDS));
    });
    let service = router.into_make_service();
    let served = match tls {
        Some(files) => {
            let config = tls::config(&files).await?;
            axum_server::from_tcp_rustls(listener.socket, config)
                .map_err(ServeError::Ended)?
                .handle(handle)
                .serve(service)
                .await
        }
        None => axum_server::from_tcp(listener.socket).map_err(ServeError::Ended)?.handle(handle).serve(service).await,
    };
    served.map_err(ServeError::Ended)
}

/// All routes. `origins` are other pages that may call the API.
pub fn router(state: AppState, origins: &[String]) -> Router {
    let mut router = Router::new();
    for (path, methods) in routes() {
        router = router.route(path, methods.fallback(gate::method_not_allowed));
    }
    router
        .fallback(page::file)
        .layer(middleware::from_fn_with_state(state.clone(), gate::token))
        .layer(cors(origins))
        .layer(middleware::from_fn(gate::headers))
        .with_state(state)
}

/// Every path of the API; `web/openapi.json` describes the same, and a test compares them.
fn routes() -> Vec<(&'static str, MethodRouter<AppState>)> {
    let offer = DefaultBodyLimit::max(LONGEST_OFFER * 2);
    let sound = DefaultBodyLimit::max(speech::LARGEST_BYTES);
    vec![
        ("/v1/server", get(about::server)),
        ("/v1/avatars", get(about::avatars)),
        ("/v1/avatars/{name}/still.png", get(about::still)),
        ("/v1/packs", get(about::packs)),
        ("/v1/sessions", get(sessions::list).post(sessions::join).layer(offer)),
        ("/v1/sessions/{id}", get(sessions::show).patch(sessions::change).delete(sessions::leave)),
        ("/v1/sessions/{id}/stats", get(sessions::stats)),
        ("/v1/sessions/{id}/events", get(events::events)),
        ("/v1/sessions/{id}/speech", post(speech::speak).layer(sound)),
        ("/v1/sessions/{id}/stop", post(sessions::stop)),
        ("/healthz", get(about::health)),
        ("/readyz", get(about::ready)),
        ("/metrics", get(about::prometheus)),
    ]
}

fn cors(origins: &[String]) -> CorsLayer {
    let allowed: Vec<HeaderValue> = origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([header::CONTENT_TYPE, header::AUTHORIZATION])
        .expose_headers([header::LOCATION, header::RETRY_AFTER])
}
