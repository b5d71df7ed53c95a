//! Packs and engines: manifests, digests, and the engines compiled from a pack's graphs.
//!
//! Decides what a valid pack is and which engine belongs to which graph on which GPU. Runs nothing.

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
