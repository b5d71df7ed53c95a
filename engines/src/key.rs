//! The key of an engine: everything that it is built from. Engines with equal keys are interchangeable, others are not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Digest, Flavour, Sm, Version};

/// Lengths of a tensor's axes.
pub type Shape = Vec<u64>;

/// Everything that an engine is built from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineKey {
    /// The graph's name in its pack: `unet`.
    pub graph: String,
    /// Its shapes in short, for readers: `512x25`.
    pub shapes: String,
    /// Digest of the ONNX file.
    pub onnx: Digest,
    /// Digests of the files with its weights, by name.
    pub weights: BTreeMap<String, Digest>,
    /// The GPUs it is compiled for.
    pub sm: Sm,
    /// The compiler.
    pub flavour: Flavour,
    /// The compiler's exact version, including the build number: it refuses engines of any other version.
    pub version: Version,
    /// The number format that it computes with.
    pub precision: Precision,
    /// Ranges of its inputs' shapes. Empty if all shapes are fixed.
    pub profiles: Vec<Profile>,
    /// Digests of the plugins and kernels that it calls, by name.
    pub kernels: BTreeMap<String, Digest>,
    /// Builder flags that are set.
    pub flags: BTreeSet<String>,
}

impl EngineKey {
    /// Digest of the whole key.
    #[must_use]
    pub fn digest(&self) -> Digest {
        // Fields have a fixed order and maps are sorted, so that equal keys serialise to equal text.
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// The name of its files without the extension: `unet.512x25.fp16.sm89.rtx1.7.1-0123456789ab`.
    #[must_use]
    pub fn stem(&self) -> String {
        let Self { graph, shapes, precision, version, .. } = self;
        let (sm, flavour, version) = (self.sm.tag(), self.flavour.tag(), version.release());
        format!("{graph}.{shapes}.{precision}.{sm}.{flavour}{version}-{}", self.digest().short())
    }
}

/// The number format that a graph computes in. TensorRT takes it from the ONNX file ("strongly typed").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits.
    Fp32,
    /// 16 bits, IEEE 754.
    Fp16,
    /// 16 bits with the exponent range of fp32.
    Bf16,
    /// 8 bits; needs SM 8.9 or later.
    Fp8,
}

impl Precision {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Fp32, Self::Fp16, Self::Bf16, Self::Fp8];

    /// Its name in file names and flags.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Bf16 => "bf16",
            Self::Fp8 => "fp8",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|precision| precision.name() == text);
        found.ok_or_else(|| format!("wanted fp32, fp16, bf16 or fp8, found \"{text}\""))
    }
}

/// Ranges of shapes that one optimization profile covers, by the input's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Profile(pub BTreeMap<String, ShapeRange>);

/// The shapes that an input may have, and the one to optimise for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShapeRange {
    /// The minimum length of each axis.
    pub min: Shape,
    /// The length to optimise for.
    pub opt: Shape,
    /// The maximum length of each axis.
    pub max: Shape,
}

/// A profile that no compiler accepts.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("wanted min <= opt <= max for each axis of \"{input}\", found {min:?}, {opt:?}, {max:?}")]
pub struct ProfileError {
    /// The input.
    pub input: String,
    /// As given.
    pub min: Shape,
    /// As given.
    pub opt: Shape,
    /// As given.
    pub max: Shape,
}

impl Profile {
    /// Checks that min <= opt <= max on every axis of every input.
    ///
    /// # Errors
    /// If an axis is missing, empty or out of order.
    pub fn check(&self) -> Result<(), ProfileError> {
        let wrong = self.0.iter().find(|(_, range)| !range.is_in_order());
        wrong.map_or(Ok(()), |(input, ShapeRange { min, opt, max })| {
            Err(ProfileError { input: input.clone(), min: min.clone(), opt: opt.clone(), max: max.clone() })
        })
    }
}

impl ShapeRange {
    fn is_in_order(&self) -> bool {
        let axes = self.opt.len();
        let rises = |at: usize| 0 < self.min[at] && self.min[at] <= self.opt[at] && self.opt[at] <= self.max[at];
        self.min.len() == axes && self.max.len() == axes && (0..axes).all(rises)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn key() -> EngineKey {
        let range = ShapeRange { min: vec![1, 8], opt: vec![2, 8], max: vec![4, 8] };
        EngineKey {
            graph: "unet".into(),
            shapes: "512x25".into(),
            onnx: Digest::of(b"graph"),
            weights: BTreeMap::from([("unet.bin".into(), Digest::of(b"weights"))]),
            sm: Sm::SM89,
            flavour: Flavour::Rtx,
            version: Version::four(1, 7, 1, 116),
            precision: Precision::Fp16,
            profiles: vec![Profile(BTreeMap::from([("x".into(), range)]))],
            kernels: BTreeMap::new(),
            flags: BTreeSet::new(),
        }
    }

    #[test]
    fn the_stem_is_readable() {
        let stem = key().stem();
        let (readable, hex) = stem.split_once('-').expect("a dash");
        assert_eq!(readable, "unet.512x25.fp16.sm89.rtx1.7.1");
        assert!(hex.len() == 12 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    #[test]
    fn every_field_changes_the_digest() {
        let changes: [fn(&mut EngineKey); 11] = [
            |key| key.graph.push('x'),
            |key| key.shapes.push('x'),
            |key| key.onnx = Digest::of(b"another"),
            |key| key.weights = BTreeMap::from([("unet.bin".into(), Digest::of(b"others"))]),
            |key| key.sm = Sm::SM120,
            |key| key.flavour = Flavour::Classic,
            |key| key.version = Version::four(1, 7, 1, 117),
            |key| key.precision = Precision::Fp32,
            |key| key.profiles[0].0.get_mut("x").expect("x").max[0] = 5,
            |key| _ = key.kernels.insert("paste".into(), Digest::of(b"ptx")),
            |key| _ = key.flags.insert("sparse".into()),
        ];
        for (n, change) in changes.iter().enumerate() {
            let mut other = key();
            change(&mut other);
            assert_ne!(other.digest(), key().digest(), "change {n}");
        }
        let text = serde_json::to_string(&key()).expect("text");
        assert_eq!(serde_json::from_str::<EngineKey>(&text).expect("a key").digest(), key().digest());
    }

    #[test]
    fn a_profile_out_of_order_is_named() {
        let mut profile = key().profiles.remove(0);
        assert_eq!(profile.check(), Ok(()));
        for (min, opt, max) in [(3, 2, 4), (1, 5, 4), (0, 1, 4)] {
            profile.0.insert("x".into(), ShapeRange { min: vec![min], opt: vec![opt], max: vec![max] });
            assert!(profile.check().expect_err("wrong").to_string().contains("\"x\""));
        }
    }
}
