//! The house's plan as data: which room may name which, who owns which library, and what must be absent.

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms from the ground up. A room names only rooms of lower floors and itself.
const FLOORS: &[(&str, u8)] = &[
    ("time", 0),
    ("telemetry", 1),
    ("media", 2),
    ("listen", 3),
    ("pace", 3),
    ("picture", 3),
    ("codec", 4),
    ("backend", 4),
    ("model", 5),
    ("pipeline", 6),
    ("rtc", 7),
    ("serve", 8),
    ("render", 8),
    ("bench", 8),
    ("cli", 9),
];

/// Libraries that only some rooms may name.
const OWNERS: &[(&str, &[&str])] = &[
    ("str0m", &["rtc"]),
    ("webrtc", &["bench"]),
    ("rtc", &["bench"]),
    ("opus", &["codec", "bench"]),
    ("openh264", &["codec", "bench"]),
    // Its calls are unsafe: kernels alone may name it.
    ("vpx_sys", &[]),
    ("symphonia", &["codec"]),
    ("rubato", &["codec", "listen"]),
    ("realfft", &["listen"]),
    ("rten", &["backend"]),
    ("rten_tensor", &["backend"]),
    ("resvg", &["picture"]),
    ("image_webp", &["picture"]),
    ("shiguredo_mp4", &["render"]),
    ("axum", &["serve"]),
    ("axum_server", &["serve"]),
    ("rustls", &["serve"]),
    ("rcgen", &["serve"]),
    ("reqwest", &["bench"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("indicatif", &["cli"]),
    ("anyhow", &["cli"]),
    ("tracing_subscriber", &["cli"]),
    ("visage_kernels", &["backend", "codec", "picture", "cli"]),
];

/// Words that may stand only in some files, with the reason.
const ABSENCES: &[(&str, &[&str], &str)] = &[
    ("Instant::now", &["src/time/wall.rs"], "only time::Wall reads the clock"),
    ("SystemTime::now", &["src/time/wall.rs"], "only time::Wall reads the clock"),
    ("env::var", &["src/cli/"], "only cli reads the environment"),
    ("thread::sleep", &[], "nothing sleeps"),
    ("unbounded_channel", &[], "every queue is bounded"),
    ("mpsc::channel()", &[], "every queue is bounded"),
    ("thread::Builder", &["src/pipeline/", "src/rtc/", "src/serve/"], "threads start only in pipeline, rtc and serve"),
    ("thread::spawn", &["src/pipeline/", "src/rtc/", "src/serve/"], "threads start only in pipeline, rtc and serve"),
    ("println!", &["src/cli/"], "only cli prints"),
    ("unsafe ", &[], "unsafe code lives in kernels"),
    ("todo!", &[], "nothing is left to do"),
    ("unimplemented!", &[], "nothing is left to do"),
];

/// Lines of a file before its tests.
const FILE_LINES: usize = 400;

struct Source {
    path: String,
    room: String,
    lines: Vec<String>,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    rust_files(&root.join("src"), &mut files);
    files.sort();
    let is_for_tests = |file: &&PathBuf| !test_only(file);
    files.iter().filter(is_for_tests).map(|file| source(root, file)).collect()
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Whether the folder's `mod.rs` takes this file in for tests only.
fn test_only(file: &Path) -> bool {
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let parent = fs::read_to_string(file.with_file_name("mod.rs")).unwrap_or_default();
    parent.contains(&format!("#[cfg(test)]\nmod {name};"))
}

fn source(root: &Path, file: &Path) -> Source {
    let path = file.strip_prefix(root).expect("under the root").to_string_lossy().replace('\\', "/");
    let room = path.split('/').nth(1).unwrap_or_default().trim_end_matches(".rs").to_owned();
    let text = fs::read_to_string(file).expect("readable source");
    let before_tests = text.split("\nmod tests {").next().unwrap_or_default();
    Source { path, room, lines: before_tests.lines().map(str::to_owned).collect() }
}

/// Code lines with their numbers; comments are no arrows.
fn code(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    let lines = source.lines.iter().enumerate().map(|(index, line)| (index + 1, line.as_str()));
    lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn floor(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

/// The identifiers that follow `prefix` in `line`, one for each name inside braces.
fn named_after<'a>(line: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(prefix).flat_map(move |(at, _)| {
        let rest = &line[at + prefix.len()..];
        let inner = rest.strip_prefix('{').map_or(rest, |inner| inner.split('}').next().unwrap_or(inner));
        let names = if rest.starts_with('{') { inner.split(',').collect() } else { vec![inner] };
        names.into_iter().map(|name| {
            let name = name.trim();
            &name[..name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len())]
        })
    })
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn a_room_names_only_rooms_below_it() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| source.room != "lib" && source.room != "main") {
        let own = floor(&source.room).unwrap_or_else(|| panic!("{}: the room has no floor", source.path));
        for (number, line) in code(source) {
            for room in named_after(line, "crate::").filter(|room| *room != source.room) {
                if floor(room).is_none_or(|other| other >= own) {
                    faults.push(format!("{}:{number}: {} may not name {room}", source.path, source.room));
                }
            }
        }
    }
    report(&faults);
}

#[test]
fn a_library_is_named_only_by_its_owner() {
    let mut faults = Vec::new();
    for source in &sources() {
        for (number, line) in code(source) {
            for (library, owners) in OWNERS {
                let names_it = uses_library(line, library);
                if names_it && !owners.contains(&source.room.as_str()) {
                    faults.push(format!("{}:{number}: {library} belongs to {owners:?}", source.path));
                }
            }
        }
    }
    report(&faults);
}

/// Whether a path in `line` starts with the library's name.
fn uses_library(line: &str, library: &str) -> bool {
    let path = format!("{library}::");
    line.match_indices(&path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
    })
}

#[test]
fn what_must_be_absent_is_absent() {
    let mut faults = Vec::new();
    for source in &sources() {
        for (number, line) in code(source) {
            for (word, places, reason) in ABSENCES {
                if line.contains(word) && !places.iter().any(|place| source.path.starts_with(place)) {
                    faults.push(format!("{}:{number}: \"{word}\": {reason}", source.path));
                }
            }
        }
    }
    report(&faults);
}

#[test]
fn files_are_short_and_say_what_they_decide() {
    let mut faults = Vec::new();
    for source in &sources() {
        if source.lines.len() > FILE_LINES {
            faults.push(format!("{}: {} lines before tests, {FILE_LINES} at most", source.path, source.lines.len()));
        }
        if !source.lines.first().is_some_and(|line| line.starts_with("//!")) {
            faults.push(format!("{}:1: begins with no //! line", source.path));
        }
    }
    report(&faults);
}

#[test]
fn functions_are_short() {
    let mut lengths: Vec<(usize, String)> = Vec::new();
    for source in &sources() {
        let mut open: Option<(usize, usize)> = None;
        for (index, line) in source.lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let is_start =
                line.trim_start().split(' ').take(4).any(|word| word == "fn") && !line.trim_end().ends_with(';');
            if is_start && open.is_none() {
                open = Some((index, indent));
            }
            if let Some((start, depth)) = open
                && (index == start && line.trim_end().ends_with('}')
                    || index > start && indent == depth && line.trim() == "}")
            {
                lengths.push((index - start + 1, format!("{}:{}", source.path, start + 1)));
                open = None;
            }
        }
    }
    lengths.sort();
    let at = |share: f64| lengths[((lengths.len() - 1) as f64 * share) as usize].0;
    let (median, p90, longest) = (at(0.5), at(0.9), lengths.last().expect("there are functions"));
    assert!(median <= 10 && p90 <= 30 && longest.0 <= 70, "median {median}, p90 {p90}, longest {longest:?}");
}
