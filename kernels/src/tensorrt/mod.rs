//! TensorRT, loaded when it is asked for: graphs become engines. Either flavour, as the program was built.
//!
//! Decides which library is taken and what is told of its complaints. Where libraries may lie is found by `visage_engines`.

mod compiler;
mod library;
mod talk;

use visage_engines::Flavour;

pub use library::{LibraryError, TensorRt};

#[cfg(all(feature = "tensorrt-rtx", feature = "tensorrt"))]
compile_error!("the features tensorrt-rtx and tensorrt exclude each other: choose the one for your cards");

/// The flavour that this program was built for.
pub const FLAVOUR: Flavour = if cfg!(feature = "tensorrt") { Flavour::Classic } else { Flavour::Rtx };

#[cfg(test)]
mod tests;
