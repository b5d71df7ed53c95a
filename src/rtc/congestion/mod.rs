//! Congestion control of one peer: the capacity of its path, and the resulting targets of the encoders and the pacer.
//!
//! State machines only: packets, feedback and time are passed in. `docs/congestion-control.md` explains the design.

mod bitrate_allocator;
mod bwe_guard;
mod controller;
mod nack;
mod twcc_history;

pub use bitrate_allocator::BITRATE_BPS;
pub use controller::CongestionController;
