//! The two libraries of TensorRT: found, asked for their version, kept for as long as the program runs.

use std::error::Error;
use std::ffi::c_int;
use std::path::Path;

use libloading::{Library, Symbol};
use visage_engines::Version;
use visage_engines::places::{Place, Searched};

use super::LibraryError;
use super::error::{MADE_FOR, NAMES};

/// TensorRT, ready to compile.
#[derive(Debug)]
pub(super) struct TensorRt {
    pub(super) version: Version,
}

impl TensorRt {
    /// Loads the first library of the right version among `places`, and its ONNX parser from the same folder.
    ///
    /// # Errors
    /// With all that was searched if there is none; with the version if the first that loads is another.
    pub(super) fn load(places: &[Place]) -> Result<Self, LibraryError> {
        let mut searched = Vec::new();
        for place in places {
            match place.holds(NAMES[0]) {
                Searched::Nothing(said) => searched.push(said),
                Searched::Found(path) => match open(&path) {
                    Ok(version) => return Self::keep(&path, version),
                    Err(Refused::NotLoaded(said)) => searched.push(said),
                    Err(Refused::Wrong(error)) => return Err(error),
                },
            }
        }
        Err(LibraryError::Missing { searched })
    }

    fn keep(path: &Path, version: Version) -> Result<Self, LibraryError> {
        let foreign = |error: trtx::Error| LibraryError::Foreign { found: error.to_string(), path: path.to_owned() };
        let parser = path.with_file_name(NAMES[1]);
        trtx::dynamically_load_tensorrt(Some(path)).map_err(foreign)?;
        trtx::dynamically_load_tensorrt_onnxparser(Some(&parser)).map_err(foreign)?;
        Ok(Self { version })
    }
}

enum Refused {
    NotLoaded(String),
    Wrong(LibraryError),
}

/// Opens the library at `path` to ask for its version.
fn open(path: &Path) -> Result<Version, Refused> {
    // SAFETY: loading runs the library's initialisers. The user chose the path, or it lies where TensorRT is installed;
    // NVIDIA's libraries may be loaded from any thread.
    let library = unsafe { Library::new(path) };
    let library = library.map_err(|error| Refused::NotLoaded(format!("{} ({})", path.display(), innermost(&error))))?;
    let found = version_of(&library);
    let found = found.map_err(|found| Refused::Wrong(LibraryError::Foreign { found, path: path.to_owned() }))?;
    if (found.major(), found.minor()) == (MADE_FOR.major(), MADE_FOR.minor()) {
        return Ok(found);
    }
    Err(Refused::Wrong(LibraryError::Version { found, path: path.to_owned() }))
}

/// What the system's loader said: the library that opens libraries keeps it as a cause.
fn innermost(error: &(dyn Error + 'static)) -> String {
    std::iter::successors(Some(error), |&error| error.source()).last().map(ToString::to_string).unwrap_or_default()
}

fn version_of(library: &Library) -> Result<Version, String> {
    let number = |name: &str| -> Result<u32, String> {
        // SAFETY: NvInferRuntime.h declares each of these as `int32_t name() noexcept`.
        let ask: Symbol<unsafe extern "C" fn() -> c_int> =
            unsafe { library.get(name.as_bytes()) }.map_err(|_absent| format!("a library without {name}"))?;
        // SAFETY: the function takes nothing and only returns a constant.
        Ok(unsafe { ask() }.unsigned_abs())
    };
    let [major, minor, patch] = ["Major", "Minor", "Patch"].map(|part| number(&format!("getInferLib{part}Version")));
    Ok(Version::three(major?, minor?, patch?))
}
