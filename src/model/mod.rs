//! Packs made runnable: what a session needs to turn audio into frames.
//!
//! Decides the contract between sessions, packs and avatars. Knows no threads, codecs or networks.

mod animator;
pub mod portrait;

use serde::Serialize;
use thiserror::Error;

pub use animator::{Animator, Cadence, FramePoll};

use crate::gpu_load::{DeviceCounts, GpuRequirement};

/// An avatar as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AvatarInfo {
    /// The name in requests.
    pub name: String,
    /// The name for people.
    pub title: String,
    /// `drawn` or `head`.
    pub kind: String,
    /// The wall behind it, `#rrggbb`.
    #[serde(rename = "background_color")]
    pub background: String,
}

/// Why an avatar or its pack cannot be used.
#[derive(Debug, Error)]
pub enum ModelError {
    /// No avatar of that name.
    #[error("wanted an avatar called \"{name}\", there are: {known}")]
    UnknownAvatar {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// Its files are damaged or missing.
    #[error("wanted \"{name}\" to load, found: {found}")]
    Broken {
        /// The avatar or graph.
        name: String,
        /// What was wrong.
        found: String,
    },
    /// Every place on a network is taken.
    #[error("wanted a place on the network of \"{name}\", all {places} are taken")]
    NoPlace {
        /// The graph.
        name: &'static str,
        /// How many there are.
        places: usize,
    },
    /// The engine lost what the session had on it, or takes no new session: there is no going on.
    #[error("the engine of \"{name}\": {found}")]
    Lost {
        /// The graph.
        name: &'static str,
        /// What happened.
        found: String,
    },
    /// A step of the network failed.
    #[error("the network of \"{name}\" did not run: {found}")]
    Failed {
        /// The graph.
        name: &'static str,
        /// What it said.
        found: String,
    },
}

/// An RGBA still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Still {
    /// Width and height in pixels.
    pub side_px: u32,
    /// Rows of red, green, blue, alpha.
    pub rgba: Vec<u8>,
}

/// A pack of avatars.
pub trait Pack: Send + Sync {
    /// The pack's name.
    fn name(&self) -> &str;

    /// Its avatars, the default first.
    fn avatars(&self) -> &[AvatarInfo];

    /// Whether a new session could be given an animator now.
    ///
    /// # Errors
    /// With [`ModelError::Lost`] if the device is being recovered, is out of memory, or is gone.
    fn takes_sessions(&self) -> Result<(), ModelError> {
        Ok(())
    }

    /// The graphics card that its sessions need; none where they draw on the processor.
    fn card(&self) -> Option<GpuRequirement> {
        None
    }

    /// What its card did so far; none where it needs no card.
    fn work(&self) -> Option<DeviceCounts> {
        None
    }

    /// An animator for one session, whose frames are squares of `side_px` pixels.
    ///
    /// # Errors
    /// If there is no such avatar, or its files are damaged.
    fn animator(&self, avatar: &str, side_px: u32) -> Result<Box<dyn Animator>, ModelError>;

    /// The avatar at rest.
    ///
    /// # Errors
    /// As for [`Pack::animator`].
    fn still(&self, avatar: &str, side_px: u32) -> Result<Still, ModelError>;
}
