//! `visage engines` and `serve` with the real TensorRT for RTX: engines for GPUs that are not in the machine, built, damaged,
//! killed during the build, and rebuilt. Runs with `--features tensorrt-rtx`; reports that it is skipped without the library.

#![cfg(feature = "tensorrt-rtx")]
#![expect(clippy::disallowed_methods, reason = "a variable names the library")]
#![expect(clippy::print_stdout, reason = "a skipped test says why")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

/// A data folder.
struct Home(TempDir);

impl Home {
    /// `None` without the library, after printing that the test is skipped.
    fn new() -> Option<Self> {
        if std::env::var_os("VISAGE_TENSORRT_LIB").is_none() {
            println!("skipped: tensorrt: VISAGE_TENSORRT_LIB does not say where TensorRT for RTX is");
            return None;
        }
        Some(Self(tempfile::tempdir().expect("a folder")))
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_visage"));
        command.args(line.split_whitespace()).env("VISAGE_DATA_DIR", self.0.path());
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().expect("the program runs")
    }

    /// The JSON output of a command, which must succeed.
    fn printed(&self, line: &str) -> Value {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    fn file(&self, stem: &str, ending: &str) -> PathBuf {
        self.0.path().join("engines").join(format!("{stem}.{ending}"))
    }
}

const BUILD: &str = "engines build --sm 8.9 --json";

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().expect("text")
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).expect("copied");
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn engines_are_built_for_gpus_that_are_not_in_the_machine_and_found_again() {
    let Some(home) = Home::new() else { return };
    let planned = home.printed("engines build --sm 8.9,12.0 --dry-run --json");
    let stems: Vec<_> = planned.as_array().expect("a list").iter().map(|row| text(row, "engine")).collect();
    assert!(stems.len() == 2 && stems[0].contains(".sm89.rtx1.7.") && stems[1].contains(".sm120.rtx1.7."), "{stems:?}");
    assert!(home.printed("engines list --json").as_array().is_some_and(Vec::is_empty), "a dry run builds nothing");
    let refused = home.run("engines build --sm 8.9,9.0 --json");
    assert!(stderr(&refused).contains("12.1, not for 9.0"), "{}", stderr(&refused));
    assert!(
        home.printed("engines list --json").as_array().is_some_and(Vec::is_empty),
        "everything is checked before the first build"
    );
    for state in ["built", "exists"] {
        let made = home.printed("engines build --sm 8.9,12.0 --json");
        assert!(made.as_array().expect("a list").iter().all(|row| text(row, "state") == state), "{state}: {made}");
    }
    let sidecar: Value =
        serde_json::from_slice(&fs::read(home.file(stems[0], "json")).expect("a sidecar")).expect("JSON");
    let (built, version) = (&sidecar["built"], text(&sidecar["key"], "version"));
    for (name, least) in [("seconds", 0.01), ("peak_memory_bytes", 1e7), ("activation_bytes", 1e5)] {
        assert!(built[name].as_f64() > Some(least), "{name}: {built}");
    }
    assert_eq!(version.split('.').count(), 4, "the key has the library's build number: {version}");
    let verified = home.printed("engines verify --json");
    assert!(verified.as_array().expect("a list").iter().all(|row| text(row, "state") == "ok"), "{verified}");
    let pruned = home.printed("engines prune --keep-gb 0 --json");
    assert_eq!(pruned["removed"].as_array().map(Vec::len), Some(2));
}

#[test]
fn the_build_compiled_what_was_requested() {
    let Some(home) = Home::new() else { return };
    let (Some("1"), Some(folder)) = (option_env!("VISAGE_BUILD_ENGINES"), option_env!("VISAGE_DATA_DIR")) else {
        println!("skipped: engines compiled by the cargo build (it ran without VISAGE_BUILD_ENGINES=1)");
        return;
    };
    let built = home.printed(&format!("--data-dir {folder} engines build --sm 8.9 --json"));
    assert_eq!(text(&built[0], "state"), "exists");
}

#[test]
fn a_damaged_engine_is_named_quarantined_and_rebuilt() {
    let Some(home) = Home::new() else { return };
    let made = home.printed(BUILD);
    let (stem, path) = (text(&made[0], "engine"), PathBuf::from(text(&made[0], "path")));
    let whole = fs::read(&path).expect("an engine");
    let other = home.printed("engines build --sm 12.0 --json");
    let harms: [(&str, &dyn Fn()); 3] = [
        ("truncated", &|| fs::write(&path, &whole[..whole.len() / 2]).expect("written")),
        ("swapped", &|| copy(Path::new(text(&other[0], "path")), &path)),
        ("sidecar of another", &|| copy(&home.file(text(&other[0], "engine"), "json"), &home.file(stem, "json"))),
    ];
    for (name, harm) in harms {
        harm();
        let rebuilt = home.run(BUILD);
        assert!(rebuilt.status.success(), "{name}: {}", stderr(&rebuilt));
        assert_eq!(fs::read(&path).expect("an engine").len(), whole.len(), "{name}");
    }
    let mut flipped = fs::read(&path).expect("an engine");
    let at = flipped.len() / 2 + 20_000;
    flipped[at] ^= 1;
    fs::write(&path, flipped).expect("written");
    let verified = home.run("engines verify");
    assert_eq!(verified.status.code(), Some(1));
    assert!(stderr(&verified).contains("1 engines are damaged"), "{}", stderr(&verified));
    assert_eq!(text(&home.printed(BUILD)[0], "state"), "built");
}

#[test]
fn a_build_that_is_killed_or_finds_the_disk_full_leaves_no_incomplete_engine() {
    let Some(home) = Home::new() else { return };
    let planned = home.printed("engines build --sm 8.9 --dry-run --json");
    let stem = text(&planned[0], "engine");
    let mut build = home.command(BUILD).stdout(Stdio::null()).spawn().expect("the program runs");
    while !home.file(stem, "lock").exists() {
        thread::yield_now();
    }
    build.kill().expect("killed");
    build.wait().expect("ended");
    assert!(!home.file(stem, "json").exists(), "it is incomplete");
    let full = Path::new("/dev/full");
    if full.exists() {
        let _ = fs::remove_file(home.file(stem, "draft"));
        std::os::unix::fs::symlink(full, home.file(stem, "draft")).expect("a link");
        let refused = home.run(BUILD);
        assert_eq!(refused.status.code(), Some(1));
        assert!(
            stderr(&refused).contains("No space left") && stderr(&refused).contains("hint:"),
            "{}",
            stderr(&refused)
        );
    } else {
        println!("skipped: an engine on a full disk (no /dev/full on this machine)");
    }
    assert_eq!(text(&home.printed(BUILD)[0], "state"), "built");
}

#[test]
fn waiting_for_another_builder_is_printed_and_can_be_stopped() {
    let Some(home) = Home::new() else { return };
    let planned = home.printed("engines build --sm 8.9 --dry-run --json");
    let other = fs::File::create(home.file(text(&planned[0], "engine"), "lock")).expect("a lock");
    other.lock().expect("free");
    assert_eq!(text(&home.printed("engines list --json")[0], "state"), "being built");
    assert_eq!(text(&home.printed("engines verify --json")[0], "state"), "being built");
    let mut build = home.command(BUILD).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program runs");
    let mut printed = BufReader::new(build.stderr.take().expect("piped"));
    wait_for_line(&mut printed, "another process compiles it");
    send_signal(&build, "-INT");
    wait_for_line(&mut printed, ": stopped");
    assert_eq!(build.wait().expect("ended").code(), Some(1));

    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
    let line = format!("serve --json --port {port} --udp-port 0 --sm 8.9");
    let mut server = home.command(&line).stdout(Stdio::null()).spawn().expect("the program runs");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    while !ask(address, "/readyz").is_some_and(|answer| answer.contains("waiting for another process")) {
        thread::yield_now();
    }
    send_signal(&server, "-TERM");
    assert_eq!(server.wait().expect("ended").code(), Some(0));
    drop(other);
    assert_eq!(text(&home.printed(BUILD)[0], "state"), "built");
}

fn wait_for_line(printed: &mut impl BufRead, wanted: &str) {
    let mut line = String::new();
    while !line.contains(wanted) {
        line.clear();
        assert!(printed.read_line(&mut line).expect("text") > 0, "it ended without \"{wanted}\"");
    }
}

fn send_signal(child: &std::process::Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill runs").success());
}

#[test]
fn a_server_builds_missing_engines_and_reports_it_until_it_is_ready() {
    let Some(home) = Home::new() else { return };
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
    let line = format!("serve --json --port {port} --udp-port 0 --sm 8.6,8.9");
    let mut server = home.command(&line).stdout(Stdio::piped()).spawn().expect("the program runs");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let not_ready = loop {
        match ask(address, "/readyz") {
            Some(answer) if answer.contains("compiling mouth.") => break answer,
            Some(answer) => assert!(!answer.contains("200 OK"), "it was ready before it reported the build"),
            None => thread::yield_now(),
        }
    };
    assert!(not_ready.starts_with("HTTP/1.1 503") && not_ready.to_lowercase().contains("retry-after:"), "{not_ready}");
    assert!(ask(address, "/v1/avatars").expect("an answer").contains("starting: compiling mouth."));
    let mut line = String::new();
    BufReader::new(server.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    assert!(line.contains("\"url\""), "{line}");
    assert!(ask(address, "/readyz").expect("an answer").starts_with("HTTP/1.1 200"));
    assert_eq!(home.printed("engines list --json").as_array().map(Vec::len), Some(2));
    server.kill().expect("killed");
    server.wait().expect("ended");
}

/// The answer to a request, if the server listens.
fn ask(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
