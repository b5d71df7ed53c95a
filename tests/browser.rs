//! The page in a real headless Chromium, driven by `tests/browser/run.mjs`: every check is a line of JSON.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the test prints each check")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A server process, killed on drop.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn find(names: &[&str]) -> Option<PathBuf> {
    let paths = ["/usr/bin", "/usr/local/bin", "/snap/bin"].map(Path::new);
    names.iter().flat_map(|name| paths.map(|path| path.join(name))).find(|path| path.exists())
}

fn serve() -> (Server, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_visage"))
        .args(["serve", "--json", "--port", "0", "--udp-port", "0", "--log", "warn"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let stdout = child.stdout.take().expect("piped");
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    let hello: Value = serde_json::from_str(&line).expect("JSON");
    (Server(child), hello["url"].as_str().expect("a url").to_owned())
}

#[test]
fn the_page_works_in_a_real_browser() {
    let (Some(chromium), Some(node)) =
        (find(&["chromium", "chromium-browser", "google-chrome"]), find(&["node", "nodejs"]))
    else {
        println!("skipped: the page in a browser (no Chromium or no Node on this machine)");
        return;
    };
    let (_server, url) = serve();
    let first = run_checks(&node, &chromium, &url, None);
    let failed: Vec<String> = first.iter().filter(|check| check["ok"] == false).map(name).collect();
    assert!(first.len() >= 20, "{first:#?}");
    first.iter().filter_map(|check| check["detail"]["skipped"].as_str()).for_each(|why| println!("skipped: {why}"));
    if failed.is_empty() {
        return;
    }
    // Some checks measure milliseconds in a browser that shares the CPU: a failed check runs once more, alone.
    println!("repeated: {failed:?}");
    let second = run_checks(&node, &chromium, &url, Some(&failed.join(",")));
    let still: Vec<&Value> = second.iter().filter(|check| check["ok"] == false).collect();
    assert!(still.is_empty() && !second.is_empty(), "{still:#?}");
}

fn name(check: &Value) -> String {
    check["name"].as_str().unwrap_or_default().to_owned()
}

/// Runs all checks, or the one named, and prints their results.
fn run_checks(node: &Path, chromium: &Path, url: &str, only: Option<&str>) -> Vec<Value> {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser");
    std::fs::create_dir_all(&out).expect("a folder");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/run.mjs");
    let run = Command::new(node)
        .arg(script)
        .args(["--base", url, "--visage", env!("CARGO_BIN_EXE_visage"), "--chromium"])
        .arg(chromium)
        .arg("--out")
        .arg(&out)
        .args(only.map(|names| format!("--only={names}")))
        .output()
        .expect("node runs");
    let lines = String::from_utf8_lossy(&run.stdout).into_owned();
    println!("{lines}");
    eprintln!("{}", String::from_utf8_lossy(&run.stderr));
    lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
