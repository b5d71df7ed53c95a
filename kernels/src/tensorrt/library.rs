//! The two libraries of TensorRT: found, asked for their version, kept for as long as the program runs.

use std::ffi::c_int;
use std::path::{Path, PathBuf};

use libloading::{Library, Symbol};
use thiserror::Error;
use visage_engines::places::{Place, Searched};
use visage_engines::{Flavour, Version};

use super::FLAVOUR;

/// The libraries' names by flavour, newest first: the engine builder's and the ONNX parser's.
const NAMES: [&str; 2] = match FLAVOUR {
    Flavour::Rtx => ["libtensorrt_rtx.so.1", "libtensorrt_onnxparser_rtx.so.1"],
    Flavour::Classic => ["libnvinfer.so.11", "libnvonnxparser.so.11"],
};

/// The version whose headers the bindings were made from; another minor one has other tables of functions.
const MADE_FOR: Version = match FLAVOUR {
    Flavour::Rtx => Version::two(1, 7),
    Flavour::Classic => Version::two(11, 4),
};

/// What to type to have it.
const INSTALL: &str = match FLAVOUR {
    Flavour::Rtx => "pip install tensorrt-rtx-cu13-libs==1.7.1.116, or give the folder with --tensorrt-lib",
    Flavour::Classic => "install TensorRT 11.4 as NVIDIA describes, or give the folder with --tensorrt-lib",
};

/// Why there is no TensorRT.
#[derive(Debug, Error)]
pub enum LibraryError {
    /// It was nowhere.
    #[error("wanted {} of {FLAVOUR} {MADE_FOR}, looked in: {}; {INSTALL}", NAMES[0], searched.join("; "))]
    Missing {
        /// Where it was looked for and what was there.
        searched: Vec<String>,
    },
    /// It is another version.
    #[error("wanted {FLAVOUR} {MADE_FOR}, found {found}: {}; {INSTALL}", path.display())]
    Version {
        /// What it says.
        found: Version,
        /// Which file.
        path: PathBuf,
    },
    /// It does not say which version it is.
    #[error("wanted a library of {FLAVOUR}, found {found}: {}; {INSTALL}", path.display())]
    Foreign {
        /// What was wrong.
        found: String,
        /// Which file.
        path: PathBuf,
    },
}

/// TensorRT, ready to compile.
#[derive(Debug)]
pub struct TensorRt {
    pub(super) version: Version,
    path: PathBuf,
}

impl TensorRt {
    /// Loads the first library of the right version among `places`, and its ONNX parser from the same folder.
    ///
    /// # Errors
    /// With all that was searched if there is none; with the version if the first that loads is another.
    pub fn load(places: &[Place]) -> Result<Self, LibraryError> {
        let mut searched = Vec::new();
        for place in places {
            match place.holds(NAMES[0]) {
                Searched::Nothing(said) => searched.push(said),
                Searched::Found(path) => match open(&path) {
                    Ok(version) => return Self::keep(path, version),
                    Err(Refused::NotLoaded(said)) => searched.push(said),
                    Err(Refused::Wrong(error)) => return Err(error),
                },
            }
        }
        Err(LibraryError::Missing { searched })
    }

    /// The library's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn keep(path: PathBuf, version: Version) -> Result<Self, LibraryError> {
        let foreign = |error: trtx::Error| LibraryError::Foreign { found: error.to_string(), path: path.clone() };
        let parser = path.with_file_name(NAMES[1]);
        trtx::dynamically_load_tensorrt(Some(&path)).map_err(foreign)?;
        trtx::dynamically_load_tensorrt_onnxparser(Some(&parser)).map_err(foreign)?;
        Ok(Self { version, path })
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
    let library = library.map_err(|error| Refused::NotLoaded(format!("{}: {error}", path.display())))?;
    let found = version_of(&library);
    let found = found.map_err(|found| Refused::Wrong(LibraryError::Foreign { found, path: path.to_owned() }))?;
    if (found.major(), found.minor()) == (MADE_FOR.major(), MADE_FOR.minor()) {
        return Ok(found);
    }
    Err(Refused::Wrong(LibraryError::Version { found, path: path.to_owned() }))
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
