//! State shared by all routes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, watch};

use super::access::Access;
use super::base_path::BasePath;
use super::per_address::PerAddress;
use super::request_metrics::RequestMetrics;
use super::unconnected::Unconnected;
use crate::rtc::RtcServer;
use crate::session::Sessions;
use crate::time::Wall;

/// A file of the page.
pub type Asset = (&'static str, &'static [u8]);

/// The constant part of `GET /v1/server`.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// Version of the program.
    pub version: &'static str,
    /// The pack that is loaded.
    pub pack: String,
    /// The inference backend.
    pub backend: String,
    /// The video codecs, the preferred one first, as `h264, vp8`.
    #[serde(serialize_with = "as_list")]
    pub video_codecs: &'static str,
    /// The first GPU, if there is one.
    pub gpu: Option<String>,
}

fn as_list<S: Serializer>(codecs: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(codecs.split(", "))
}

/// PNG files by avatar and size.
pub type Stills = HashMap<(String, u32), Bytes>;

/// Shared by all routes.
#[derive(Clone)]
pub struct AppState(Arc<Inner>);

struct Inner {
    shared: Shared,
    request_metrics: RequestMetrics,
    tags: Vec<String>,
    unconnected_sessions: Unconnected,
    unconnected_viewers: Unconnected,
    speeches: PerAddress,
    uploads: PerAddress,
    streams: PerAddress,
    event_slots: Arc<Semaphore>,
    upload_slots: Arc<Semaphore>,
    speech_slots: Arc<Semaphore>,
}

/// Maximum number of event streams, of all clients.
const EVENT_STREAMS: usize = 256;
/// Maximum number of audio files read concurrently: 10 MB each at most.
const READ_AT_ONCE: usize = 16;
/// Maximum number of utterances decoded concurrently, each on a thread that mostly waits: 2 s are decoded ahead, 0.5 MB.
const SPEECHES_AT_ONCE: usize = 256;

/// Limits per client; see [`super::per_address`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// Sessions that were answered and have not connected.
    pub unconnected_sessions: usize,
    /// The same for further viewers of sessions.
    pub unconnected_viewers: usize,
    /// Utterances that are decoded: files, streams, WebSockets.
    pub speeches: usize,
    /// Audio files that are read.
    pub uploads: usize,
    /// Event streams.
    pub event_streams: usize,
}

impl ClientLimits {
    /// For a server of `capacity` sessions with `viewers` each: half of everything, and at least two of each, so that a page
    /// can reload before its old peer has timed out.
    #[must_use]
    pub fn of(capacity: usize, viewers: usize) -> Self {
        Self {
            unconnected_sessions: (capacity / 2).max(2),
            unconnected_viewers: (viewers / 2).max(2),
            speeches: SPEECHES_AT_ONCE / 2,
            uploads: READ_AT_ONCE / 2,
            event_streams: EVENT_STREAMS / 2,
        }
    }
}

/// The content of [`AppState`].
pub struct Shared {
    /// Sessions.
    pub sessions: Arc<Sessions>,
    /// The WebRTC endpoint.
    pub net: Arc<RtcServer>,
    /// Version, pack and backend.
    pub facts: Facts,
    /// The token that requests must carry, if any.
    pub token: Option<String>,
    /// Other pages that may call the API and frame the page; see [`super::check_origins`].
    pub origins: Vec<String>,
    /// Which hosts and origins are answered.
    pub access: Access,
    /// The path below which the server is published.
    pub base_path: BasePath,
    /// Limits per client.
    pub limits: ClientLimits,
    /// Files of the page.
    pub assets: &'static [Asset],
    /// True once the server is stopping.
    pub closing: watch::Receiver<bool>,
    /// Still images by avatar and size.
    pub stills: Mutex<Stills>,
    /// The clock, for ages.
    pub wall: Wall,
}

impl AppState {
    /// State for the routes.
    #[must_use]
    pub fn new(shared: Shared) -> Self {
        let limits = shared.limits;
        let tags = shared.assets.iter().map(|(_, bytes)| tag_of(bytes)).collect();
        Self(Arc::new(Inner {
            shared,
            tags,
            request_metrics: RequestMetrics::default(),
            unconnected_sessions: Unconnected::new(limits.unconnected_sessions),
            unconnected_viewers: Unconnected::new(limits.unconnected_viewers),
            speeches: PerAddress::new(limits.speeches),
            uploads: PerAddress::new(limits.uploads),
            streams: PerAddress::new(limits.event_streams),
            event_slots: Arc::new(Semaphore::new(EVENT_STREAMS)),
            upload_slots: Arc::new(Semaphore::new(READ_AT_ONCE)),
            speech_slots: Arc::new(Semaphore::new(SPEECHES_AT_ONCE)),
        }))
    }

    pub(super) fn request_metrics(&self) -> &RequestMetrics {
        &self.0.request_metrics
    }

    /// A file of the page and its entity tag.
    pub(super) fn asset(&self, wanted: &str) -> Option<(&'static str, &'static [u8], &str)> {
        let at = self.assets.iter().position(|(path, _)| *path == wanted)?;
        let (path, bytes) = self.assets[at];
        Some((path, bytes, &self.0.tags[at]))
    }

    /// Sessions that have not connected.
    pub(super) fn unconnected_sessions(&self) -> &Unconnected {
        &self.0.unconnected_sessions
    }

    /// Further viewers that have not connected.
    pub(super) fn unconnected_viewers(&self) -> &Unconnected {
        &self.0.unconnected_viewers
    }

    /// Utterances of each client.
    pub(super) fn speeches(&self) -> &PerAddress {
        &self.0.speeches
    }

    /// Audio files of each client that are being read.
    pub(super) fn uploads(&self) -> &PerAddress {
        &self.0.uploads
    }

    /// Event streams of each client.
    pub(super) fn streams(&self) -> &PerAddress {
        &self.0.streams
    }

    pub(super) fn event_slots(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.event_slots)
    }

    pub(super) fn upload_slots(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.upload_slots)
    }

    pub(super) fn speech_slots(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.speech_slots)
    }
}

impl std::ops::Deref for AppState {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0.shared
    }
}

/// An entity tag (RFC 9110, section 8.8.3) that changes with the bytes.
pub(super) fn tag_of(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let short = digest.iter().take(8).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    format!("\"{short:016x}\"")
}

/// Whether the client has the content with this entity tag already (RFC 9110, section 13.1.2).
pub(super) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    known.split(',').map(|known| known.trim().trim_start_matches("W/")).any(|known| known == tag || known == "*")
}
