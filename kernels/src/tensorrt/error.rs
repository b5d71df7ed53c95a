//! Errors of loading TensorRT, with what to do.

use std::path::PathBuf;

use thiserror::Error;
use visage_engines::{Flavour, Version};

use super::FLAVOUR;

/// Library names by flavour: the builder's and the ONNX parser's.
pub const NAMES: [&str; 2] = match FLAVOUR {
    Flavour::Rtx => ["libtensorrt_rtx.so.1", "libtensorrt_onnxparser_rtx.so.1"],
    Flavour::Classic => ["libnvinfer.so.11", "libnvonnxparser.so.11"],
};

/// The version of the headers that the bindings were generated from; other minor versions have other vtables.
pub const MADE_FOR: Version = match FLAVOUR {
    Flavour::Rtx => Version::two(1, 7),
    Flavour::Classic => Version::two(11, 4),
};

/// How to install it.
const INSTALL: &str = match FLAVOUR {
    Flavour::Rtx => "pip install tensorrt-rtx-cu13-libs==1.7.1.116, or name its folder with --tensorrt-lib",
    Flavour::Classic => {
        "pip install tensorrt-cu13-libs==11.4.0.106, or NVIDIA's packages; or name its folder with --tensorrt-lib"
    }
};

/// Why TensorRT is not available.
#[derive(Debug, Error)]
pub enum LibraryError {
    /// The program was built without it.
    #[error("wanted {FLAVOUR}, this program was built without it")]
    NotBuilt,
    /// It was not found.
    #[error("wanted {} of {FLAVOUR} {MADE_FOR}, searched: {}", NAMES[0], searched.join("; "))]
    Missing {
        /// The places searched and what was there.
        searched: Vec<String>,
    },
    /// It is another version.
    #[error("wanted {FLAVOUR} {MADE_FOR}, found {found}: {}", path.display())]
    Version {
        /// Its version.
        found: Version,
        /// Its file.
        path: PathBuf,
    },
    /// It reports no version.
    #[error("wanted a library of {FLAVOUR}, found {found}: {}", path.display())]
    Foreign {
        /// What was wrong.
        found: String,
        /// Its file.
        path: PathBuf,
    },
}

impl LibraryError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotBuilt => "cargo build --release --features tensorrt-rtx (or tensorrt, for data-centre GPUs)",
            _ => INSTALL,
        }
    }
}
