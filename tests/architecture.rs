//! The architecture as data: which module may use which, which module owns which library, what must not occur, which
//! words are retired, and size limits.
//!
//! Clippy checks the number of arguments and forbids bool parameters (`.clippy.toml`).

#[path = "architecture/rules.rs"]
mod rules;
#[path = "architecture/source.rs"]
mod source;
#[path = "architecture/words.rs"]
mod words;

use rules::{
    Rule, file_heads, file_length, forbidden_code, function_length, functions, layer, layering, libraries, names,
    ownership, unsafe_code, uses,
};
use source::{Source, sources};
use words::{retired_words, words_in};

/// Modules with their layer. A module uses only modules of lower layers and itself.
const LAYERS: &[(&str, u8)] = &[
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

/// Which modules may use which library. Every dependency is listed here or in `UNRESTRICTED`, and every owner uses it.
const OWNERS: &[(&str, &[&str])] = &[
    ("anyhow", &["cli"]),
    ("axum", &["serve"]),
    ("axum_server", &["serve"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("strsim", &["cli"]),
    ("crossbeam_queue", &["session"]),
    ("fastrand", &["bench", "doctor", "model"]),
    ("futures_util", &["bench", "rtc", "serve"]),
    ("hdrhistogram", &["telemetry"]),
    // HTTP/1 alone with upgrades: axum-server offers one or the other.
    ("hyper_util", &["serve"]),
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
    // Niceness of the threads that decode uploads.
    ("rustix", &["serve"]),
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
    ("tokio_tungstenite", &["bench"]),
    ("toml", &["doctor"]),
    ("tower", &["serve"]),
    ("tower_http", &["serve"]),
    // The synthetic clients never log.
    ("tracing", &["cli", "session", "rtc", "serve"]),
    ("tracing_subscriber", &["cli"]),
    ("uuid", &["session"]),
    ("visage_engines", &["backend", "cli", "doctor", "model", "render", "serve"]),
    ("visage_kernels", &["backend", "gpu_load", "codec", "doctor", "face", "cli"]),
    ("webrtc", &["bench"]),
    // Not dependencies of the root package: their calls are unsafe, so only `kernels/` may use them.
    ("vpx_sys", &[]),
    ("trtx", &[]),
    ("libloading", &[]),
];

/// Libraries that every module may use.
const UNRESTRICTED: &[&str] = &["bytes", "serde", "thiserror"];

/// Code that may occur only under some paths, with the reason.
const FORBIDDEN_CODE: &[(&str, &[&str], &str)] = &[
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
    ("todo!", &[], "no unfinished code"),
    ("unimplemented!", &[], "no unfinished code"),
];
/// Where threads and tasks start. Besides the modules that serve: the synthetic clients of bench and the server it starts,
/// the subprocesses of doctor (a driver that hangs must not hang doctor), and the wait for signals in cli.
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
const STARTS: &str = "threads and tasks start only in session, rtc and serve";

/// Words that carry no meaning in a name.
const EMPTY_WORDS: &[&str] =
    &["manager", "handler", "helper", "helpers", "util", "utils", "common", "misc", "data", "process"];

/// Words and phrases of the first versions' private vocabulary. They occur in no identifier, comment, message or document.
#[rustfmt::skip]
const RETIRED_WORDS: &[&str] = &[
    "told", "tells", "reckon", "reckons", "reckoned", "reckoning", "whoever", "twin", "twins", "anew", "hush", "hushed",
    "hushes", "recast", "newcomer", "forge", "workshop", "studio", "teller", "glimpse", "greeted", "greeting", "heed",
    "heeds", "obey", "overtaken", "lobby", "desk", "door", "doors", "house", "outlook", "mending", "passage", "strangers",
    "goodbye", "cure", "cures", "weather", "key picture", "key pictures", "way out", "by itself", "held to", "hold to",
    "holds to", "on stage", "card", "cards", "film", "films", "storm", "storms", "mend", "mends", "mended", "stranger",
    "put aside", "half done",
];
/// Retired names of types and modules that are ordinary words in prose.
#[rustfmt::skip]
const RETIRED_NAMES: &[&str] = &[
    "Wish", "Wishes", "ShowParts", "ShowRequest", "Actor", "PortraitActor", "AvatarCard", "PictureSize", "PictureCodec",
    "EncodedPicture", "VoicePlan", "VoiceSteps", "CardUse", "CardWork", "CardReading", "CardConfig", "CardLoop",
    "BitrateTeller", "PeerLife", "SoundError", "LINE_HZ", "VOICE_HZ", "keep_voice", "why_not", "is_watched",
];
/// Path prefix, word, and why the word is right there.
const RETIRED_WORD_EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("tests/architecture", "*", "the rule itself"),
    ("src/doctor/symptoms/", "studio", "NVIDIA's Studio Driver"),
    ("src/doctor/symptoms/", "card", "the users' words for a GPU"),
    ("src/codec/audio_file/tests.rs", "cards", "sound cards"),
    ("web/samples/", "card", "the model card of a voice"),
];

/// Limits in lines: a file before its tests; a function: maximum, 90th percentile, median.
const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 70;
const P90_LINES: usize = 30;
const MEDIAN_LINES: usize = 10;

const SAFE: &[&str] = &["src"];
const PACKAGES: &[&str] = &["src", "engines/src", "kernels/src"];
const EVERYTHING: &[&str] = &["src", "engines/src", "kernels/src", "tests", "build.rs"];

fn check(rule: Rule, folders: &[&str]) {
    report(&sources(folders).iter().flat_map(rule).collect::<Vec<_>>());
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn a_module_uses_only_modules_of_lower_layers() {
    check(layering, SAFE);
}

#[test]
fn the_layers_in_contributing_match_this_table() {
    let mut listed = Vec::new();
    for line in include_str!("../CONTRIBUTING.md").lines() {
        let (number, rest) = line.trim_start().split_once(' ').unwrap_or_default();
        let Ok(number) = number.parse::<u8>() else { continue };
        listed.extend(rest.split_whitespace().take_while(|word| layer(word).is_some()).map(|module| (module, number)));
    }
    listed.sort_unstable();
    let mut layers = LAYERS.to_vec();
    layers.sort_unstable();
    assert_eq!(listed, layers);
}

#[test]
fn a_library_is_used_only_by_its_owner() {
    check(libraries, SAFE);
}

#[test]
fn every_dependency_has_an_owner_that_uses_it() {
    let sources = sources(SAFE);
    let used = |module: &str, name: &str| {
        sources.iter().any(|file| file.module == module && uses(file, name).next().is_some())
    };
    report(&ownership(include_str!("../Cargo.toml"), used));
}

#[test]
fn forbidden_code_does_not_occur() {
    check(forbidden_code, SAFE);
}

#[test]
fn unsafe_code_is_only_in_kernels_and_states_its_safety() {
    check(unsafe_code, EVERYTHING);
}

#[test]
fn every_file_opens_with_its_responsibility() {
    check(file_heads, EVERYTHING);
}

#[test]
fn names_carry_meaning() {
    check(names, EVERYTHING);
}

#[test]
fn retired_words_do_not_occur() {
    report(&retired_words());
}

#[test]
fn a_retired_word_is_found_in_prose_and_names() {
    let text =
        "/// It was Told.\nfn tell_desk() {}\nlet x = ShowParts::new(); // keyboard\nlet by_itself = KeyPicture;";
    let found: Vec<_> = words_in(text).collect();
    assert_eq!(found, [(1, "told"), (2, "desk"), (3, "ShowParts"), (4, "key picture"), (4, "by itself")]);
}

#[test]
fn files_and_functions_are_short() {
    check(file_length, PACKAGES);
    check(function_length, PACKAGES);
    let mut lengths: Vec<_> = sources(PACKAGES).iter().flat_map(functions).collect();
    lengths.sort();
    let at = |share: f64| &lengths[((lengths.len() - 1) as f64 * share) as usize];
    let (half, most) = (at(0.5), at(0.9));
    assert!(half.0 <= MEDIAN_LINES && most.0 <= P90_LINES, "median {half:?}, 90th percentile {most:?}");
}

#[test]
fn each_rule_reports_a_violation_with_its_line() {
    let long_function = format!("//! A.\nfn f() {{\n{}}}\n", "    g();\n".repeat(FUNCTION_LINES));
    let long_file = format!("//! A.\n{}", "const A: u8 = 1;\n".repeat(FILE_LINES));
    let cases: &[(Rule, &str, &str, usize)] = &[
        (layering, "src/codec/a.rs", "use crate::serve::b;", 1),
        (layering, "src/codec/a.rs", "use crate::{\n    time::{Rate, rtp},\n    rtc::RtcServer,\n};", 3),
        (layering, "src/codec/mod.rs", "use super::backend::CpuBackend;", 1),
        (layering, "src/codec/a/b.rs", "use super::b;\nuse super::super::super::{\n    cli\n};", 3),
        (layering, "src/unlisted/a.rs", "", 1),
        (libraries, "src/adapt/a.rs", "\nfn f() { tokio::join!(); }", 2),
        (libraries, "src/adapt/a.rs", "use {std::fmt,\n    sha2::Digest};", 2),
        (libraries, "src/adapt/a.rs", "use tracing as log;", 1),
        (forbidden_code, "src/codec/a.rs", "fn f() {\n    let g = move || tokio::task::spawn_blocking(h);\n}", 2),
        (forbidden_code, "src/bench/lips.rs", "let calls = JoinSet::new();", 1),
        (forbidden_code, "src/cli/mod.rs", "\nruntime.spawn(f);", 2),
        (forbidden_code, "src/audio/a.rs", "let now = std::time::Instant::now();", 1),
        (unsafe_code, "src/adapt/a.rs", "// SAFETY: none.\nunsafe { f() }", 2),
        (unsafe_code, "kernels/src/a.rs", "// SAFETY: held.\nlet a = 1;\nlet b =\n    unsafe { f() };", 4),
        (file_heads, "engines/src/a.rs", "// A.", 1),
        (names, "src/adapt/utils.rs", "", 1),
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
        ownership("[dependencies]\nleft-pad = \"1\"\nserde.workspace = true\npng = \"1\"\n", |_, name| name == "serde");
    let wanted = ["Cargo.toml:2: left_pad has no owner", "Cargo.toml:4: png belongs to serve, which does not use it"];
    assert!(
        unowned.len() == 2 && unowned.iter().zip(wanted).all(|(fault, wanted)| fault.starts_with(wanted)),
        "{unowned:?}"
    );
}

#[test]
fn rules_ignore_comments_strings_and_tests() {
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
    let rules: [Rule; 8] =
        [layering, libraries, forbidden_code, unsafe_code, file_heads, names, file_length, function_length];
    report(&rules.iter().flat_map(|rule| rule(&source)).collect::<Vec<_>>());
    assert_eq!(functions(&source), [(4, "src/codec/a.rs:6".to_owned())]);
}
