//! TensorRT, loaded on demand: compiles graphs to engines and runs engines. One flavour per build of the program, or none.
//!
//! Decides which library is used and which errors are reported. `visage_engines` decides where libraries are searched for.

mod error;

#[cfg(any(feature = "tensorrt-rtx", feature = "tensorrt"))]
mod compiler;
#[cfg(any(feature = "tensorrt-rtx", feature = "tensorrt"))]
mod contexts;
#[cfg(any(feature = "tensorrt-rtx", feature = "tensorrt"))]
mod library;
#[cfg(any(feature = "tensorrt-rtx", feature = "tensorrt"))]
mod logger;
#[cfg(any(feature = "tensorrt-rtx", feature = "tensorrt"))]
mod mmap;
#[cfg(any(feature = "tensorrt-rtx", feature = "tensorrt"))]
mod runtime;

use visage_engines::Flavour;
use visage_engines::compile::Compiler;
use visage_engines::search_paths::Place;

pub use error::{LibraryError, MADE_FOR, NAMES};
#[cfg(any(feature = "tensorrt-rtx", feature = "tensorrt"))]
use library::TensorRt;
#[cfg(any(feature = "tensorrt-rtx", feature = "tensorrt"))]
pub use runtime::BuiltEngines;

#[cfg(all(feature = "tensorrt-rtx", feature = "tensorrt"))]
compile_error!("the features tensorrt-rtx and tensorrt exclude each other: choose the one for your GPUs");

/// The flavour that this program was built for, or would be.
pub const FLAVOUR: Flavour = if cfg!(feature = "tensorrt") { Flavour::Classic } else { Flavour::Rtx };

/// Whether this program was built with it.
pub const IS_BUILT: bool = cfg!(any(feature = "tensorrt-rtx", feature = "tensorrt"));

/// The folder of the libraries within their Python package.
pub const PYTHON_PACKAGE: &str = match FLAVOUR {
    Flavour::Rtx => "tensorrt_rtx_libs",
    Flavour::Classic => "tensorrt_libs",
};

/// Loads the first library of the right version among `places`.
///
/// # Errors
/// With all places searched if there is none; with the version if only other versions were found; if the program was built
/// without TensorRT.
#[cfg(any(feature = "tensorrt-rtx", feature = "tensorrt"))]
pub fn load(places: &[Place]) -> Result<Box<dyn Compiler>, LibraryError> {
    Ok(Box::new(TensorRt::load(places)?))
}

/// Reports that the program was built without TensorRT.
///
/// # Errors
/// Always.
#[cfg(not(any(feature = "tensorrt-rtx", feature = "tensorrt")))]
pub fn load(_places: &[Place]) -> Result<Box<dyn Compiler>, LibraryError> {
    Err(LibraryError::NotBuilt)
}

#[cfg(all(test, any(feature = "tensorrt-rtx", feature = "tensorrt")))]
mod tests;
