//! An avatar in its own folder, provided by a user.
//!
//! Decides how large such a folder may be and which of its files count. Does not interpret them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use visage_engines::AvatarManifest;

use crate::model::ModelError;

/// Files of one avatar; the largest built-in one has 41.
const MAX_FILES: usize = 512;
/// Bytes of all files; the largest built-in avatar has 1.1 MB.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Folders inside each other.
const MAX_DEPTH: usize = 4;

/// The files of an avatar by their path inside its folder, with `/` between the parts.
pub(super) type AvatarFiles = BTreeMap<String, Vec<u8>>;

/// A folder with an `avatar.toml` that was read.
pub(super) struct AvatarFolder {
    path: PathBuf,
    name: String,
    manifest: AvatarManifest,
}

impl AvatarFolder {
    /// Reads the manifest.
    pub(super) fn open(path: &Path) -> Result<Self, ModelError> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let broken = |found: String| ModelError::Broken { name: name.clone(), found };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(broken("a folder name with other characters than letters, digits and '-'".to_owned()));
        }
        let mut text = Vec::new();
        read_into(&path.join("avatar.toml"), MAX_BYTES, &mut text).map_err(|error| broken(read_error(&error)))?;
        let manifest = AvatarManifest::parse(&name, &String::from_utf8_lossy(&text));
        let manifest = manifest.map_err(|error| broken(error.to_string()))?;
        Ok(Self { path: path.to_owned(), name, manifest })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn manifest(&self) -> &AvatarManifest {
        &self.manifest
    }

    /// Reads all regular files.
    pub(super) fn read(&self) -> Result<AvatarFiles, ModelError> {
        let mut files = AvatarFiles::new();
        let broken = |error: io::Error| ModelError::Broken { name: self.name.clone(), found: read_error(&error) };
        read_folder(&self.path, "", MAX_DEPTH, &mut files).map_err(broken)?;
        Ok(files)
    }
}

/// The error without the path: the text may reach a client.
fn read_error(error: &io::Error) -> String {
    format!("cannot read its files: {error}")
}

fn read_folder(folder: &Path, prefix: &str, depth: usize, files: &mut AvatarFiles) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let kind = entry.file_type()?;
        if kind.is_dir() && depth > 1 {
            read_folder(&entry.path(), &format!("{prefix}{name}/"), depth - 1, files)?;
        } else if kind.is_file() {
            let used: usize = files.values().map(Vec::len).sum();
            if files.len() == MAX_FILES {
                return Err(io::Error::other(format!("more than {MAX_FILES} files")));
            }
            let mut bytes = Vec::new();
            read_into(&entry.path(), MAX_BYTES - used as u64, &mut bytes)?;
            files.insert(format!("{prefix}{name}"), bytes);
        }
    }
    Ok(())
}

fn read_into(path: &Path, most_bytes: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    let read = File::open(path)?.take(most_bytes + 1).read_to_end(bytes)?;
    if read as u64 > most_bytes {
        return Err(io::Error::other(format!("more than {} MB", MAX_BYTES / 1024 / 1024)));
    }
    Ok(())
}
