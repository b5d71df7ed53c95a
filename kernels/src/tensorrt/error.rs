//! Why there is no TensorRT, and what to do about it.

use std::path::PathBuf;

use thiserror::Error;
use visage_engines::{Flavour, Version};

use super::FLAVOUR;

/// The libraries' names by flavour, newest first: the engine builder's and the ONNX parser's.
pub const NAMES: [&str; 2] = match FLAVOUR {
    Flavour::Rtx => ["libtensorrt_rtx.so.1", "libtensorrt_onnxparser_rtx.so.1"],
    Flavour::Classic => ["libnvinfer.so.11", "libnvonnxparser.so.11"],
};

/// The version whose headers the bindings were made from; another minor one has other tables of functions.
pub const MADE_FOR: Version = match FLAVOUR {
    Flavour::Rtx => Version::two(1, 7),
    Flavour::Classic => Version::two(11, 4),
};

/// What to type to have it.
const INSTALL: &str = match FLAVOUR {
    Flavour::Rtx => {
        "pip install tensorrt-rtx-cu13-libs==1.7.1.116, or give the folder that it is in with --tensorrt-lib"
    }
    Flavour::Classic => {
        "pip install tensorrt-cu13-libs==11.4.0.106, or as NVIDIA describes; or give the folder that it is in with --tensorrt-lib"
    }
};

/// Why there is no TensorRT.
#[derive(Debug, Error)]
pub enum LibraryError {
    /// The program was built without it.
    #[error("wanted {FLAVOUR}, this program was built without it")]
    NotBuilt,
    /// It was nowhere.
    #[error("wanted {} of {FLAVOUR} {MADE_FOR}, looked in: {}", NAMES[0], searched.join("; "))]
    Missing {
        /// Where it was looked for and what was there.
        searched: Vec<String>,
    },
    /// It is another version.
    #[error("wanted {FLAVOUR} {MADE_FOR}, found {found}: {}", path.display())]
    Version {
        /// What it says.
        found: Version,
        /// Which file.
        path: PathBuf,
    },
    /// It does not say which version it is.
    #[error("wanted a library of {FLAVOUR}, found {found}: {}", path.display())]
    Foreign {
        /// What was wrong.
        found: String,
        /// Which file.
        path: PathBuf,
    },
}

impl LibraryError {
    /// What to type next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotBuilt => "cargo build --release --features tensorrt-rtx (or tensorrt, for data-centre cards)",
            _ => INSTALL,
        }
    }
}
