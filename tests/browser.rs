//! The page in a real headless Chromium, driven by `tests/browser/run.mjs`: every check is a line of JSON.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A server of its own; ended when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
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
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser");
    std::fs::create_dir_all(&out).expect("a folder");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/run.mjs");
    let run = Command::new(node)
        .arg(script)
        .args(["--base", &url, "--chromium"])
        .arg(chromium)
        .arg("--out")
        .arg(&out)
        .output()
        .expect("node runs");
    let lines = String::from_utf8_lossy(&run.stdout).into_owned();
    println!("{lines}");
    let checks: Vec<Value> = lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let failed: Vec<&Value> = checks.iter().filter(|check| check["ok"] == false).collect();
    assert!(failed.is_empty(), "{failed:#?}\n{}", String::from_utf8_lossy(&run.stderr));
    assert!(checks.len() >= 5 && run.status.success(), "{}\n{}", lines, String::from_utf8_lossy(&run.stderr));
}
