//! The two libraries of TensorRT: found, queried for their version, loaded until the process ends.

use std::path::Path;

use visage_engines::Version;
use visage_engines::search_paths::{Place, Searched};

use super::LibraryError;
use super::error::{MADE_FOR, NAMES};
use crate::libraries::{self, Silent};

/// TensorRT, ready to compile.
#[derive(Debug)]
pub(super) struct TensorRt {
    pub(super) version: Version,
}

impl TensorRt {
    /// Loads the first library of the right version among `places`, and its ONNX parser from the same folder.
    ///
    /// # Errors
    /// With all places searched if there is none; with the fault of the first if only wrong ones were found.
    pub(super) fn load(places: &[Place]) -> Result<Self, LibraryError> {
        let (mut searched, mut wrong) = (Vec::new(), None);
        for place in places {
            match place.holds(NAMES[0]) {
                Searched::Nothing(said) => searched.push(said),
                Searched::Found(path) => match open(&path) {
                    Ok(version) => return Self::keep(&path, version),
                    Err(Refused::NotLoaded(said)) => searched.push(format!("{place} ({said})")),
                    // A wrong version in the system does not hide the right one in a Python environment.
                    Err(Refused::Wrong(error)) => _ = wrong.get_or_insert(error),
                },
            }
        }
        Err(wrong.unwrap_or(LibraryError::Missing { searched }))
    }

    fn keep(path: &Path, version: Version) -> Result<Self, LibraryError> {
        let foreign = |path: &Path| {
            let path = path.to_owned();
            |error: trtx::Error| LibraryError::Foreign { found: error.to_string(), path }
        };
        let parser = path.with_file_name(NAMES[1]);
        trtx::dynamically_load_tensorrt(Some(path)).map_err(foreign(path))?;
        trtx::dynamically_load_tensorrt_onnxparser(Some(&parser)).map_err(foreign(&parser))?;
        Ok(Self { version })
    }
}

enum Refused {
    NotLoaded(String),
    Wrong(LibraryError),
}

/// The version of the library at `path`. In a known folder the parser must exist as well.
fn open(path: &Path) -> Result<Version, Refused> {
    let parser = path.with_file_name(NAMES[1]);
    if path.is_file() && !parser.is_file() {
        return Err(Refused::NotLoaded(format!("no {} in its folder", NAMES[1])));
    }
    let found = libraries::tensorrt(path).map_err(|silent| match silent {
        Silent::NotLoaded { said } => Refused::NotLoaded(said),
        Silent::Foreign { said } => Refused::Wrong(LibraryError::Foreign { found: said, path: path.to_owned() }),
    })?;
    if (found.major(), found.minor()) == (MADE_FOR.major(), MADE_FOR.minor()) {
        return Ok(found);
    }
    Err(Refused::Wrong(LibraryError::Version { found, path: path.to_owned() }))
}
