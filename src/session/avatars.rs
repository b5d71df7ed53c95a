//! Which avatar a request means, and an animator for it.
//!
//! Decides how errors of a pack are reported to the caller that requested a session.

use std::sync::Arc;

use super::admission::AdmitError;
use crate::model::{Animator, ModelError, Pack};

/// The avatars that sessions can show.
pub(super) struct Avatars(Arc<dyn Pack>);

impl Avatars {
    pub(super) fn new(pack: Arc<dyn Pack>) -> Self {
        Self(pack)
    }

    /// The pack behind them.
    pub(super) fn pack(&self) -> &dyn Pack {
        &*self.0
    }

    /// Why no session could get an animator now; `None` when one could.
    pub(super) fn refusal(&self) -> Option<AdmitError> {
        let error = self.0.check_ready().err()?;
        Some(AdmitError::EngineLost { found: error.to_string() })
    }

    /// The name of the avatar that `name` means: the default one for `None`.
    pub(super) fn resolve(&self, name: Option<&str>) -> Result<Arc<str>, AdmitError> {
        let avatars = self.0.avatars();
        let wanted = name.or_else(|| avatars.first().map(|avatar| avatar.name.as_str())).unwrap_or_default();
        if avatars.iter().any(|avatar| avatar.name == wanted) {
            return Ok(Arc::from(wanted));
        }
        let known = avatars.iter().map(|avatar| avatar.name.as_str()).collect::<Vec<_>>().join(", ");
        Err(AdmitError::UnknownAvatar { name: wanted.to_owned(), known })
    }

    /// An animator that draws squares of `side_px` pixels. Loads files on the caller's thread.
    pub(super) fn animator(&self, avatar: &str, side_px: u32) -> Result<Box<dyn Animator>, AdmitError> {
        self.0.animator(avatar, side_px).map_err(|error| match error {
            ModelError::UnknownAvatar { name, known } => AdmitError::UnknownAvatar { name, known },
            ModelError::NoSlot { slots, .. } => AdmitError::Full { limit: slots },
            ModelError::Lost { found, .. } => AdmitError::EngineLost { found },
            ModelError::Busy { waiting, .. } => AdmitError::AvatarsLoading { waiting },
            other => AdmitError::BrokenAvatar { name: avatar.to_owned(), found: other.to_string() },
        })
    }
}
