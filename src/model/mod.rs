//! Packs made runnable: what a session needs to turn a voice into pictures.
//!
//! Decides the contract between a running show and whatever draws its face. Does not know threads, codecs or networks.

pub mod portrait;

use serde::Serialize;
use thiserror::Error;

use crate::gpu_load::{DeviceCounts, GpuRequirement};
use crate::media::{PcmBlock, VideoFrame};
use crate::telemetry::Marks;
use crate::time::{SampleIndex, Wall};

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

/// One avatar at work in one session: hears the line block by block, shows a picture for a moment of it.
pub trait Animator: Send {
    /// How much of the line after a moment must be heard before that moment can be shown.
    fn look_ahead_samples(&self) -> u64;

    /// Hears the 20 ms of the line that begin at `at`. Blocks come without gaps.
    ///
    /// # Errors
    /// If the network fails. The actor can go on with the next block, but not after [`ModelError::Lost`].
    fn hear(&mut self, block: &PcmBlock, at: SampleIndex) -> Result<(), ModelError>;

    /// Draws the moment `at` into `picture`, stamping `Modelled` and `Drawn` and noting the step that
    /// a device timed. Moments never go back.
    fn show(&mut self, at: SampleIndex, picture: &mut VideoFrame, marks: &mut Marks, wall: Wall);

    /// Forgets the voice heard so far: what was being said is over, the mouth shuts.
    fn hush(&mut self);
}

/// A pack that can put actors on stage.
pub trait Pack: Send + Sync {
    /// The pack's name.
    fn name(&self) -> &str;

    /// Its avatars, the default first.
    fn avatars(&self) -> &[AvatarInfo];

    /// Whether a new session could be given an actor now.
    ///
    /// # Errors
    /// With [`ModelError::Lost`] if the engine is being opened anew, is short of memory, or is gone.
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

    /// An actor for one session, drawing squares of `side_px` pixels.
    ///
    /// # Errors
    /// If there is no such avatar, or its files are damaged.
    fn actor(&self, avatar: &str, side_px: u32) -> Result<Box<dyn Animator>, ModelError>;

    /// The avatar at rest.
    ///
    /// # Errors
    /// As for [`Pack::actor`].
    fn still(&self, avatar: &str, side_px: u32) -> Result<Still, ModelError>;
}
