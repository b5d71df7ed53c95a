//! Compute capabilities, and which of them each flavour of TensorRT compiles for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A GPU's compute capability, as NVIDIA writes it: 8.9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Sm {
    major: u8,
    minor: u8,
}

/// A text that is not a compute capability.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("wanted a compute capability such as 8.9 (GPUs that engines are made for have {}), found \"{found}\"", listed(&Sm::KNOWN))]
pub struct SmError {
    /// The text.
    pub found: String,
}

impl Sm {
    /// Turing: RTX 20xx, T4.
    pub const SM75: Self = Self { major: 7, minor: 5 };
    /// Ampere, data centre: A100.
    pub const SM80: Self = Self { major: 8, minor: 0 };
    /// Ampere: RTX 30xx, A10.
    pub const SM86: Self = Self { major: 8, minor: 6 };
    /// Ampere, Jetson Orin.
    pub const SM87: Self = Self { major: 8, minor: 7 };
    /// Ada: RTX 40xx, L4, L40.
    pub const SM89: Self = Self { major: 8, minor: 9 };
    /// Hopper: H100, H200.
    pub const SM90: Self = Self { major: 9, minor: 0 };
    /// Blackwell, data centre: B200.
    pub const SM100: Self = Self { major: 10, minor: 0 };
    /// Blackwell: RTX 50xx.
    pub const SM120: Self = Self { major: 12, minor: 0 };
    /// Blackwell, DGX Spark.
    pub const SM121: Self = Self { major: 12, minor: 1 };

    /// All that at least one flavour compiles for.
    pub const KNOWN: [Self; 9] =
        [Self::SM75, Self::SM80, Self::SM86, Self::SM87, Self::SM89, Self::SM90, Self::SM100, Self::SM120, Self::SM121];

    /// From the two numbers that the driver reports.
    #[must_use]
    pub const fn new(major: u8, minor: u8) -> Self {
        Self { major, minor }
    }

    /// The number before the dot.
    #[must_use]
    pub const fn major(self) -> u8 {
        self.major
    }

    /// The number after the dot.
    #[must_use]
    pub const fn minor(self) -> u8 {
        self.minor
    }

    /// As compilers name it: `sm89`.
    #[must_use]
    pub fn tag(self) -> String {
        format!("sm{}{}", self.major, self.minor)
    }
}

impl fmt::Display for Sm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for Sm {
    type Err = SmError;

    /// Reads `8.9`, `89`, `sm89` and `sm_89`.
    fn from_str(text: &str) -> Result<Self, SmError> {
        let bad = || SmError { found: text.chars().take(20).collect() };
        let digits = text.trim().trim_start_matches("sm").trim_start_matches('_');
        let (major, minor) = match digits.split_once('.') {
            Some(parts) => parts,
            None if digits.is_ascii() && digits.len() >= 2 => digits.split_at(digits.len() - 1),
            None => return Err(bad()),
        };
        let number = |text: &str| text.parse::<u8>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        match (number(major), number(minor)) {
            (Some(major), Some(minor)) if major > 0 && minor < 10 => Ok(Self { major, minor }),
            _ => Err(bad()),
        }
    }
}

impl TryFrom<String> for Sm {
    type Error = SmError;

    fn try_from(text: String) -> Result<Self, SmError> {
        text.parse()
    }
}

impl From<Sm> for String {
    fn from(sm: Sm) -> Self {
        sm.to_string()
    }
}

/// The two products that compile graphs for NVIDIA GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Flavour {
    /// TensorRT for RTX: small, compiles ahead of time without a GPU, the rest just in time on it.
    #[serde(rename = "TensorRT-RTX")]
    Rtx,
    /// Classic TensorRT, for data-centre GPUs.
    #[serde(rename = "TensorRT")]
    Classic,
}

impl Flavour {
    /// NVIDIA's name of the product.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rtx => "TensorRT-RTX",
            Self::Classic => "TensorRT",
        }
    }

    /// Its name in file names.
    #[must_use]
    pub fn tag(self) -> &'static str {
        match self {
            Self::Rtx => "rtx",
            Self::Classic => "trt",
        }
    }

    /// Compute capabilities that its documentation lists (TensorRT-RTX 1.7, TensorRT 11.4: support matrices).
    #[must_use]
    pub fn compiles_for(self) -> &'static [Sm] {
        match self {
            Self::Rtx => &[Sm::SM75, Sm::SM80, Sm::SM86, Sm::SM89, Sm::SM120, Sm::SM121],
            Self::Classic => {
                &[Sm::SM75, Sm::SM80, Sm::SM86, Sm::SM87, Sm::SM89, Sm::SM90, Sm::SM100, Sm::SM120, Sm::SM121]
            }
        }
    }

    /// Whether its documentation lists `sm`.
    #[must_use]
    pub fn knows(self, sm: Sm) -> bool {
        self.compiles_for().contains(&sm)
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Capabilities in one line, for errors.
#[must_use]
pub fn listed(all: &[Sm]) -> String {
    all.iter().map(Sm::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_capability_is_parsed() {
        for text in ["8.9", "89", "sm89", "sm_89", " 8.9 "] {
            assert_eq!(text.parse(), Ok(Sm::SM89), "{text}");
        }
        assert_eq!("120".parse(), Ok(Sm::SM120));
        assert_eq!(Sm::SM120.tag(), "sm120");
    }

    #[test]
    fn an_invalid_capability_is_refused_with_the_known_ones() {
        for text in ["", "9", "x.y", "8.99", "0.5", "8.", "sm", "é9"] {
            let error = text.parse::<Sm>().expect_err(text);
            assert!(error.to_string().contains("8.9, 9.0"), "{error}");
        }
    }

    #[test]
    fn each_flavour_supports_the_capabilities_its_documentation_lists() {
        for flavour in [Flavour::Rtx, Flavour::Classic] {
            assert!(flavour.compiles_for().iter().all(|sm| Sm::KNOWN.contains(sm)));
        }
        assert!(!Flavour::Rtx.knows(Sm::SM90), "its documentation does not list Hopper");
    }
}
