//! Versions, compared part by part as numbers: 535.104 is newer than 535.54.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A version of one to four numbers. Missing parts count as zero: 12 equals 12.0.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Version {
    parts: [u32; 4],
    /// Number of digits each part was written with: NVIDIA writes 535.104.05.
    digits: [u8; 4],
    /// Number of parts given, 1 to 4.
    given: u8,
}

/// A text that is not a version.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("wanted a version of one to four numbers with dots between, found \"{found}\"")]
pub struct VersionError {
    /// The text.
    pub found: String,
}

impl Version {
    /// A version of two numbers.
    #[must_use]
    pub const fn two(major: u32, minor: u32) -> Self {
        Self { parts: [major, minor, 0, 0], digits: [1; 4], given: 2 }
    }

    /// A version of three numbers.
    #[must_use]
    pub const fn three(major: u32, minor: u32, patch: u32) -> Self {
        Self { parts: [major, minor, patch, 0], digits: [1; 4], given: 3 }
    }

    /// A version of four numbers.
    #[must_use]
    pub const fn four(major: u32, minor: u32, patch: u32, build: u32) -> Self {
        Self { parts: [major, minor, patch, build], digits: [1; 4], given: 4 }
    }

    /// The first three numbers, or as many as were given, as used in file names.
    #[must_use]
    pub const fn release(self) -> Self {
        let [major, minor, patch, _] = self.parts;
        Self {
            parts: [major, minor, patch, 0],
            digits: self.digits,
            given: if self.given > 3 { 3 } else { self.given },
        }
    }

    /// The first number.
    #[must_use]
    pub const fn major(self) -> u32 {
        self.parts[0]
    }

    /// The second number.
    #[must_use]
    pub const fn minor(self) -> u32 {
        self.parts[1]
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let bad = || VersionError { found: text.chars().take(40).collect() };
        let mut version = Self { parts: [0; 4], digits: [1; 4], given: 0 };
        for part in text.trim().split('.') {
            let place = version.parts.get_mut(usize::from(version.given)).ok_or_else(bad)?;
            let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            *place = part.parse().ok().filter(|_| is_number).ok_or_else(bad)?;
            // More digits than a part can need are leading zeros without meaning.
            version.digits[usize::from(version.given)] = part.len().min(10) as u8;
            version.given += 1;
        }
        Ok(version)
    }
}

impl TryFrom<String> for Version {
    type Error = VersionError;

    fn try_from(text: String) -> Result<Self, VersionError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let given = usize::from(self.given).clamp(1, 4);
        let mut parts = self.parts.iter().zip(self.digits).take(given).enumerate();
        parts.try_for_each(|(at, (part, digits))| {
            let (dot, width) = (if at > 0 { "." } else { "" }, usize::from(digits));
            write!(f, "{dot}{part:0>width$}")
        })
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts.cmp(&other.parts)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.parts == other.parts
    }
}

impl Eq for Version {}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().expect("a version")
    }

    #[test]
    fn parts_compare_as_integers() {
        assert!(version("535.104") > version("535.54"));
        assert!(version("535.54.03") > version("535.54"));
        assert!(version("12.10") > version("12.9"));
        assert_eq!(version("12"), version("12.0.0.0"));
    }

    #[test]
    fn a_version_is_printed_as_it_was_parsed() {
        for text in ["12", "535.104.05", "1.7.1.116"] {
            let given = version(text);
            assert_eq!(given.to_string(), text);
        }
        assert_eq!(Version::four(1, 7, 1, 116).release().to_string(), "1.7.1");
        assert_eq!(version("12").release().to_string(), "12");
    }

    #[test]
    fn malformed_versions_are_refused() {
        for text in ["", ".", "1.", "a.b", "1.2.3.4.5", "-1", "+1", "99999999999"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }
}
