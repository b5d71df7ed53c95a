//! What visage runs: packs, their manifests and digests.
//!
//! Decides what a pack is and whether it is whole. Does not run anything.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod digest;
mod manifest;
mod pack;

pub use digest::{DIGEST_FILE, DigestError, DigestList};
pub use manifest::{AvatarManifest, ManifestError, PackManifest};
pub use pack::{PackError, PackFiles};
