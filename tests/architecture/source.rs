//! Rust files as the rules read them: tests, comments and string contents are blanked, line numbers are kept.
//!
//! Decides what is code and which names it uses. Contains no rule.

use std::fs;
use std::path::{Path, PathBuf};

/// One file up to its tests.
pub struct Source {
    pub path: String,
    /// The folder or file below `src/`, or the package.
    pub module: String,
    /// Module depth: the number of `super::` that lead to the crate root.
    pub depth: usize,
    /// The original lines.
    pub lines: Vec<String>,
    /// Comments and strings blanked.
    pub code: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let before_tests = text.split("\nmod tests {").next().unwrap_or_default();
        let parts: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
        let module = if parts[0] == "src" { parts.get(1).copied().unwrap_or_default() } else { parts[0] };
        Self {
            path: path.to_owned(),
            module: module.to_owned(),
            depth: parts.iter().skip(1).filter(|part| **part != "mod").count(),
            lines: before_tests.lines().map(str::to_owned).collect(),
            code: code_of(before_tests),
        }
    }

    /// A violation at a byte offset of `code`.
    pub fn fault(&self, at: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, self.code[..at].matches('\n').count() + 1)
    }

    /// Byte offsets of `word` in code, as a whole word: a letter at its start or end is not continued by another.
    pub fn places<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        let goes_on =
            |own: Option<char>, next: Option<char>| own.is_some_and(is_of_name) && next.is_some_and(is_of_name);
        self.code.match_indices(word).map(|(at, _)| at).filter(move |at| {
            let (before, after) = (&self.code[..*at], &self.code[at + word.len()..]);
            !goes_on(word.chars().next(), before.chars().next_back())
                && !goes_on(word.chars().next_back(), after.chars().next())
        })
    }

    /// The names that follow `path` (`crate::`), one for each branch of a `{}` group, across line breaks.
    pub fn names_after<'a>(&'a self, path: &'a str) -> impl Iterator<Item = (usize, &'a str)> + 'a {
        self.places(path).flat_map(move |at| branches(&self.code, at + path.len()))
    }
}

/// The Rust files in `folders` except those compiled for tests only.
pub fn sources(folders: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    folders.iter().for_each(|folder| rust_files(&root.join(folder), &mut files));
    files.sort();
    files.iter().filter(|file| !test_only(file)).map(|file| read(root, file)).collect()
}

fn rust_files(place: &Path, files: &mut Vec<PathBuf>) {
    if place.is_dir() {
        fs::read_dir(place).expect("a folder").for_each(|entry| rust_files(&entry.expect("an entry").path(), files));
    } else if place.extension().is_some_and(|extension| extension == "rs") {
        files.push(place.to_owned());
    }
}

/// Whether a `mod.rs` declares this file, or a folder that contains it, for tests only.
fn test_only(file: &Path) -> bool {
    let folder = file.parent().unwrap_or(file);
    let (named, home) =
        if file.ends_with("mod.rs") { (folder, folder.parent().unwrap_or(folder)) } else { (file, folder) };
    let name = named.file_stem().unwrap_or_default().to_string_lossy();
    let Ok(parent) = fs::read_to_string(home.join("mod.rs")) else { return false };
    parent.contains(&format!("#[cfg(test)]\nmod {name};")) || test_only(&home.join("mod.rs"))
}

fn read(root: &Path, file: &Path) -> Source {
    let path = file.strip_prefix(root).expect("under the root").to_string_lossy().replace('\\', "/");
    Source::new(&path, &fs::read_to_string(file).expect("readable source"))
}

pub fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The name at the start of `rest`.
pub fn name_at(rest: &str) -> &str {
    &rest[..rest.find(|c| !is_of_name(c)).unwrap_or(rest.len())]
}

/// The name at `at`, or the first name of each branch of the group that opens there.
fn branches(code: &str, at: usize) -> Vec<(usize, &str)> {
    if !code[at..].starts_with('{') {
        return vec![(at, name_at(&code[at..]))];
    }
    let (mut names, mut depth, mut begins) = (Vec::new(), 0, false);
    for (offset, c) in code[at..].char_indices() {
        match c {
            '{' => (depth, begins) = (depth + 1, depth == 0),
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            ',' => begins = depth == 1,
            c if begins && !c.is_whitespace() => {
                names.push((at + offset, name_at(&code[at + offset..])));
                begins = false;
            }
            _ => {}
        }
    }
    names
}

/// `text` with comments and strings replaced by spaces.
fn code_of(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let (mut code, mut at) = (String::with_capacity(text.len()), 0);
    while at < chars.len() {
        let blank = blank_length(&chars[at..]);
        let end = (at + blank.max(1)).min(chars.len());
        code.extend(chars[at..end].iter().map(|c| if blank == 0 || *c == '\n' { *c } else { ' ' }));
        at = end;
    }
    code
}

/// Length of the comment or string at the start of `rest`; 0 if there is none.
fn blank_length(rest: &[char]) -> usize {
    match rest {
        ['/', '/', ..] => length_to(rest, 2, &['\n']),
        ['/', '*', ..] => length_to(rest, 2, &['*', '/']),
        ['"', ..] => quoted_length(rest),
        ['r', '"' | '#', ..] => {
            let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
            let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            if rest.get(1 + hashes) == Some(&'"') { length_to(rest, hashes + 2, &end) } else { 0 }
        }
        ['\'', '\\', _, ..] => length_to(rest, 3, &['\'']),
        ['\'', _, '\'', ..] => 3,
        _ => 0,
    }
}

fn length_to(rest: &[char], from: usize, end: &[char]) -> usize {
    let found = rest[from..].windows(end.len()).position(|window| window == end);
    found.map_or(rest.len(), |at| from + at + end.len())
}

fn quoted_length(rest: &[char]) -> usize {
    let mut at = 1;
    while let Some(c) = rest.get(at) {
        match c {
            '"' => return at + 1,
            '\\' => at += 2,
            _ => at += 1,
        }
    }
    rest.len()
}
