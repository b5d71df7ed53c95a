//! Kernels for the card, each with a twin in safe Rust that reckons the same on any machine.
//!
//! Decides what they reckon and over which sizes. A twin is what a kernel is held to, what stands in for it where there is no
//! card, and nothing that a show runs on. Pictures are planar RGB in [-1, 1], as networks give them.

pub mod check;
mod colour;
mod half;
mod launch;
mod mel;
mod paste;
mod resize;
mod sampler;
mod sound;
mod source;

pub use colour::{Depth, Layout, Range, Standard, ToYuv};
pub use half::{Element, Half, Plain, Real};
pub use launch::{HostBuffer, Kernel, Launch, Number, Place, Reference, SizeError};
pub use mel::{Bands, Loudest, Mel, MelScale, MelTables, Power, Span};
pub use paste::Paste;
pub use resize::{Filter, Resize};
pub use sampler::{Guidance, GuidedEuler, Window, WindowInput, noise_levels, timestep};
pub use sound::PcmToF32;
pub use source::Source;

/// All kernels, in the order of their sources.
pub fn kernels() -> impl Iterator<Item = &'static Kernel> {
    [colour::KERNELS, resize::KERNELS, paste::KERNELS, mel::KERNELS, sampler::KERNELS, sound::KERNELS]
        .into_iter()
        .flatten()
}
