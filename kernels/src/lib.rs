//! What only unsafe or foreign code can do: ask graphics cards and NVIDIA's libraries, limit the allocator, set raw options of codec libraries, reckon with pixels in vectors.
//!
//! The only package that may hold unsafe code; what it gives away is safe.

#![warn(missing_docs)]

mod cards;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod disk;
#[cfg(feature = "h264")]
pub mod h264;
pub mod inventory;
#[cfg(feature = "cuda")]
mod launch;
pub mod libraries;
pub mod memory;
#[cfg(feature = "cuda")]
pub mod nvrtc;
pub mod pixels;
pub mod tensorrt;
pub mod twins;
#[cfg(feature = "vp8")]
pub mod vp8;
pub mod watch;

pub use cards::{Card, find_cards};
#[cfg(feature = "cuda")]
pub use launch::{Kernels, LaunchError};
