//! The house's plan as data: which room may name which, who owns which library, what must be absent, how large a thing
//! may be.
//!
//! How many arguments a function takes, and that none is a bool, is clippy's to hold (`.clippy.toml`).

#[path = "architecture/rules.rs"]
mod rules;
#[path = "architecture/source.rs"]
mod source;

use rules::{
    Rule, absences, arrows, file_length, floor, function_length, functions, heads, ledger, libraries, names,
    unsafe_code, uses,
};
use source::{Source, sources};

/// Rooms from the ground up. A room names only rooms of lower floors and itself.
const FLOORS: &[(&str, u8)] = &[
    ("time", 0),
    ("telemetry", 1),
    ("media", 2),
    ("audio", 3),
    ("adapt", 3),
    ("face", 3),
    ("gpu_load", 3),
    ("codec", 4),
    ("backend", 4),
    ("model", 5),
    ("session", 6),
    ("rtc", 7),
    ("api_client", 7),
    ("serve", 8),
    ("render", 8),
    ("bench", 8),
    ("doctor", 8),
    ("cli", 9),
];

/// Who may name which library: every dependency stands here or in `ANYONE`, and every owner has a use for it.
const OWNERS: &[(&str, &[&str])] = &[
    ("anyhow", &["cli"]),
    ("axum", &["serve"]),
    ("axum_server", &["serve"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("strsim", &["cli"]),
    ("crossbeam_queue", &["session"]),
    ("fastrand", &["bench", "doctor", "model"]),
    ("futures_util", &["rtc", "serve"]),
    ("hdrhistogram", &["telemetry"]),
    ("if_addrs", &["rtc", "serve"]),
    ("image_webp", &["face"]),
    ("indicatif", &["cli"]),
    ("openh264", &["codec", "bench"]),
    ("opus", &["codec", "bench"]),
    ("png", &["serve"]),
    ("rcgen", &["serve"]),
    ("realfft", &["audio"]),
    ("reqwest", &["api_client"]),
    ("resvg", &["face"]),
    ("rten", &["backend"]),
    ("rten_tensor", &["backend"]),
    ("rtc", &["bench"]),
    ("rubato", &["codec", "audio"]),
    ("rustls", &["serve"]),
    ("serde_json", &["api_client", "bench", "cli", "doctor", "model", "face", "serve"]),
    ("serde_path_to_error", &["serve"]),
    ("sha2", &["serve"]),
    ("shiguredo_mp4", &["render"]),
    ("socket2", &["rtc"]),
    ("str0m", &["rtc"]),
    ("subtle", &["serve"]),
    ("symphonia", &["codec"]),
    ("tokio", &["session", "rtc", "serve", "render", "bench", "doctor", "cli"]),
    ("tower", &["serve"]),
    ("tower_http", &["serve"]),
    // RtcFactory never log.
    ("tracing", &["cli", "session", "rtc"]),
    ("tracing_subscriber", &["cli"]),
    ("uuid", &["session"]),
    ("visage_engines", &["backend", "cli", "doctor", "model"]),
    ("visage_kernels", &["backend", "gpu_load", "codec", "doctor", "face", "cli"]),
    ("webrtc", &["bench"]),
    // No dependencies of the root package: their calls are unsafe, and kernels alone may name them.
    ("vpx_sys", &[]),
    ("trtx", &[]),
    ("libloading", &[]),
];

/// Libraries that any room may name.
const ANYONE: &[&str] = &["bytes", "serde", "thiserror"];

/// Words that may stand only in some places, with the reason.
const ABSENCES: &[(&str, &[&str], &str)] = &[
    ("Instant::now", &["src/time/wall.rs"], "only time::Wall reads the clock"),
    ("SystemTime::now", &["src/time/wall.rs"], "only time::Wall reads the clock"),
    ("env::var", &["src/cli/"], "only cli reads the environment"),
    ("env::vars", &["src/cli/"], "only cli reads the environment"),
    ("env::var_os", &["src/cli/"], "only cli reads the environment"),
    ("thread::sleep", &[], "nothing sleeps"),
    ("unbounded_channel", &[], "every queue is bounded"),
    ("mpsc::unbounded", &[], "every queue is bounded"),
    ("mpsc::channel()", &[], "every queue is bounded"),
    ("thread::Builder", STARTERS, STARTS),
    ("thread::spawn", STARTERS, STARTS),
    ("thread::scope", STARTERS, STARTS),
    ("tokio::spawn", STARTERS, STARTS),
    ("spawn_blocking", STARTERS, STARTS),
    ("spawn_local", STARTERS, STARTS),
    ("JoinSet", STARTERS, STARTS),
    (".spawn(", STARTERS, STARTS),
    ("print!", &["src/cli/"], "only cli prints"),
    ("println!", &["src/cli/"], "only cli prints"),
    ("todo!", &[], "nothing is left to do"),
    ("unimplemented!", &[], "nothing is left to do"),
];
/// Where threads and tasks start. Besides the rooms that serve: bench's callers, which are the other end of the wire, the
/// server that it starts, the children of doctor, which hang in its place, and the wait for signals, which belongs to the program.
const STARTERS: &[&str] = &[
    "src/session/",
    "src/rtc/",
    "src/serve/",
    "src/bench/client.rs",
    "src/bench/churn.rs",
    "src/bench/server.rs",
    "src/cli/serve.rs",
    "src/doctor/probe/subprocess.rs",
];
const STARTS: &str = "threads and tasks start only in pipeline, rtc and serve";

/// Words that say nothing about the thing they name.
const EMPTY_WORDS: &[&str] =
    &["manager", "handler", "helper", "helpers", "util", "utils", "common", "misc", "data", "process"];

/// Lines of a file before its tests; lines of a function: the longest, nine of ten, half of them.
const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 70;
const NINE_OF_TEN_LINES: usize = 30;
const HALF_OF_THEM_LINES: usize = 10;

const SAFE: &[&str] = &["src"];
const PACKAGES: &[&str] = &["src", "engines/src", "kernels/src"];
const EVERYTHING: &[&str] = &["src", "engines/src", "kernels/src", "tests", "build.rs"];

fn hold(rule: Rule, folders: &[&str]) {
    report(&sources(folders).iter().flat_map(rule).collect::<Vec<_>>());
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn a_room_names_only_rooms_below_it() {
    hold(arrows, SAFE);
}

#[test]
fn the_floors_drawn_in_contributing_are_these() {
    let mut drawn = Vec::new();
    for line in include_str!("../CONTRIBUTING.md").lines() {
        let (number, rest) = line.trim_start().split_once(' ').unwrap_or_default();
        let Ok(number) = number.parse::<u8>() else { continue };
        drawn.extend(rest.split_whitespace().take_while(|word| floor(word).is_some()).map(|room| (room, number)));
    }
    drawn.sort_unstable();
    let mut floors = FLOORS.to_vec();
    floors.sort_unstable();
    assert_eq!(drawn, floors);
}

#[test]
fn a_library_is_named_only_by_its_owner() {
    hold(libraries, SAFE);
}

#[test]
fn every_dependency_has_an_owner_and_every_owner_a_use_for_it() {
    let sources = sources(SAFE);
    let used =
        |room: &str, name: &str| sources.iter().any(|file| file.room == room && uses(file, name).next().is_some());
    report(&ledger(include_str!("../Cargo.toml"), used));
}

#[test]
fn what_must_be_absent_is_absent() {
    hold(absences, SAFE);
}

#[test]
fn unsafe_code_stands_in_kernels_and_says_why_it_is_sound() {
    hold(unsafe_code, EVERYTHING);
}

#[test]
fn files_say_what_they_decide() {
    hold(heads, EVERYTHING);
}

#[test]
fn names_say_something() {
    hold(names, EVERYTHING);
}

#[test]
fn files_and_functions_are_short() {
    hold(file_length, PACKAGES);
    hold(function_length, PACKAGES);
    let mut lengths: Vec<_> = sources(PACKAGES).iter().flat_map(functions).collect();
    lengths.sort();
    let at = |share: f64| &lengths[((lengths.len() - 1) as f64 * share) as usize];
    let (half, most) = (at(0.5), at(0.9));
    assert!(
        half.0 <= HALF_OF_THEM_LINES && most.0 <= NINE_OF_TEN_LINES,
        "half end at {half:?}, nine of ten at {most:?}"
    );
}

#[test]
fn each_rule_sees_what_it_forbids_and_where() {
    let long_function = format!("//! A.\nfn f() {{\n{}}}\n", "    g();\n".repeat(FUNCTION_LINES));
    let long_file = format!("//! A.\n{}", "const A: u8 = 1;\n".repeat(FILE_LINES));
    let cases: &[(Rule, &str, &str, usize)] = &[
        (arrows, "src/codec/a.rs", "use crate::serve::b;", 1),
        (arrows, "src/codec/a.rs", "use crate::{\n    time::{Rate, rtp},\n    rtc::RtcServer,\n};", 3),
        (arrows, "src/codec/mod.rs", "use super::backend::CpuBackend;", 1),
        (arrows, "src/codec/a/b.rs", "use super::b;\nuse super::super::super::{\n    cli\n};", 3),
        (arrows, "src/attic/a.rs", "", 1),
        (libraries, "src/adapt/a.rs", "\nfn f() { tokio::join!(); }", 2),
        (libraries, "src/adapt/a.rs", "use {std::fmt,\n    sha2::Digest};", 2),
        (libraries, "src/adapt/a.rs", "use tracing as talk;", 1),
        (absences, "src/codec/a.rs", "fn f() {\n    let g = move || tokio::task::spawn_blocking(h);\n}", 2),
        (absences, "src/bench/lips.rs", "let calls = JoinSet::new();", 1),
        (absences, "src/cli/mod.rs", "\nruntime.spawn(f);", 2),
        (absences, "src/audio/a.rs", "let now = std::time::Instant::now();", 1),
        (unsafe_code, "src/adapt/a.rs", "// SAFETY: none.\nunsafe { f() }", 2),
        (unsafe_code, "kernels/src/a.rs", "// SAFETY: held.\nlet a = 1;\nlet b =\n    unsafe { f() };", 4),
        (heads, "engines/src/a.rs", "// A.", 1),
        (names, "src/pace/utils.rs", "", 1),
        (names, "src/adapt/a.rs", "\npub struct RequestHandler;", 2),
        (names, "src/adapt/a.rs", "fn process() {}", 1),
        (file_length, "src/adapt/a.rs", &long_file, FILE_LINES + 1),
        (function_length, "src/adapt/a.rs", &long_function, 2),
    ];
    for (rule, path, text, row) in cases {
        let faults = rule(&Source::new(path, text));
        assert!(faults.len() == 1 && faults[0].starts_with(&format!("{path}:{row}: ")), "{path}: {text}\n{faults:?}");
    }
    let unowned =
        ledger("[dependencies]\nleft-pad = \"1\"\nserde.workspace = true\npng = \"1\"\n", |_, name| name == "serde");
    let wanted = ["Cargo.toml:2: left_pad has no owner", "Cargo.toml:4: png belongs to serve, which does not use it"];
    assert!(
        unowned.len() == 2 && unowned.iter().zip(wanted).all(|(fault, wanted)| fault.starts_with(wanted)),
        "{unowned:?}"
    );
}

#[test]
fn no_rule_minds_what_is_said_in_comments_quotes_and_tests() {
    let text = r##"//! Says crate::serve and unsafe.

use crate::time::{Rate, rtp};

/// tokio::spawn is for rtc:: and "others".
fn decode_data<'a>(rtc: &'a str, quote: char) -> bool {
    /* println!("") */
    quote == '"' || rtc == "todo! \" unsafe" || rtc == r#"sha2:: "#
}

#[cfg(test)]
mod tests {
    use crate::cli::x;
}
"##;
    let source = Source::new("src/codec/a.rs", text);
    let rules: [Rule; 8] = [arrows, libraries, absences, unsafe_code, heads, names, file_length, function_length];
    report(&rules.iter().flat_map(|rule| rule(&source)).collect::<Vec<_>>());
    assert_eq!(functions(&source), [(4, "src/codec/a.rs:6".to_owned())]);
}
