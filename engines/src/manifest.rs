//! `pack.toml` and `avatar.toml`: what a pack holds and who is in it.

use serde::Deserialize;
use thiserror::Error;

/// A manifest that cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("wanted a readable {file}, found: {found}")]
pub struct ManifestError {
    /// The file.
    pub file: String,
    /// What was wrong, with its place.
    pub found: String,
}

/// What `pack.toml` says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackManifest {
    /// The pack's name in requests and metrics.
    pub name: String,
    /// The name for people.
    pub title: String,
    /// The model that runs it: `portrait`.
    pub model: String,
    /// Licences of what it holds.
    pub licence: String,
    /// The network's graph, a path inside the pack.
    pub graph: String,
    /// Its description.
    pub graph_spec: String,
    /// Folders under `avatars/`, the default first.
    pub avatars: Vec<String>,
}

/// What an `avatar.toml` says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AvatarManifest {
    /// The name for people.
    pub title: String,
    /// `drawn` or `head`.
    pub kind: String,
    /// The wall behind it, `#rrggbb`; the same on light and on dark pages, since it is part of the picture.
    pub background: String,
    /// Licence of the art.
    pub licence: String,
}

impl PackManifest {
    /// Reads `pack.toml`.
    ///
    /// # Errors
    /// If it is no TOML, lacks a key, has an unknown one, or names no avatar.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let bad = |found: String| ManifestError { file: "pack.toml".to_owned(), found };
        let manifest: Self = toml::from_str(text).map_err(|error| bad(error.to_string()))?;
        let is_plain = |name: &String| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        match manifest.avatars.iter().find(|name| !is_plain(name)) {
            Some(name) => Err(bad(format!("an avatar called \"{name}\": letters, digits and '-' only"))),
            None if manifest.avatars.is_empty() => Err(bad("no avatars".to_owned())),
            None => Ok(manifest),
        }
    }
}

impl AvatarManifest {
    /// Reads the `avatar.toml` of the avatar called `name`.
    ///
    /// # Errors
    /// If it is no TOML, lacks a key, has an unknown one, or a colour is not `#rrggbb`.
    pub fn parse(name: &str, text: &str) -> Result<Self, ManifestError> {
        let bad = |found: String| ManifestError { file: format!("avatars/{name}/avatar.toml"), found };
        let manifest: Self = toml::from_str(text).map_err(|error| bad(error.to_string()))?;
        let is_colour = |text: &str| {
            text.len() == 7 && text.starts_with('#') && text.bytes().skip(1).all(|byte| byte.is_ascii_hexdigit())
        };
        if !is_colour(&manifest.background) {
            return Err(bad(format!("the colour \"{}\" instead of #rrggbb", manifest.background)));
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_named() {
        let error = AvatarManifest::parse("mira", "title = \"Mira\"\nkolor = \"red\"").expect_err("unknown key");
        assert!(error.to_string().contains("kolor"), "{error}");
    }

    #[test]
    fn mutated_manifests_never_panic() {
        let good = "name='p'\ntitle='P'\nmodel='portrait'\nlicence='MIT'\ngraph='g'\ngraph_spec='s'\navatars=['a']\n";
        assert!(PackManifest::parse(good).is_ok());
        for at in 0..good.len() {
            for byte in [b'\0', b'\'', b'[', b'=', 0xff] {
                let mut bytes = good.as_bytes().to_vec();
                bytes[at] = byte;
                let _ = PackManifest::parse(&String::from_utf8_lossy(&bytes));
                let _ = PackManifest::parse(&good[..at]);
            }
        }
    }
}
