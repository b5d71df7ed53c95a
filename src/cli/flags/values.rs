//! Values of flags that are more than a number or a name: what is accepted, and the message otherwise.

use clap::ValueEnum;

use crate::serve::BasePath;

/// How lines of the log are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// More than any disk holds, and few enough to be counted in bytes.
const MAX_GIGABYTES: f64 = 1e9;
/// A host name has at most as many characters (RFC 1035, section 2.3.4).
const MAX_HOST_LENGTH: usize = 253;

/// A size in gigabytes. A typing mistake here removes engines, so everything that is no size is refused.
pub fn gigabytes(text: &str) -> Result<f64, String> {
    let size = text.parse().ok().filter(|size: &f64| (0.0..=MAX_GIGABYTES).contains(size));
    size.ok_or_else(|| format!("wanted gigabytes, 0 to {MAX_GIGABYTES:e}, found \"{text}\""))
}

/// A secret. An empty one, from a variable that was never set, would be accepted from every caller.
pub fn secret(text: &str) -> Result<String, String> {
    match text {
        _ if text.trim().is_empty() => Err("wanted at least one character, found an empty secret".to_owned()),
        _ if text.chars().any(char::is_control) => {
            Err("wanted a secret that fits into a header, found control characters".to_owned())
        }
        _ => Ok(text.to_owned()),
    }
}

/// A host name without scheme and port, in lower case.
pub fn host_name(text: &str) -> Result<String, String> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let is_name = !text.is_empty() && text.len() <= MAX_HOST_LENGTH && text.chars().all(is_plain);
    let name = || text.to_ascii_lowercase();
    is_name.then(name).ok_or_else(|| format!("wanted a host name such as avatar.example.org, found \"{text}\""))
}

/// A path of plain segments.
pub fn base_path(text: &str) -> Result<BasePath, String> {
    BasePath::parse(text).ok_or_else(|| format!("wanted a path such as /avatar, found \"{text}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_finite_and_not_negative() {
        assert_eq!(gigabytes("0"), Ok(0.0));
        assert_eq!(gigabytes("1.5"), Ok(1.5));
        for text in ["-1", "inf", "NaN", "1e300", "many", ""] {
            assert!(gigabytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_empty_secret_is_refused() {
        assert_eq!(secret("s3cret").as_deref(), Ok("s3cret"));
        for text in ["", " ", "\t", "a\nb"] {
            assert!(secret(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_host_has_no_scheme_and_no_port() {
        assert_eq!(host_name("Avatar.Example.org").as_deref(), Ok("avatar.example.org"));
        for text in ["", "https://a.org", "a.org:8010", "a b", "a/b", "*", &"a".repeat(300)] {
            assert!(host_name(text).is_err(), "{text}");
        }
    }
}
