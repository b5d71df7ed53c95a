//! Dependencies: licences, known advisories, minimum Rust version, and entries of `Cargo.toml` that name no dependency.
//!
//! Decides what may be linked into the program. Works offline, from `cargo metadata`. The list of advisories is a copy by hand (dated
//! below) of those that concern crates of this program; with network, `cargo audit` checks the whole database.

use std::process::Command;

use serde_json::Value;

/// Licences that the program may contain (SPDX identifiers). The program is MIT OR Apache-2.0: no licence here asks for more than
/// a notice, except MPL-2.0, which asks for the source of the unmodified files.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Date of [`ADVISORIES`].
const ADVISORIES_AS_OF: &str = "2026-11-29";

/// `RustSec` advisories for crates that this program uses, or might come to use through others: crate, first version that is not
/// affected (empty: none is), advisory.
const ADVISORIES: &[(&str, &str, &str)] = &[
    ("ansi_term", "", "RUSTSEC-2021-0139: unmaintained"),
    ("atty", "", "RUSTSEC-2021-0145: unaligned read; unmaintained"),
    ("aws-lc-sys", "0.39.0", "RUSTSEC-2026-0044 to 0048: certificate validation, AES-CCM timing"),
    ("bytes", "1.11.1", "RUSTSEC-2026-0007: integer overflow in BytesMut::reserve"),
    ("crossbeam-channel", "0.5.15", "RUSTSEC-2025-0024: double free on drop"),
    ("derivative", "", "RUSTSEC-2024-0388: unmaintained"),
    ("h2", "0.4.4", "RUSTSEC-2024-0332: CONTINUATION flood"),
    ("idna", "1.0.0", "RUSTSEC-2024-0421: Punycode labels that decode to ASCII"),
    ("instant", "", "RUSTSEC-2024-0384: unmaintained"),
    ("mio", "0.8.11", "RUSTSEC-2024-0019: named-pipe tokens after deregistration"),
    ("owning_ref", "", "RUSTSEC-2022-0040: unsound"),
    ("paste", "", "RUSTSEC-2024-0436: unmaintained"),
    ("proc-macro-error", "", "RUSTSEC-2024-0370: unmaintained"),
    ("ring", "0.17.12", "RUSTSEC-2025-0009: panic on overflow checking"),
    ("rustls", "0.23.18", "RUSTSEC-2024-0399: panic in Acceptor::accept"),
    ("rustls-pemfile", "", "RUSTSEC-2025-0134: unmaintained"),
    ("rustls-webpki", "0.103.13", "RUSTSEC-2026-0049, 0098, 0099, 0104: name constraints, CRLs"),
    ("serde_yml", "", "RUSTSEC-2025-0068: unsound; unmaintained"),
    ("time", "0.3.47", "RUSTSEC-2026-0009: stack exhaustion"),
    ("tokio", "1.44.2", "RUSTSEC-2025-0023: broadcast clones in parallel without Sync"),
    ("tracing-subscriber", "0.3.20", "RUSTSEC-2025-0055: escape sequences reach the terminal"),
    ("yaml-rust", "", "RUSTSEC-2024-0320: unmaintained"),
];

/// `cargo metadata` with the features of all builds, for the platforms that this lock file resolves.
fn metadata() -> Value {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(["metadata", "--format-version", "1", "--locked", "--offline"]);
    cargo.args(["--filter-platform", "x86_64-unknown-linux-gnu"]);
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Packages that are not members of the workspace.
fn dependencies() -> Vec<Value> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages").clone();
    packages.into_iter().filter(|package| !package["source"].is_null()).collect()
}

fn text<'a>(package: &'a Value, key: &str) -> &'a str {
    package[key].as_str().unwrap_or_default()
}

/// A version's numbers; a pre-release counts as its release.
fn version(text: &str) -> Vec<u64> {
    let release = text.split(['-', '+']).next().unwrap_or_default();
    release.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

/// Whether an SPDX expression permits one of [`LICENCES`] for each part. `/` is the old spelling of OR. Brackets are evaluated from
/// the innermost pair outwards.
fn is_allowed(expression: &str) -> bool {
    let mut expression = expression.replace('/', " OR ");
    while let Some(close) = expression.find(')') {
        let Some(open) = expression[..close].rfind('(') else { return false };
        let inner = if is_allowed(&expression[open + 1..close]) { "MIT" } else { "REFUSED" };
        expression.replace_range(open..=close, inner);
    }
    let is_permitted = |part: &str| LICENCES.contains(&part.trim());
    expression.split(" OR ").any(|choice| choice.split(" AND ").all(is_permitted))
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    let refused = dependencies().into_iter().filter(|package| !is_allowed(text(package, "license")));
    let refused: Vec<String> = refused
        .map(|package| {
            format!("{} {}: \"{}\"", text(&package, "name"), text(&package, "version"), text(&package, "license"))
        })
        .collect();
    assert!(refused.is_empty(), "licences that are not allowed:\n{}", refused.join("\n"));
}

#[test]
fn no_dependency_has_a_listed_advisory() {
    let mut affected = Vec::new();
    for package in dependencies() {
        let (name, found) = (text(&package, "name"), text(&package, "version"));
        let known = ADVISORIES
            .iter()
            .filter(|(listed, fixed, _)| *listed == name && (fixed.is_empty() || version(found) < version(fixed)));
        affected.extend(known.map(|(_, _, advisory)| format!("{name} {found}: {advisory}")));
    }
    affected.retain(|line| !ACCEPTED.iter().any(|(start, _)| line.starts_with(start)));
    assert!(affected.is_empty(), "advisories (list of {ADVISORIES_AS_OF}):\n{}", affected.join("\n"));
}

/// Advisories that do not concern this program: start of the finding, and why.
const ACCEPTED: &[(&str, &str)] = &[];

#[test]
fn no_dependency_needs_a_newer_rust_than_the_manifest_states() {
    let own = version(env!("CARGO_PKG_RUST_VERSION"));
    let newer: Vec<String> = dependencies()
        .iter()
        .filter(|package| version(text(package, "rust_version")) > own)
        .map(|package| format!("{} needs Rust {}", text(package, "name"), text(package, "rust_version")))
        .collect();
    assert!(newer.is_empty(), "rust-version is {}:\n{}", env!("CARGO_PKG_RUST_VERSION"), newer.join("\n"));
}

#[test]
fn every_profile_entry_names_a_package_of_the_lock_file() {
    let locked: Vec<&str> = include_str!("../Cargo.lock")
        .lines()
        .filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
        .collect();
    let lines = include_str!("../Cargo.toml").lines().skip_while(|line| *line != "[profile.release.package]").skip(1);
    let entries = lines.take_while(|line| !line.starts_with('[')).filter(|line| line.contains("opt-level"));
    let names: Vec<&str> = entries.filter_map(|line| Some(line.split_once(" = ")?.0.trim_matches('"'))).collect();
    let unknown: Vec<&&str> = names.iter().filter(|name| !locked.contains(*name)).collect();
    assert!(!names.is_empty() && unknown.is_empty(), "no such packages: {unknown:?}");
}

#[test]
fn licence_expressions_are_evaluated_with_brackets() {
    for allowed in ["MIT", "GPL-3.0 OR MIT", "MIT/Apache-2.0", "ISC AND (GPL-2.0 OR MIT) AND Zlib"] {
        assert!(is_allowed(allowed), "{allowed}");
    }
    for refused in ["", "GPL-3.0", "MIT AND GPL-3.0", "ISC AND (GPL-2.0 OR AGPL-3.0)", "Apache-2.0 WITH Commons-Clause"]
    {
        assert!(!is_allowed(refused), "{refused}");
    }
}
