//! The server under test: a child process, or a server that already runs at a URL.
//!
//! Decides how the child is started and ended. HTTP requests are those of `api_client`.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde::Deserialize;

use super::BenchError;
use super::procfs::of_process;
use crate::api_client::ApiClient;
use crate::telemetry::Footprint;

/// Which server to measure.
#[derive(Clone, Debug)]
pub enum Target {
    /// A child process: `program serve --port 0 --udp-port 0 --json`, then `arguments`.
    Child {
        /// The executable, usually this one.
        program: PathBuf,
        /// Additional arguments.
        arguments: Vec<OsString>,
    },
    /// A server that already runs.
    Url {
        /// Base URL, such as `http://127.0.0.1:8010`.
        url: String,
        /// Bearer token, if the server requires one.
        token: Option<String>,
    },
}

/// The server under test. Dereferences to its HTTP client.
pub struct Server {
    api: ApiClient,
    pid: Option<u32>,
    child: Option<Child>,
}

/// The line that `serve --json` prints once it listens.
#[derive(Deserialize)]
struct Listening {
    url: String,
    pid: u32,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.iter_mut().for_each(end);
    }
}

impl Deref for Server {
    type Target = ApiClient;

    fn deref(&self) -> &ApiClient {
        &self.api
    }
}

impl Server {
    /// Starts the child process, or takes the URL as it is (which is contacted by the first request).
    ///
    /// # Errors
    /// If the child does not start or does not print its address.
    pub async fn open(target: &Target) -> Result<Self, BenchError> {
        match target {
            Target::Url { url, token } => Ok(Self { api: ApiClient::new(url, token.clone())?, pid: None, child: None }),
            Target::Child { program, arguments } => {
                let (program, arguments) = (program.clone(), arguments.clone());
                let started = tokio::task::spawn_blocking(move || start(&program, &arguments)).await;
                let (listening, child) = started.map_err(|error| no_start(error.to_string()))??;
                let api = ApiClient::new(&listening.url, None)?;
                Ok(Self { api, pid: Some(listening.pid), child: Some(child) })
            }
        }
    }

    /// Processor time and memory of the child process; `None` for a server reached by URL.
    #[must_use]
    pub fn footprint(&self) -> Option<Footprint> {
        self.pid.and_then(of_process)
    }
}

fn no_start(found: String) -> BenchError {
    BenchError::NoStart { found }
}

fn start(program: &Path, arguments: &[OsString]) -> Result<(Listening, Child), BenchError> {
    let mut command = Command::new(program);
    command.args(["serve", "--port", "0", "--udp-port", "0", "--json"]).args(arguments);
    let started = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn();
    let mut child = started.map_err(|error| no_start(format!("{}: {error}", program.display())))?;
    let listening = child.stdout.take().ok_or_else(|| no_start("no output".into())).and_then(read_address);
    if listening.is_err() {
        end(&mut child);
    }
    Ok((listening?, child))
}

/// Reads the first line of the child's output and drains the rest, so that the child never blocks on a full pipe.
fn read_address(output: ChildStdout) -> Result<Listening, BenchError> {
    let mut reader = BufReader::new(output);
    let mut line = String::new();
    reader.read_line(&mut line).map_err(|error| no_start(error.to_string()))?;
    let listening = serde_json::from_str(&line).map_err(|error| {
        // The child shares our stderr: its own error is already on the terminal.
        let ended = line.is_empty().then(|| "it ended; its error is printed above".to_owned());
        no_start(ended.unwrap_or_else(|| format!("its first line is {line:?} ({error})")))
    })?;
    tokio::task::spawn_blocking(move || std::io::copy(&mut reader, &mut std::io::sink()));
    Ok(listening)
}

/// The child keeps no state: it is killed. It may have ended already.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
