//! Search paths: shared libraries, and the folders where visage stores files.
//!
//! Decides the order of the search. Opens nothing; the caller passes the environment.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// A place where a library may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file or folder that the user named; nothing else is searched then.
    Given(PathBuf),
    /// The dynamic loader: `LD_LIBRARY_PATH`, `ldconfig`.
    Loader,
    /// A package's folder in a Python environment.
    Package(PathBuf),
}

/// The result of searching a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Searched {
    /// The library, to be loaded by this name.
    Found(PathBuf),
    /// No library; the text is for the error.
    Nothing(String),
}

impl Place {
    /// Searches this place for the library called `name`.
    #[must_use]
    pub fn holds(&self, name: &str) -> Searched {
        let folder = match self {
            // Only loading shows what the loader finds.
            Self::Loader => return Searched::Found(PathBuf::from(name)),
            Self::Given(path) if path.is_file() => return Searched::Found(path.clone()),
            Self::Given(path) | Self::Package(path) => path,
        };
        let found = [folder.join(name), folder.join("lib").join(name)].into_iter().find(|path| path.is_file());
        found.map_or_else(|| Searched::Nothing(format!("{self} (not found)")), Searched::Found)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(path) | Self::Package(path) => path.display().fmt(f),
            Self::Loader => f.write_str("the dynamic loader's search path"),
        }
    }
}

/// The search order for a library that the Python package `package` contains: the given path alone, or else the loader and the
/// environments under `roots` (each a folder with `lib/python*/site-packages`, or such a folder itself).
#[must_use]
pub fn search_order(given: Option<&Path>, roots: &[PathBuf], package: &str) -> Vec<Place> {
    if let Some(path) = given {
        return vec![Place::Given(path.to_owned())];
    }
    let packages = roots.iter().flat_map(|root| site_packages(root)).map(|site| Place::Package(site.join(package)));
    std::iter::once(Place::Loader).chain(packages).collect()
}

/// Looks up an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The path in a variable, unless it is empty.
fn path_in(environment: Environment<'_>, name: &str) -> Option<PathBuf> {
    environment(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Where Python environments may be: the active one, the user's, the system's.
#[must_use]
pub fn python_roots(environment: Environment<'_>) -> Vec<PathBuf> {
    let active = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(|name| path_in(environment, name));
    let home = path_in(environment, "HOME").map(|home| home.join(".local"));
    let system = ["/usr/local", "/usr"].map(PathBuf::from);
    active.chain(home).chain(system).collect()
}

/// The data folder unless a flag names another: XDG's on Linux, the customary one on other systems, the current folder
/// without a home directory.
#[must_use]
pub fn data_dir(environment: Environment<'_>) -> PathBuf {
    let home = || path_in(environment, "HOME").unwrap_or_default();
    let base = if cfg!(windows) {
        path_in(environment, "LOCALAPPDATA").unwrap_or_default()
    } else if cfg!(target_os = "macos") {
        home().join("Library/Application Support")
    } else {
        path_in(environment, "XDG_DATA_HOME").unwrap_or_else(|| home().join(".local/share"))
    };
    base.join("visage")
}

/// The folder of engines within a data folder.
#[must_use]
pub fn engines_in(data_dir: &Path) -> PathBuf {
    data_dir.join("engines")
}

/// The `site-packages` folders of an environment, newest Python first.
fn site_packages(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.join("lib")).into_iter().flatten().flatten();
    let is_python = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python"));
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(is_python)
        .flat_map(|python| ["site-packages", "dist-packages"].map(|kind| python.join(kind)))
        .filter(|site| site.is_dir())
        .collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_path_is_the_only_one_searched() {
        let order = search_order(Some(Path::new("/opt/trt")), &["/usr".into()], "libs");
        assert_eq!(order, [Place::Given("/opt/trt".into())]);
        assert_eq!(order[0].holds("libx.so.1"), Searched::Nothing("/opt/trt (not found)".into()));
    }

    #[test]
    fn the_data_folder_follows_the_environment() {
        let none = |_: &str| None;
        assert!(data_dir(&none).ends_with("visage"));
        let roots = python_roots(&|name| (name == "VIRTUAL_ENV").then(|| "/venv".into()));
        assert_eq!(roots[0], Path::new("/venv"));
        if cfg!(target_os = "linux") {
            let empty_and_home = |name: &str| match name {
                "XDG_DATA_HOME" => Some(OsString::new()),
                "HOME" => Some("/home/me".into()),
                _ => None,
            };
            assert_eq!(data_dir(&empty_and_home), Path::new("/home/me/.local/share/visage"));
        }
    }

    #[test]
    fn packages_of_python_environments_are_searched_after_the_loader() {
        let root = tempfile::tempdir().expect("a folder");
        let package = root.path().join("lib/python3.12/site-packages/tensorrt_rtx_libs");
        fs::create_dir_all(&package).expect("folders");
        fs::write(package.join("libx.so.1"), b"").expect("a file");
        let order = search_order(None, &[root.path().to_owned()], "tensorrt_rtx_libs");
        assert_eq!(order, [Place::Loader, Place::Package(package.clone())]);
        assert_eq!(order[0].holds("libx.so.1"), Searched::Found("libx.so.1".into()));
        assert_eq!(order[1].holds("libx.so.1"), Searched::Found(package.join("libx.so.1")));
    }
}
