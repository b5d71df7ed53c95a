//! The retired words: vocabulary of the first versions that no longer occurs in code, docs, help, API or page.
//!
//! Decides which files are read and how a word is found in prose, `snake_case` and CamelCase.

use std::fs;
use std::path::{Path, PathBuf};

use super::{RETIRED_NAMES, RETIRED_WORD_EXCEPTIONS, RETIRED_WORDS};

/// Files and folders that people read.
const PLACES: &[&str] = &[
    "src",
    "engines/src",
    "engines/Cargo.toml",
    "kernels/src",
    "kernels/tests",
    "kernels/Cargo.toml",
    "tests",
    "docs",
    "web",
    "examples",
    "build.rs",
    "start",
    "Cargo.toml",
    "Dockerfile",
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
];
const ENDINGS: &[&str] =
    &["rs", "md", "txt", "json", "toml", "js", "mjs", "html", "css", "sh", "cu", "h", "c", "service"];

/// Every retired word below the project's root, as `path:line: word`.
pub fn retired_words() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    PLACES.iter().for_each(|place| text_files(&root.join(place), &mut files));
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let path = file.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let is_excepted = |word: &str| {
            RETIRED_WORD_EXCEPTIONS
                .iter()
                .any(|(prefix, excepted, _)| path.starts_with(prefix) && [word, "*"].contains(excepted))
        };
        found.extend(
            words_in(&text).filter(|(_, word)| !is_excepted(word)).map(|(row, word)| format!("{path}:{row}: {word}")),
        );
    }
    found
}

/// Line numbers, from 1, with the retired word found there.
pub fn words_in(text: &str) -> impl Iterator<Item = (usize, &'static str)> + '_ {
    text.lines().enumerate().flat_map(|(row, line)| {
        let words = format!(" {} ", words_of(line).join(" "));
        let names: Vec<&str> = line.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        let retired = RETIRED_WORDS.iter().filter(move |word| words.contains(&format!(" {word} ")));
        let renamed = RETIRED_NAMES.iter().filter(move |name| names.contains(*name));
        retired.chain(renamed).map(move |word| (row + 1, *word))
    })
}

/// The words of a line in lower case; underscores and humps of CamelCase separate words.
fn words_of(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for c in line.chars() {
        let is_hump = c.is_uppercase() && was_lower;
        if !c.is_alphanumeric() || is_hump {
            words.push(String::new());
        }
        if c.is_alphanumeric() {
            words.last_mut().expect("at least one word").extend(c.to_lowercase());
        }
        was_lower = c.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

fn text_files(place: &Path, files: &mut Vec<PathBuf>) {
    if place.is_dir() {
        let entries = fs::read_dir(place).expect("a readable folder");
        entries.for_each(|entry| text_files(&entry.expect("a readable entry").path(), files));
    } else if place.is_file() && is_text(place) {
        files.push(place.to_owned());
    }
}

fn is_text(file: &Path) -> bool {
    let is_generated =
        file.components().any(|part| ["target", "corpus", "node_modules"].iter().any(|name| part.as_os_str() == *name));
    let ending = file.extension().map(|ending| ending.to_string_lossy().into_owned());
    !is_generated && ending.is_none_or(|ending| ENDINGS.contains(&ending.as_str()))
}
