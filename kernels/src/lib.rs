//! Everything that needs unsafe code or C libraries: NVIDIA GPUs, allocator limits, raw codec options, SIMD pixels.
//!
//! The only package with unsafe code; its public API is safe.

#![warn(missing_docs)]

#[cfg(feature = "cuda")]
pub mod cuda;
pub mod disk;
mod dtype;
pub mod gpu_watch;
mod gpus;
#[cfg(feature = "h264")]
pub mod h264;
#[cfg(feature = "cuda")]
mod launch;
pub mod libraries;
pub mod malloc;
pub mod nvml;
#[cfg(feature = "cuda")]
pub mod nvrtc;
pub mod open_files;
pub mod pixels;
pub mod reference;
pub mod sigpipe;
pub mod tensorrt;
#[cfg(feature = "vp8")]
pub mod vp8;

pub use dtype::{Elem, Half, Real};
pub use gpus::{Gpu, find_gpus};
#[cfg(feature = "cuda")]
pub use launch::{Kernels, LaunchError, Piece};
pub use visage_engines::DType;
