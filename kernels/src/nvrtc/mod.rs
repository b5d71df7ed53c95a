//! NVRTC, NVIDIA's run-time compiler, loaded on demand: compiles sources to cubins for any GPU, without one in the machine.
//!
//! Decides the compiler options, and caches the results. Needs no headers and no toolkit.

mod cubin;
mod error;
mod library;
mod sys;

use visage_engines::cubins::{Cubins, FoundCubin, KernelKey, StoredCubin};
use visage_engines::{Sm, Version};

pub use cubin::{Cubin, sm_of};
pub use error::{CompileError, NvrtcError};
pub use library::Nvrtc;

use crate::reference::Source;

/// Options besides the architecture. Without FMA contraction a kernel computes the same as its CPU reference.
const FLAGS: [&str; 2] = ["--fmad=false", "--std=c++17"];

/// A cubin and its origin.
#[derive(Clone, Debug, PartialEq)]
pub struct Obtained {
    /// The cubin.
    pub cubin: Cubin,
    /// Its entry in the cache.
    pub stored: StoredCubin,
    /// Whether it was compiled by this call.
    pub was_compiled: bool,
    /// The damage of the entry that it replaced.
    pub damage: Option<String>,
}

/// The key of a source's cubin.
#[must_use]
pub fn key(source: Source, sm: Sm, version: Version) -> KernelKey {
    let flags = FLAGS.map(str::to_owned).into();
    KernelKey { source: source.name().to_owned(), text: source.digest(), sm, version, flags }
}

/// The cubin of a source for an SM: from the cache, or compiled and stored there. A damaged one is compiled again.
///
/// # Errors
/// If it cannot be compiled or stored.
pub fn obtain(source: Source, sm: Sm, nvrtc: &Nvrtc, cubins: &Cubins) -> Result<Obtained, CompileError> {
    let key = key(source, sm, nvrtc.version());
    let looked = |bytes: &[u8]| Cubin::of(source, sm, bytes.to_vec());
    let damage = match cubins.find(&key) {
        FoundCubin::Nothing => None,
        FoundCubin::Damaged(damage) => Some(damage),
        FoundCubin::Whole(stored) => match looked(&stored.bytes) {
            Ok(cubin) => return Ok(Obtained { cubin, stored: *stored, was_compiled: false, damage: None }),
            Err(found) => Some(found),
        },
    };
    let bytes = nvrtc.compile(source, sm)?;
    let foreign = |found| CompileError::Cubin { name: source.name(), wanted: sm, found };
    let cubin = looked(&bytes).map_err(foreign)?;
    let stored = cubins.put(&key, &bytes)?;
    Ok(Obtained { cubin, stored, was_compiled: true, damage })
}

/// The cached cubin of a source for an SM, compiled by any version of NVRTC.
#[must_use]
pub fn kept(source: Source, sm: Sm, cubins: &Cubins) -> Option<Cubin> {
    let stored = cubins.find_of_any_version(&key(source, sm, Version::two(0, 0)))?;
    Cubin::of(source, sm, stored.bytes).ok()
}

/// The cubins of all sources for an SM. Without a compiler, cubins compiled earlier by any version are used.
///
/// # Errors
/// As [`obtain`], or with the reason why there is no compiler if one is needed.
pub fn obtain_all(
    sm: Sm,
    load: impl FnOnce() -> Result<Nvrtc, NvrtcError>,
    cubins: &Cubins,
) -> Result<Vec<Cubin>, CompileError> {
    let mut load = Some(load);
    let mut nvrtc = None;
    let mut all = Vec::new();
    for source in Source::ALL {
        // NVRTC has 100 MB: it is loaded only if it is needed.
        if let Some(cubin) = kept(source, sm, cubins) {
            all.push(cubin);
            continue;
        }
        if let Some(load) = load.take() {
            let missing = |error| CompileError::NoCompiler {
                name: source.name(),
                sm,
                folder: cubins.folder().to_owned(),
                source: error,
            };
            nvrtc = Some(load().map_err(missing)?);
        }
        if let Some(nvrtc) = &nvrtc {
            all.push(obtain(source, sm, nvrtc, cubins)?.cubin);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
