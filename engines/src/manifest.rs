//! `pack.toml` and `avatar.toml`: the contents of a pack and its avatars.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Precision, Profile};

/// A manifest that cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("wanted a readable {file}, found: {found}")]
pub struct ManifestError {
    /// The file.
    pub file: String,
    /// What is wrong and where.
    pub found: String,
}

/// The content of `pack.toml`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackManifest {
    /// The pack's name in requests and metrics.
    pub name: String,
    /// The displayed name.
    pub title: String,
    /// The model that runs it: `portrait`.
    pub model: String,
    /// Licences of its contents.
    pub licence: String,
    /// Its graphs, with unique names.
    pub graphs: Vec<GraphManifest>,
    /// Folders under `avatars/`, the default first.
    pub avatars: Vec<String>,
}

/// A graph's entry in `pack.toml`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphManifest {
    /// Its name in errors, engines and metrics.
    pub name: String,
    /// ONNX files by precision, paths inside the pack.
    pub onnx: BTreeMap<Precision, String>,
    /// Files with external weights of all precisions. They are in the folder of the ONNX files and end in `.data` or
    /// `.onnx_data`, as exporters name them: the CPU inference engine opens no others.
    #[serde(default)]
    pub weights: Vec<String>,
    /// The meaning of its values, a path inside the pack.
    #[serde(default)]
    pub spec: Option<String>,
    /// Its shapes in short, for readers and file names.
    pub shapes: String,
    /// Ranges of shapes; empty if all are fixed.
    #[serde(default)]
    pub profiles: Vec<Profile>,
    /// How far an engine's outputs may differ from those of the CPU backend.
    #[serde(default)]
    pub tolerance: Tolerance,
}

/// How far an engine's outputs may differ from those of the CPU backend.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tolerance {
    /// Minimum cosine similarity of the outputs.
    pub cosine: f64,
    /// Minimum peak signal-to-noise ratio in dB.
    pub psnr_db: f64,
    /// Maximum absolute error.
    pub max_error: f64,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self { cosine: 0.999, psnr_db: 40.0, max_error: 0.05 }
    }
}

/// How an avatar is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AvatarKind {
    /// Layers of vector art, warped.
    Drawn,
    /// A mesh, textured from rendered key poses.
    Head,
}

/// The content of `avatar.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AvatarManifest {
    /// The displayed name.
    pub title: String,
    /// How it is drawn.
    pub kind: AvatarKind,
    /// The background colour, `#rrggbb`; the same on light and dark pages, since it is part of the frame.
    pub background: String,
    /// Licence of the art.
    pub licence: String,
}

impl PackManifest {
    /// Parses `pack.toml`.
    ///
    /// # Errors
    /// If it is not TOML, a key is missing or unknown, or an entry is invalid.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let bad = |found: String| ManifestError { file: "pack.toml".to_owned(), found };
        let manifest: Self = toml::from_str(text).map_err(|error| bad(error.to_string()))?;
        let mut names = manifest.avatars.iter().chain(manifest.graphs.iter().map(|graph| &graph.name));
        if let Some(name) = names.find(|name| !is_plain(name)) {
            return Err(bad(format!("an avatar or graph called \"{name}\": letters, digits and '-' only")));
        }
        if manifest.avatars.is_empty() {
            return Err(bad("no avatars".to_owned()));
        }
        manifest.graphs.iter().try_for_each(GraphManifest::check).map_err(bad)?;
        Ok(manifest)
    }

    /// The graph called `name`.
    #[must_use]
    pub fn graph(&self, name: &str) -> Option<&GraphManifest> {
        self.graphs.iter().find(|graph| graph.name == name)
    }
}

/// Whether a name can be part of a file name and of a metric.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

impl GraphManifest {
    /// The graph in the wanted precision, or in the narrowest if `None`. Without a file in the wanted precision it is the next
    /// wider one, or else the widest. `None` without any file, which no valid manifest has.
    #[must_use]
    pub fn in_precision(&self, wanted: Option<Precision>) -> Option<(Precision, &str)> {
        let narrowest = wanted.unwrap_or(Precision::ALL[Precision::ALL.len() - 1]);
        let found = self.onnx.range(..=narrowest).next_back().or_else(|| self.onnx.first_key_value());
        found.map(|(precision, path)| (*precision, path.as_str()))
    }

    fn may_hold_weights(&self, file: &str) -> bool {
        let folder = |path: &str| path.rfind('/').map_or(0, |end| end + 1);
        let (place, name) = file.split_at(folder(file));
        let is_beside = |onnx: &String| onnx[..folder(onnx)] == *place;
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        ["data", "onnx_data"].contains(&ending) && self.onnx.values().any(is_beside)
    }

    fn check(&self) -> Result<(), String> {
        let about = |found: String| format!("the graph \"{}\" with {found}", self.name);
        if self.onnx.is_empty() {
            return Err(about("no onnx file".to_owned()));
        }
        if !is_plain(&self.shapes) {
            return Err(about(format!("shapes \"{}\": letters, digits and '-' only", self.shapes)));
        }
        if let Some(wrong) = self.weights.iter().find(|weights| !self.may_hold_weights(weights)) {
            let wanted = "the folder of the onnx files, with a name that ends in .data or .onnx_data";
            return Err(about(format!("weights in \"{wrong}\": wanted a file in {wanted}")));
        }
        self.profiles.iter().try_for_each(Profile::check).map_err(|error| about(error.to_string()))
    }
}

impl AvatarManifest {
    /// Parses the `avatar.toml` of the avatar called `name`.
    ///
    /// # Errors
    /// If it is not TOML, a key is missing or unknown, or a colour is not `#rrggbb`.
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
    fn an_unknown_kind_of_avatar_is_named_with_the_known_ones() {
        let text = |kind: &str| format!("title='A'\nkind='{kind}'\nbackground='#000000'\nlicence='MIT'");
        assert!(AvatarManifest::parse("a", &text("head")).is_ok_and(|avatar| avatar.kind == AvatarKind::Head));
        let error = AvatarManifest::parse("a", &text("clay")).expect_err("no such kind").to_string();
        assert!(["clay", "drawn", "head"].iter().all(|word| error.contains(word)), "{error}");
    }

    #[test]
    fn weights_are_in_the_folder_of_the_graph_with_a_known_extension() {
        let parsed = |weights: &str| {
            PackManifest::parse(&format!(
                "name='p'\ntitle='P'\nmodel='portrait'\nlicence='MIT'\navatars=['a']\n[[graphs]]\nname='g'\nshapes='1'
onnx={{fp32='g/g.onnx'}}\nweights=['{weights}']\n"
            ))
        };
        for good in ["g/g.data", "g/g.onnx.data", "g/g.onnx_data"] {
            assert!(parsed(good).is_ok(), "{good}");
        }
        for bad in ["g/g.bin", "g.data", "g/h/g.data", "g/data"] {
            let error = parsed(bad).expect_err(bad).to_string();
            assert!(error.contains(bad) && error.contains(".onnx_data"), "{error}");
        }
    }

    #[test]
    fn mutated_manifests_never_panic() {
        let good = "name='p'\ntitle='P'\nmodel='portrait'\nlicence='MIT'\navatars=['a']\n[[graphs]]\nname='g'\nshapes='1'\nonnx={fp32='g'}\n";
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
