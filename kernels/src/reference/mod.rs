//! The CUDA kernels, each with a reference implementation in safe Rust that computes the same on any machine.
//!
//! Decides what the kernels compute and over which sizes. The reference implementation verifies a kernel on a GPU
//! (`visage kernels check`), stands in for it in the stub driver, and runs in its place on the CPU backend's queue. Images
//! are planar RGB in [-1, 1], as networks output them.

mod arguments;
pub mod check;
mod colour;
mod launch;
mod mel;
mod paste;
mod pcm;
mod resize;
mod sampler;
mod source;

pub use colour::{FloatType, Layout, Range, Standard, ToYuv};
pub use launch::{HostBuffer, Kernel, KernelBuffer, Launch, Reference, Scalar, SizeError};
pub use mel::{Bands, ClampRange, MaxReduce, Mel, MelScale, MelTables, Power};
pub use paste::Paste;
pub use pcm::PcmToF32;
pub use resize::{Filter, Resize};
pub use sampler::{Guidance, GuidedEuler, Window, WindowInput, sigmas, timestep};
pub use source::Source;

/// All kernels, in the order of their sources.
pub fn kernels() -> impl Iterator<Item = &'static Kernel> {
    [colour::KERNELS, resize::KERNELS, paste::KERNELS, mel::KERNELS, sampler::KERNELS, pcm::KERNELS]
        .into_iter()
        .flatten()
}
