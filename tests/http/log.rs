//! The log: a session's start, first frame and end, as text and as JSON, without private data.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};

use super::call::Call;

/// A server process, killed on drop.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs one session to its end; returns its id and the log.
async fn log_of_a_session(arguments: &[&str]) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_visage"));
    command.args(["serve", "--json", "--port", "0", "--udp-port", "0"]).args(arguments);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs");
    let mut program = Program(child);
    let mut line = String::new();
    BufReader::new(program.0.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    let listening: Value = serde_json::from_str(&line).expect("JSON");
    let url = listening["url"].as_str().expect("a url").to_owned();
    let mut call = Call::join_at(&url, json!({})).await;
    assert!(call.live(Duration::from_secs(30), |call| call.frames.len() > 10).await, "the call connects");
    let id = call.location.rsplit('/').next().expect("an id").to_owned();
    let left = Client::new().delete(format!("{url}{}", call.location)).send().await.expect("an answer");
    assert_eq!(left.status(), 204);
    let mut log = String::new();
    let mut stderr = program.0.stderr.take().expect("piped");
    drop(program);
    stderr.read_to_string(&mut log).expect("text");
    (id, log)
}

/// Asserts that the log contains nothing of what every offer, answer and datagram contains.
fn assert_private(log: &str) {
    for private in ["127.0.0.1", "a=", "candidate", "ufrag", "sha-256", "m=video", "ice-pwd"] {
        assert!(!log.contains(private), "{private:?} at info in\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_three_lines_of_json_with_its_id() {
    let (id, log) = log_of_a_session(&["--log-format", "json"]).await;
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let of_session: Vec<&Value> = lines.iter().filter(|line| line["span"]["id"] == id.as_str()).collect();
    let messages: Vec<_> = of_session.iter().map(|line| line["message"].as_str().expect("a message")).collect();
    assert_eq!(messages, ["session started", "first frame sent", "session ended"], "{log}");
    assert_eq!(of_session[0]["avatar"], "mira");
    assert!(of_session[1]["after_ms"].as_u64().is_some_and(|after_ms| after_ms < 30_000), "{log}");
    assert_eq!(of_session[2]["reason"], "deleted");
    assert!(of_session[2]["frames_due"].as_u64().is_some_and(|due| due > 10), "{log}");
    assert_private(&log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_lines_as_text() {
    let (id, log) = log_of_a_session(&[]).await;
    for message in ["session started", "first frame sent", "session ended"] {
        let line = log.lines().find(|line| line.contains(message)).unwrap_or_else(|| panic!("{message} in\n{log}"));
        assert!(line.contains(&id) && line.contains("INFO"), "{line}");
    }
    assert_private(&log);
}
