//! Why there is no compiler for kernels, or no kernel, and what to do about it.

use std::path::PathBuf;

use thiserror::Error;
use visage_engines::cache::CacheError;
use visage_engines::{Sm, Version, listed};

use crate::libraries::NVRTC;

/// What to type to have it.
const INSTALL: &str = "pip install nvidia-cuda-nvrtc-cu12, or CUDA's toolkit 12 or 13, or give the library or its folder with --nvrtc-lib";

/// Why there is no NVRTC.
#[derive(Debug, Error)]
pub enum NvrtcError {
    /// It was nowhere.
    #[error("wanted {}, looked in: {}; {INSTALL}", NVRTC[..2].join(" or "), searched.join("; "))]
    Missing {
        /// Where it was looked for and what was there.
        searched: Vec<String>,
    },
    /// It is too old, or newer than what is known.
    #[error("wanted NVRTC 12 or 13, found {found}: {}; {INSTALL}", path.display())]
    Version {
        /// What it says.
        found: Version,
        /// Which file.
        path: PathBuf,
    },
    /// It is another library.
    #[error("wanted NVRTC, found a library without {call}: {}; {INSTALL}", path.display())]
    Foreign {
        /// What it lacks.
        call: &'static str,
        /// Which file.
        path: PathBuf,
    },
}

/// Why there is no kernel.
#[derive(Debug, Error)]
pub enum CompileError {
    /// The compiler does not know the cards.
    #[error("wanted kernels for {sm}, found NVRTC {version}, which compiles for {}", listed(knows))]
    UnknownSm {
        /// The cards.
        sm: Sm,
        /// The compiler.
        version: Version,
        /// What it knows.
        knows: Vec<Sm>,
    },
    /// The source is wrong, or the compiler.
    #[error("NVRTC {version} did not compile {name}.cu for {sm}: {said}")]
    Source {
        /// Which source.
        name: &'static str,
        /// For which cards.
        sm: Sm,
        /// The compiler.
        version: Version,
        /// What it said.
        said: String,
    },
    /// What it made is no kernel for these cards.
    #[error("wanted a cubin of {name}.cu for {wanted}, found {found}")]
    Cubin {
        /// Which source.
        name: &'static str,
        /// For which cards.
        wanted: Sm,
        /// What it is.
        found: String,
    },
    /// There is none in the cache, and nothing to make one with.
    #[error("wanted a cubin of {name}.cu for {sm}, found none in {}, and {source}", folder.display())]
    NoCompiler {
        /// Which source.
        name: &'static str,
        /// For which cards.
        sm: Sm,
        /// Where it was looked for.
        folder: PathBuf,
        /// Why it cannot be made.
        source: NvrtcError,
    },
    /// The cache's files.
    #[error(transparent)]
    Cache(#[from] CacheError),
}
