//! The JSON file beside an engine: its key, the cost of its build, and digests that identify it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Digest, EngineKey};

/// The cost of a build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Built {
    /// Seconds from the start to the engine's last byte.
    pub seconds: f64,
    /// Peak memory of the building process, where it is known.
    pub peak_memory_bytes: Option<u64>,
    /// GPU memory that a step needs besides the weights, where the library reports it.
    pub activation_bytes: Option<u64>,
}

/// The JSON file beside an engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sidecar {
    /// What the engine is made from.
    pub key: EngineKey,
    /// Digest of the whole engine.
    pub sha256: Digest,
    /// Digest of samples of the engine: see [`sample_digest`].
    pub samples: Digest,
    /// The engine's size.
    pub size_bytes: u64,
    /// The cost of its build.
    pub built: Built,
}

impl Sidecar {
    /// Describes the finished engine at `path`, which is read completely.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn of(path: &Path, key: EngineKey, built: Built) -> io::Result<Self> {
        let (sha256, size_bytes) = Digest::of_reader(&mut File::open(path)?)?;
        Ok(Self { key, sha256, samples: sample_digest(path)?, size_bytes, built })
    }
}

const SAMPLE_BYTES: u64 = 4096;
const SAMPLES: u64 = 64;

/// A digest of the size and of 64 pages spread over the file, the first and the last among them: at most 256 kB are read,
/// whatever the size. It detects truncation, another engine and a file that was never written out; a flipped bit between
/// the samples is detected only by the full digest.
///
/// # Errors
/// If the file cannot be read.
pub fn sample_digest(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let last = size.saturating_sub(SAMPLE_BYTES);
    let mut bytes = size.to_le_bytes().to_vec();
    for n in 0..SAMPLES {
        file.seek(SeekFrom::Start(last * n / (SAMPLES - 1)))?;
        (&mut file).take(SAMPLE_BYTES).read_to_end(&mut bytes)?;
    }
    Ok(Digest::of(&bytes))
}
