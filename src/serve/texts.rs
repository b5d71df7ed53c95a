//! Texts of errors in responses: visage's own words, without text of libraries or of the system.
//!
//! Such text goes to the log instead, because it contains file names, type names and memory addresses.

use crate::codec::audio_file::AudioFileError;
use crate::model::ModelError;
use crate::session::AdmitError;

/// Why a session was not admitted, or an avatar not swapped.
pub fn of_admission(error: &AdmitError) -> String {
    match error {
        AdmitError::BrokenAvatar { name, found } => {
            tracing::error!(avatar = %name, "cannot load the avatar: {found}");
            format!("the avatar \"{name}\" cannot be loaded")
        }
        AdmitError::EngineLost { found } => {
            tracing::warn!("no session is admitted: {found}");
            "the device that runs the avatars is not available at the moment".to_owned()
        }
        AdmitError::UnknownAvatar { known, .. } => unknown_avatar(known),
        own => own.to_string(),
    }
}

/// Does not repeat the requested name, which may be anything.
fn unknown_avatar(known: &str) -> String {
    format!("there is no such avatar; the avatars are: {known}")
}

/// Why an avatar cannot be shown.
pub fn of_model(error: &ModelError) -> String {
    if let ModelError::UnknownAvatar { known, .. } = error {
        return unknown_avatar(known);
    }
    tracing::error!("cannot show an avatar: {error}");
    "the avatar cannot be shown".to_owned()
}

/// Why audio cannot be spoken.
pub fn of_audio_file(error: &AudioFileError) -> String {
    match error {
        AudioFileError::Damaged { format, found } => {
            tracing::debug!(format, "an uploaded file is damaged: {found}");
            format!("wanted a complete {format} file, found a damaged one")
        }
        AudioFileError::Read { found } => {
            tracing::debug!("a body broke off: {found}");
            "the body is truncated".to_owned()
        }
        own => own.to_string(),
    }
}
