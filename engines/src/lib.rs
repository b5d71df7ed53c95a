//! What visage runs and how it is compiled: packs, their manifests and digests.
#![forbid(unsafe_code)]
