//! The files of `examples/` work with the program of this checkout.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(path)
}

fn run(command: &mut Command) -> Output {
    command.output().expect("runs")
}

#[test]
fn the_custom_pack_is_made_and_the_program_accepts_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let pack = folder.path().join("my-pack");
    let made = run(Command::new(example("custom-pack/make.sh")).arg(&pack));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let listed = run(Command::new(env!("CARGO_BIN_EXE_visage")).arg("--pack").arg(&pack).args(["avatars", "--json"]));
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let avatars: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    assert_eq!(
        (&avatars[0]["name"], &avatars[0]["title"], &avatars[1]),
        (&"robin".into(), &"Robin".into(), &().into())
    );
    let layer = std::fs::read_to_string(pack.join("avatars/robin/layers/scarf.svg")).expect("a layer");
    assert!(layer.contains("#6b45b0") && !layer.contains("#23958f"), "the scarf has another colour");
    assert!(
        !run(Command::new(example("custom-pack/make.sh")).arg(&pack)).status.success(),
        "an existing folder is kept"
    );
}

#[test]
fn watch_states_its_usage() {
    let usage = run(&mut Command::new(example("gstreamer/watch.sh")));
    assert_eq!(usage.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&usage.stderr).contains("watch.sh ENDPOINT --count"));
}

#[test]
fn speak_states_its_usage_and_refuses_unknown_types() {
    let usage = run(&mut Command::new(example("speak.sh")));
    assert_eq!(usage.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&usage.stderr).contains("speak.sh SESSION FILE"));
    assert_eq!(run(Command::new(example("speak.sh")).args(["id", "song.mid"])).status.code(), Some(2));
}

#[test]
fn the_service_unit_starts_serve_with_variables_that_exist() {
    let unit = std::fs::read_to_string(example("systemd/visage.service")).expect("the unit");
    assert!(unit.contains("\nExecStart=/usr/local/bin/visage serve\n"));
    let help = run(Command::new(env!("CARGO_BIN_EXE_visage")).args(["serve", "--help"]));
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let dockerfile = include_str!("../Dockerfile");
    for text in [unit.as_str(), dockerfile, include_str!("../docs/deployment.md")] {
        let names =
            text.split(|c: char| !c.is_ascii_uppercase() && c != '_').filter(|word| word.starts_with("VISAGE_"));
        for name in names.filter(|name| !["VISAGE_NAME", "VISAGE_"].contains(name)) {
            assert!(help.contains(name), "no such variable: {name}");
        }
    }
}
