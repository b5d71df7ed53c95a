//! SHA-256 digests, and lists of a pack's files in the format of `sha256sum -c`.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// The name of the list inside a pack.
pub const DIGEST_FILE: &str = "SHA256SUMS";

/// A SHA-256, written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// Digest of bytes in memory.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Digest of everything that `reader` still yields, and the number of bytes.
    ///
    /// # Errors
    /// If reading fails.
    pub fn of_reader(reader: &mut dyn Read) -> io::Result<(Self, u64)> {
        let mut hasher = Sha256::new();
        let (mut total, mut block) = (0, vec![0; READ_BYTES]);
        loop {
            match reader.read(&mut block) {
                Ok(0) => return Ok((Self(hasher.finalize().into()), total)),
                Ok(bytes) => {
                    hasher.update(&block[..bytes]);
                    total += bytes as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
        }
    }

    /// The first twelve digits, for file names.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A text that is not a SHA-256.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("wanted 64 hex digits of a sha-256, found \"{found}\"")]
pub struct NoDigest {
    /// The text, shortened.
    pub found: String,
}

impl FromStr for Digest {
    type Err = NoDigest;

    fn from_str(text: &str) -> Result<Self, NoDigest> {
        let bad = || NoDigest { found: text.chars().take(80).collect() };
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(bad());
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_not_ascii| bad())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_not_hex| bad())?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = NoDigest;

    fn try_from(text: String) -> Result<Self, NoDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// Bytes read at a time.
const READ_BYTES: usize = 256 * 1024;

/// A list that cannot be parsed, or a file that does not match it.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DigestError {
    /// A line is not `<64 hex digits>  <path>`.
    #[error("wanted \"<sha-256>  <path>\", found \"{found}\" in line {line} of {DIGEST_FILE}")]
    BadLine {
        /// Counted from 1.
        line: usize,
        /// The line, shortened.
        found: String,
    },
    /// A file differs from its listed digest.
    #[error("wanted sha-256 {wanted}, found {found}: {path}")]
    Differs {
        /// Its path inside the pack.
        path: String,
        /// The listed digest.
        wanted: Digest,
        /// The digest of the file.
        found: Digest,
    },
}

/// Paths inside a pack and the digests of their files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DigestList(BTreeMap<String, Digest>);

impl DigestList {
    /// Parses a list.
    ///
    /// # Errors
    /// If a line is malformed or a path leaves the pack.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let entry = |(number, line): (usize, &str)| {
            let bad = || DigestError::BadLine { line: number + 1, found: line.chars().take(80).collect() };
            let (digest, path) = line.split_once("  ").ok_or_else(bad)?;
            let digest = digest.parse().map_err(|_no_digest| bad())?;
            let stays_inside = !path.is_empty() && !path.starts_with('/') && path.split('/').all(|part| part != "..");
            if stays_inside { Ok((path.to_owned(), digest)) } else { Err(bad()) }
        };
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        lines.map(entry).collect::<Result<_, _>>().map(Self)
    }

    /// The listed paths, sorted, with their digests.
    pub fn entries(&self) -> impl Iterator<Item = (&str, Digest)> {
        self.0.iter().map(|(path, digest)| (path.as_str(), *digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_list_maps_paths_to_digests() {
        let list = DigestList::parse(&format!("{EMPTY}  a/b.bin\n")).expect("a good list");
        let (path, digest) = list.entries().next().expect("an entry");
        assert_eq!((path, digest), ("a/b.bin", Digest::of(b"")));
        assert_ne!(digest, Digest::of(b"\x01"));
    }

    #[test]
    fn paths_that_leave_the_pack_are_refused() {
        for path in ["/etc/passwd", "../x", "a/../../x", ""] {
            assert!(DigestList::parse(&format!("{EMPTY}  {path}")).is_err(), "{path}");
        }
    }
}
