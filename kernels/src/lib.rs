//! What only unsafe or foreign code can do: ask graphics cards, limit the allocator, set raw options of codec libraries, reckon with pixels in vectors.
//!
//! The only package that may hold unsafe code; what it gives away is safe.

#![warn(missing_docs)]

mod cards;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod h264;
#[cfg(feature = "cuda")]
mod launch;
pub mod memory;
#[cfg(feature = "cuda")]
pub mod nvrtc;
pub mod pixels;
pub mod tensorrt;
pub mod twins;
#[cfg(feature = "vp8")]
pub mod vp8;

pub use cards::{Card, find_cards};
#[cfg(feature = "cuda")]
pub use launch::{Kernels, LaunchError};
