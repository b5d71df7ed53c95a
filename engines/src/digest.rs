//! Digests of a pack's files, in the format that `sha256sum -c` reads.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sha2::{Digest, Sha256};
use thiserror::Error;

/// The list's name inside a pack.
pub const DIGEST_FILE: &str = "SHA256SUMS";

/// A list that cannot be read, or a file that does not match it.
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
    /// A listed file is not there.
    #[error("wanted the file that {DIGEST_FILE} lists, found none: {path}")]
    Missing {
        /// Its path inside the pack.
        path: String,
    },
    /// A file is not what the list says.
    #[error("wanted sha-256 {wanted}, found {found}: {path}")]
    Differs {
        /// Its path inside the pack.
        path: String,
        /// What the list says.
        wanted: String,
        /// What the file has.
        found: String,
    },
}

/// Paths inside a pack and the digests of their files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DigestList(BTreeMap<String, String>);

impl DigestList {
    /// Reads a list.
    ///
    /// # Errors
    /// If a line has another form, or a path leaves the pack.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let entry = |(number, line): (usize, &str)| {
            let bad = || DigestError::BadLine { line: number + 1, found: line.chars().take(80).collect() };
            let (digest, path) = line.split_once("  ").ok_or_else(bad)?;
            let is_hex = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
            let stays_inside = !path.is_empty() && !path.starts_with('/') && path.split('/').all(|part| part != "..");
            if is_hex && stays_inside { Ok((path.to_owned(), digest.to_ascii_lowercase())) } else { Err(bad()) }
        };
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        lines.map(entry).collect::<Result<_, _>>().map(Self)
    }

    /// The listed paths, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Checks one file's bytes.
    ///
    /// # Errors
    /// If the path is not listed or the digest differs.
    pub fn check(&self, path: &str, bytes: &[u8]) -> Result<(), DigestError> {
        let wanted = self.0.get(path).ok_or_else(|| DigestError::Missing { path: path.to_owned() })?;
        let found = digest_of(bytes);
        if *wanted == found {
            return Ok(());
        }
        Err(DigestError::Differs { path: path.to_owned(), wanted: wanted.clone(), found })
    }
}

/// SHA-256 as lower-case hex.
fn digest_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn one_flipped_bit_is_found() {
        let list = DigestList::parse(&format!("{EMPTY}  a/b.bin\n")).expect("a good list");
        assert_eq!(list.check("a/b.bin", b""), Ok(()));
        assert!(matches!(list.check("a/b.bin", b"\x01"), Err(DigestError::Differs { .. })));
        assert!(matches!(list.check("c", b""), Err(DigestError::Missing { .. })));
    }

    #[test]
    fn paths_that_leave_the_pack_are_refused() {
        for path in ["/etc/passwd", "../x", "a/../../x", ""] {
            assert!(DigestList::parse(&format!("{EMPTY}  {path}")).is_err(), "{path}");
        }
    }
}
