//! NVRTC, NVIDIA's compiler as a library, loaded when it is asked for: sources become cubins, for any card, with none here.
//!
//! Decides the compiler options, and caches what was compiled. Needs no header and no toolkit.

mod cubin;
mod error;
mod library;
mod sys;

use visage_engines::cubins::{Cubins, FoundCubin, KernelKey, StoredCubin};
use visage_engines::{Sm, Version};

pub use cubin::{Cubin, card_of};
pub use error::{CompileError, NvrtcError};
pub use library::Nvrtc;

use crate::reference::Source;

/// Options besides the architecture. Without FMA contraction a kernel computes the same as its CPU reference.
const FLAGS: [&str; 2] = ["--fmad=false", "--std=c++17"];

/// A cubin and how it was come by.
#[derive(Clone, Debug, PartialEq)]
pub struct Obtained {
    /// The cubin.
    pub cubin: Cubin,
    /// What describes it in the cache.
    pub stored: StoredCubin,
    /// Whether it was compiled just now.
    pub was_compiled: bool,
    /// What was wrong with the one that it takes the place of.
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
/// If it cannot be compiled or kept.
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

/// The cubin of a source for cards that the cache has, whichever version of NVRTC made it.
#[must_use]
pub fn kept(source: Source, sm: Sm, cubins: &Cubins) -> Option<Cubin> {
    let stored = cubins.find_of_any_version(&key(source, sm, Version::two(0, 0)))?;
    Cubin::of(source, sm, stored.bytes).ok()
}

/// The cubins of all sources for cards. Without a compiler those serve that were compiled ahead, by whichever version.
///
/// # Errors
/// As [`obtain`], or with why there is no compiler if it is needed.
pub fn obtain_all(
    sm: Sm,
    load: impl FnOnce() -> Result<Nvrtc, NvrtcError>,
    cubins: &Cubins,
) -> Result<Vec<Cubin>, CompileError> {
    let mut load = Some(load);
    let mut nvrtc = None;
    let mut all = Vec::new();
    for source in Source::ALL {
        // Nothing of 100 megabytes is loaded to find that it is not needed.
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
