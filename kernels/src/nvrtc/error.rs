//! Errors of NVRTC and of compiling kernels, with what to do.

use std::path::PathBuf;

use thiserror::Error;
use visage_engines::cache::CacheError;
use visage_engines::{Sm, Version, listed};

use crate::libraries::NVRTC;

/// How to install it.
const INSTALL: &str = "pip install nvidia-cuda-nvrtc-cu12, or CUDA's toolkit 12 or 13, or give the library or its folder with --nvrtc-lib";

/// Why NVRTC is not available.
#[derive(Debug, Error)]
pub enum NvrtcError {
    /// It was not found.
    #[error("wanted {}, searched: {}; {INSTALL}", NVRTC[..2].join(" or "), searched.join("; "))]
    Missing {
        /// The places searched and what was there.
        searched: Vec<String>,
    },
    /// It is too old, or newer than supported.
    #[error("wanted NVRTC 12 or 13, found {found}: {}; {INSTALL}", path.display())]
    Version {
        /// Its version.
        found: Version,
        /// Its file.
        path: PathBuf,
    },
    /// It is another library.
    #[error("wanted NVRTC, found a library without {call}: {}; {INSTALL}", path.display())]
    Foreign {
        /// The missing function.
        call: &'static str,
        /// Its file.
        path: PathBuf,
    },
}

/// Why a kernel is not available.
#[derive(Debug, Error)]
pub enum CompileError {
    /// The compiler does not support the GPUs.
    #[error("wanted kernels for {sm}, found NVRTC {version}, which compiles for {}", listed(knows))]
    UnknownSm {
        /// The compute capability.
        sm: Sm,
        /// The compiler's version.
        version: Version,
        /// The supported compute capabilities.
        knows: Vec<Sm>,
    },
    /// The compiler rejected the source.
    #[error("NVRTC {version} cannot compile {name}.cu for {sm}: {said}")]
    Source {
        /// The source.
        name: &'static str,
        /// The compute capability.
        sm: Sm,
        /// The compiler's version.
        version: Version,
        /// Its message.
        said: String,
    },
    /// The result is not a cubin for these GPUs.
    #[error("wanted a cubin of {name}.cu for {wanted}, found {found}")]
    Cubin {
        /// The source.
        name: &'static str,
        /// The compute capability.
        wanted: Sm,
        /// What the result is.
        found: String,
    },
    /// The cache has none, and there is no compiler.
    #[error("wanted a cubin of {name}.cu for {sm}, found none in {}, and {source}", folder.display())]
    NoCompiler {
        /// The source.
        name: &'static str,
        /// The compute capability.
        sm: Sm,
        /// The folder of the cache.
        folder: PathBuf,
        /// Why there is no compiler.
        source: NvrtcError,
    },
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
}
