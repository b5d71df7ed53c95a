//! bench: measures the whole path from voice to face with synthetic callers over real UDP.
//!
//! Decides what is measured and how it is said. Does not parse flags or print: `cli` does. It uses the Opus library and
//! the `webrtc` stack directly, not through `codec` and `rtc`: what measures shares nothing with what is measured.

mod caller;
mod marker;
mod server;
mod tape;
mod voice;

pub use server::Target;
use thiserror::Error;

/// Why nothing was measured.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The server did not start or answer.
    #[error("wanted a server that answers, found: {found}")]
    NoServer {
        /// What was found.
        found: String,
    },
    /// The server said no.
    #[error("wanted {path} to succeed, found status {status}: {found}")]
    Refused {
        /// What was asked.
        path: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        found: String,
    },
    /// A call did not come to stand.
    #[error("wanted a call that stands, found: {found}")]
    NoCall {
        /// What was found.
        found: String,
    },
    /// The voice could not be encoded or decoded.
    #[error("wanted to encode and decode the voice: {0}")]
    Opus(#[from] opus::Error),
    /// A file could not be read or written.
    #[error("wanted to use {path}, found: {found}")]
    File {
        /// The file.
        path: String,
        /// What was found.
        found: String,
    },
    /// No frame came back.
    #[error("wanted frames, found none after {seconds} s")]
    NoFrames {
        /// Length of the run.
        seconds: f64,
    },
}
