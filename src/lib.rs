//! visage: live talking avatars in a browser. Speech comes in, lip-synced video of an avatar goes out.
//!
//! The rooms, lower floors first; a room names only rooms below it (`tests/architecture.rs` holds the table).

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod media;
pub mod telemetry;
pub mod time;

pub mod adapt;
pub mod audio;
pub mod face;
pub mod gpu_load;

pub mod backend;
pub mod codec;

pub mod model;

pub mod session;

pub mod api_client;
#[cfg(feature = "bench")]
pub mod bench;
pub mod cli;
pub mod doctor;
pub mod render;
pub mod rtc;
pub mod serve;
