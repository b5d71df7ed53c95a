//! The studio: admits sessions, keeps their register, and owns the workers that move them on.

use std::sync::Arc;

use thiserror::Error;
use tokio::sync::broadcast;

use super::{Inbox, Meter, MeterReport, Outlet, SessionEvent, SessionKey, SessionStats, SessionSummary};

/// How large the studio is.
#[derive(Clone, Copy, Debug)]
pub struct StudioConfig {
    /// Sessions at once.
    pub max_sessions: usize,
    /// Worker threads.
    pub workers: usize,
    /// Side of the picture in pixels.
    pub picture_px: u32,
    /// Bits a second a session begins with.
    pub bitrate_bps: u32,
}

/// What a session is asked for.
#[derive(Clone, Debug, Default)]
pub struct ShowRequest {
    /// Name of the avatar; none: the first one.
    pub avatar: Option<String>,
}

/// Why a session was not admitted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AdmitError {
    /// All places are taken.
    #[error("wanted a free place, all {limit} are taken")]
    Full {
        /// Places in all.
        limit: usize,
    },
    /// No avatar of that name.
    #[error("wanted an avatar called \"{name}\", there are: {known}")]
    UnknownAvatar {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The avatar could not be loaded.
    #[error("the avatar \"{name}\" could not be loaded: {found}")]
    BrokenAvatar {
        /// Its name.
        name: String,
        /// What was wrong.
        found: String,
    },
    /// The process is about to end.
    #[error("the server is closing and takes no new sessions")]
    Closing,
}

/// A session's handles, for the door that opened it and for whoever asks about it.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// The id in URLs.
    pub id: Arc<str>,
    /// The number inside this process.
    pub key: SessionKey,
    /// The way in.
    pub inbox: Inbox,
    /// What is measured. The door reports every frame it hands to the socket here (`Meter::frame_sent`).
    pub meter: Arc<Meter>,
    /// Its events; subscribe to listen.
    pub events: broadcast::Sender<SessionEvent>,
}

/// The studio.
#[derive(Debug)]
pub struct Studio {
    config: StudioConfig,
}

impl Studio {
    /// Admits a session and starts its show; its output goes to `outlet`.
    ///
    /// # Errors
    /// If the studio is full or closing, or the avatar is unknown or broken.
    pub fn admit(&self, _request: &ShowRequest, _outlet: Box<dyn Outlet>) -> Result<Ticket, AdmitError> {
        Err(AdmitError::Full { limit: self.config.max_sessions })
    }

    /// Ends a session; true if there was one. Its inbox says `has_ended` from now on, its worker drops it.
    pub fn end(&self, _id: &str, _reason: &str) -> bool {
        false
    }

    /// The handles of a session.
    #[must_use]
    pub fn find(&self, _id: &str) -> Option<Ticket> {
        None
    }

    /// All sessions, oldest first.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionSummary> {
        Vec::new()
    }

    /// One session in full.
    #[must_use]
    pub fn stats(&self, _id: &str) -> Option<SessionStats> {
        None
    }

    /// Everything measured since the process began, ended sessions included.
    #[must_use]
    pub fn totals(&self) -> MeterReport {
        MeterReport::default()
    }

    /// How large it is.
    #[must_use]
    pub fn config(&self) -> StudioConfig {
        self.config
    }

    /// Names and titles of the avatars, the default first.
    #[must_use]
    pub fn avatars(&self) -> Vec<AvatarCard> {
        Vec::new()
    }

    /// A PNG-free still for lists: the avatar at rest, `side_px` square, as RGBA rows.
    #[must_use]
    pub fn still(&self, _avatar: &str, _side_px: u32) -> Option<Vec<u8>> {
        None
    }

    /// Admits nobody from now on and ends every session.
    pub fn close(&self) {}
}

/// An avatar as lists show it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct AvatarCard {
    /// The name in requests.
    pub name: String,
    /// The name for people.
    pub title: String,
    /// `drawn` or `head`.
    pub kind: String,
    /// Background on light pages, `#rrggbb`.
    pub background_light: String,
    /// Background on dark pages, `#rrggbb`.
    pub background_dark: String,
}
