//! Congestion control of one peer: what its path carries, and what the encoders and the pacer do about it.
//!
//! State machines only: packets, feedback and time are passed in. `docs/congestion-control.md` explains the design.

mod bitrate_allocator;
mod bwe_guard;
mod controller;
mod nack;
mod twcc_history;

pub use bitrate_allocator::BITRATE_BPS;
pub use controller::CongestionController;
