//! Loaded packs: what a session needs to turn audio into frames.
//!
//! Decides the contract between sessions, packs and avatars. Knows no threads, codecs or networks.

mod animator;
pub mod portrait;
mod store;

use std::sync::Arc;

use serde::Serialize;
use thiserror::Error;

pub use animator::{Animator, Cadence, FramePoll};
pub use store::{
    AvatarModel, AvatarOwner, AvatarSource, AvatarStatus, AvatarStore, CONCURRENT_LOADS, LoadAvatar, NewAvatar,
};
pub use visage_engines::AvatarKind;

use crate::gpu_load::{DeviceCounts, GpuRequirement};

/// An avatar as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AvatarInfo {
    /// The name in requests.
    pub name: String,
    /// The displayed name.
    pub title: String,
    /// How it is drawn.
    pub kind: AvatarKind,
    /// The colour behind it, `#rrggbb`.
    #[serde(rename = "background_color")]
    pub background: String,
}

/// Why an avatar or its pack cannot be used.
#[derive(Debug, Error)]
pub enum ModelError {
    /// There is no avatar of that name.
    #[error("wanted an avatar called \"{name}\", there are: {known}")]
    UnknownAvatar {
        /// The requested name.
        name: String,
        /// The available names.
        known: String,
    },
    /// Its files are damaged or missing.
    #[error("cannot load \"{name}\": {found}")]
    Broken {
        /// The avatar or graph.
        name: String,
        /// The error.
        found: String,
    },
    /// Too many callers wait for avatars to load.
    #[error("cannot load \"{name}\" now: {waiting} others wait for an avatar to load")]
    Busy {
        /// The avatar.
        name: String,
        /// Number of waiting callers.
        waiting: usize,
    },
    /// Every slot of a network is taken.
    #[error("the network \"{name}\" has no free slot: all {slots} are taken")]
    NoSlot {
        /// The graph.
        name: &'static str,
        /// Number of slots.
        slots: usize,
    },
    /// The device lost the session's state, or accepts no new session. The session cannot continue.
    #[error("the device of \"{name}\": {found}")]
    Lost {
        /// The graph.
        name: &'static str,
        /// What happened.
        found: String,
    },
    /// A step of the network failed.
    #[error("the network \"{name}\" failed: {found}")]
    Failed {
        /// The graph.
        name: &'static str,
        /// The error.
        found: String,
    },
}

/// A still image of an avatar, RGBA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Still {
    /// Width and height in pixels.
    pub side_px: u32,
    /// Rows of pixels: red, green, blue, alpha.
    pub rgba: Vec<u8>,
}

/// A pack of avatars.
pub trait Pack: Send + Sync {
    /// The pack's name.
    fn name(&self) -> &str;

    /// Its avatars as of now, the default first.
    fn avatars(&self) -> Arc<[AvatarInfo]>;

    /// Whether a new session could get an animator now.
    ///
    /// # Errors
    /// With [`ModelError::Lost`] if the device is being recovered, is out of memory, or is gone.
    fn check_ready(&self) -> Result<(), ModelError> {
        Ok(())
    }

    /// The GPU that its sessions use. `None` if they run on the CPU.
    fn gpu(&self) -> Option<GpuRequirement> {
        None
    }

    /// Counters of its GPU. `None` if it uses no GPU.
    fn device_counts(&self) -> Option<DeviceCounts> {
        None
    }

    /// An animator for one session, whose frames are squares of `side_px` pixels.
    ///
    /// # Errors
    /// If there is no such avatar, its files are damaged, or the network has no free slot.
    fn animator(&self, avatar: &str, side_px: u32) -> Result<Box<dyn Animator>, ModelError>;

    /// A still of the avatar at rest.
    ///
    /// # Errors
    /// As for [`Pack::animator`].
    fn still(&self, avatar: &str, side_px: u32) -> Result<Still, ModelError>;
}
