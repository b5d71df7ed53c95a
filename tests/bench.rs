//! `visage bench` against a server: a call that ends is an error, and what viewers and streamed speech report.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{sleep, timeout};
use visage::api_client::ApiClient;

/// Longer than any of these runs takes on a busy machine, and shorter than the runs that must end early would take.
const LIMIT: Duration = Duration::from_secs(90);

/// A child process that serves on loopback; killed when dropped.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_visage"))
            .args(["serve", "--json", "--host", "127.0.0.1", "--port", "0", "--udp-port", "0", "--log", "warn"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let line: Value = serde_json::from_str(&line).expect("JSON");
        Self { child, url: line["url"].as_str().expect("a url").to_owned() }
    }

    fn kill(&mut self) {
        // It may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    async fn answer(&self, path: &str) -> Value {
        let answer = reqwest::get(format!("{}{path}", self.url)).await.expect("an answer");
        serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON")
    }

    /// Waits until a session has sent video; returns its ID.
    async fn running_session(&self) -> String {
        timeout(LIMIT, async {
            loop {
                let sessions = self.answer("/v1/sessions").await;
                if let Some(id) = sessions[0]["id"].as_str()
                    && self.answer(&format!("/v1/sessions/{id}/stats")).await["frames"]["on_time"].as_u64() > Some(25)
                {
                    return id.to_owned();
                }
                sleep(Duration::from_millis(50)).await;
            }
        })
        .await
        .expect("a session that sends video")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A run of bench; killed when dropped.
struct Run(Option<Child>);

impl Run {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_visage"));
        command.arg("bench").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(Some(command.spawn().expect("the program runs")))
    }

    async fn output(mut self) -> Output {
        let child = self.0.as_mut().expect("a child");
        let ended = timeout(LIMIT, async {
            while child.try_wait().expect("a status").is_none() {
                sleep(Duration::from_millis(50)).await;
            }
        });
        ended.await.expect("bench ends early");
        self.0.take().expect("a child").wait_with_output().expect("its output")
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(|child| drop((child.kill(), child.wait())));
    }
}

async fn report(arguments: &[&str]) -> Value {
    let found = Run::start(arguments).output().await;
    assert_eq!(found.status.code(), Some(0), "{}", String::from_utf8_lossy(&found.stderr));
    serde_json::from_slice(&found.stdout).expect("JSON")
}

/// The measurements that hold a call for longer than the test waits.
const LONG_RUNS: [&[&str]; 3] = [&[], &["--lips"], &["--viewers", "1"]];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_the_server_ends_is_an_error() {
    let server = Server::start();
    let api = ApiClient::new(&server.url, None).expect("a client");
    for kind in LONG_RUNS {
        let running = Run::start(&[&["--url", &server.url, "--seconds", "600"], kind].concat());
        api.end_session(&server.running_session().await).await.expect("ended");
        let found = running.output().await;
        let stderr = String::from_utf8_lossy(&found.stderr);
        assert_eq!(found.status.code(), Some(1), "{kind:?}: {stderr}");
        assert!(stderr.contains("calls ended during the measurement"), "{kind:?}: {stderr}");
        assert!(found.stdout.is_empty(), "{kind:?}: a result was printed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_is_an_error() {
    let mut server = Server::start();
    let arguments = ["--url", &server.url.clone(), "--seconds", "2", "--warm-up", "1", "--json", "-"];
    let running = Run::start(&arguments);
    server.running_session().await;
    server.kill();
    let found = running.output().await;
    let stderr = String::from_utf8_lossy(&found.stderr);
    assert_eq!(found.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("the server ended during the measurement"), "{stderr}");
    assert!(found.stdout.is_empty(), "a result was printed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_share_one_encode_and_streamed_speech_is_heard() {
    let report =
        report(&["--viewers", "3", "--seconds", "2", "--warm-up", "1", "--utterances", "2", "--json", "-"]).await;
    let viewers = &report["viewers"];
    assert_eq!(viewers["viewers"], 3, "{viewers}");
    assert_eq!(viewers["on_time_ratios"].as_array().map(Vec::len), Some(3), "{viewers}");
    assert!(viewers["frames"]["due"].as_u64() >= Some(3 * 45), "{viewers}");
    let encodes = viewers["encodes_per_frame"].as_f64().expect("a number");
    assert!((0.5..1.5).contains(&encodes), "{viewers}");
    assert_eq!(report["speech_to_audio_ms"]["n"], 2, "{report}");
}
