//! `docs/api.md` documents every route, and its examples run as printed.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use visage::serve;

use super::{offer, server};

const PAGE: &str = include_str!("../../docs/api.md");

/// Responses to these methods need no example of their own.
const METHODS: [&str; 5] = ["get", "post", "patch", "delete", "put"];

#[test]
fn every_operation_has_a_section() {
    let sections: BTreeSet<String> =
        PAGE.lines().filter_map(|line| line.strip_prefix("### ")).map(str::to_owned).collect();
    let document = super::document();
    let paths = document["paths"].as_object().expect("paths");
    let operations = paths.iter().flat_map(|(path, item)| {
        let methods = METHODS.into_iter().filter(|method| item.get(method).is_some());
        methods.map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    let missing: Vec<String> = operations.filter(|operation| !sections.contains(operation)).collect();
    assert!(missing.is_empty(), "docs/api.md has no section for {missing:?}");
    assert!(serve::paths().all(|path| paths.contains_key(path)));
}

/// The examples in the order of the page, as one script.
fn script(server: &str) -> String {
    let mut script = String::from("set -euo pipefail\n");
    let mut is_shell = false;
    for line in PAGE.lines() {
        match line.trim() {
            "```sh" => is_shell = true,
            "```" => is_shell = false,
            line if is_shell && line.starts_with("export VISAGE=") => script.extend(["export VISAGE=", server, "\n"]),
            line if is_shell => script.extend([line, "\n"]),
            _ => {}
        }
    }
    script
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_runs() {
    let has = |tool: &str| Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    if let Some(missing) = ["bash", "curl", "jq", "timeout"].into_iter().find(|tool| !has(tool)) {
        println!("skipped: the examples of docs/api.md (no {missing} on this machine)");
        return;
    }
    let server = server(3, None);
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("offer.sdp"), offer()).expect("written");
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("web/samples/hello.wav");
    std::fs::copy(sample, folder.path().join("hello.wav")).expect("copied");
    let (script, at) = (script(&server.base), folder.path().to_owned());
    let run = tokio::task::spawn_blocking(move || Command::new("bash").args(["-xc", &script]).current_dir(at).output());
    let output = run.await.expect("no panic").expect("bash runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    server.close().await;
}
