//! What visage runs and how it is compiled: packs, their manifests and digests, and the engines made from their graphs.
//!
//! Decides what a pack is, whether it is whole, and which engine belongs to which graph on which GPU. Does not run anything.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod cache;
pub mod compatibility;
pub mod compile;
pub mod cubins;
mod digest;
mod dtype;
mod key;
mod manifest;
pub mod memory;
pub mod onnx;
pub mod output_file;
mod pack;
pub mod search_paths;
mod sm;
mod version;

pub use compile::Onnx;
pub use digest::{DIGEST_FILE, Digest, DigestError, DigestList, NoDigest};
pub use dtype::DType;
pub use key::{EngineKey, Precision, Profile, ProfileError, Shape, ShapeRange};
pub use manifest::{AvatarKind, AvatarManifest, GraphManifest, ManifestError, PackManifest, Tolerance};
pub use pack::{PackError, PackFiles};
pub use sm::{Flavour, Sm, SmError, listed};
pub use version::{Version, VersionError};
