//! The server that is measured: started as a child process, or reached at an address; spoken to by HTTP.

use std::error::Error as _;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::iter::successors;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::BenchError;
use super::procfs::of_process;
use crate::telemetry::Footprint;

/// Where the server is, or how to start one.
#[derive(Clone, Debug)]
pub enum Target {
    /// Start this program as a child: `program serve --port 0 --udp-port 0 --json` and these arguments.
    Own {
        /// The program, usually this one.
        program: PathBuf,
        /// More arguments.
        arguments: Vec<OsString>,
    },
    /// A server that runs already.
    Url {
        /// Such as `http://127.0.0.1:8010`.
        url: String,
        /// Its token, if it wants one.
        token: Option<String>,
    },
}

/// A server that answers.
pub struct Server {
    url: String,
    token: Option<String>,
    http: reqwest::Client,
    local_ip: IpAddr,
    pid: Option<u32>,
    child: Option<Child>,
}

/// A session that was joined.
#[derive(Debug, Deserialize)]
pub struct Joined {
    /// Its id.
    pub id: String,
    /// The answer.
    pub sdp: String,
}

#[derive(Deserialize)]
struct Hello {
    url: String,
    pid: u32,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It is a child without state to keep; whether it is gone already does not matter.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Server {
    /// Starts or finds the server.
    ///
    /// # Errors
    /// If it does not start, does not say where it is, or does not answer.
    pub async fn open(target: &Target) -> Result<Self, BenchError> {
        let (url, token, pid, child) = match target {
            Target::Url { url, token } => (url.trim_end_matches('/').to_owned(), token.clone(), None, None),
            Target::Own { program, arguments } => {
                let (program, arguments) = (program.clone(), arguments.clone());
                let started = tokio::task::spawn_blocking(move || start(&program, &arguments)).await;
                let (hello, child) = started.map_err(|found| BenchError::NoServer { found: found.to_string() })??;
                (hello.url, None, Some(hello.pid), Some(child))
            }
        };
        let http = reqwest::Client::builder().timeout(Duration::from_secs(15)).no_proxy().build().map_err(http)?;
        let local_ip = local_ip(&url);
        Ok(Self { url, token, http, local_ip, pid, child })
    }

    /// What its process uses now, if it runs on this machine.
    #[must_use]
    pub fn used(&self) -> Option<Footprint> {
        self.pid.and_then(of_process)
    }

    /// The address of this machine that reaches the server.
    #[must_use]
    pub fn local_ip(&self) -> IpAddr {
        self.local_ip
    }

    /// Joins a session.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn join(&self, sdp: &str, avatar: Option<&str>) -> Result<Joined, BenchError> {
        let mut body = json!({ "sdp": sdp });
        if let Some(avatar) = avatar {
            body["avatar"] = json!(avatar);
        }
        let request = self.http.post(format!("{}/v1/sessions", self.url)).json(&body);
        self.ask(request).await?.json().await.map_err(http)
    }

    /// Leaves a session.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn leave(&self, id: &str) -> Result<(), BenchError> {
        self.ask(self.http.delete(format!("{}/v1/sessions/{id}", self.url))).await.map(drop)
    }

    /// Gives the session a sound to say.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn say(&self, id: &str, wav: Vec<u8>) -> Result<(), BenchError> {
        let request = self.http.post(format!("{}/v1/sessions/{id}/speech", self.url));
        self.ask(request.header("content-type", "audio/wav").body(wav)).await.map(drop)
    }

    /// Hushes the session.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn stop(&self, id: &str) -> Result<(), BenchError> {
        self.ask(self.http.post(format!("{}/v1/sessions/{id}/interrupt", self.url))).await.map(drop)
    }

    /// What the server measured about a session.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn stats(&self, id: &str) -> Result<Value, BenchError> {
        self.get(&format!("/v1/sessions/{id}/stats")).await
    }

    /// What the server is.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn about(&self) -> Result<Value, BenchError> {
        self.get("/v1/server").await
    }

    /// What the server's graphics cards said last.
    ///
    /// # Errors
    /// If it does not answer, or wants its token.
    pub async fn cards(&self) -> Result<Value, BenchError> {
        self.get("/v1/gpus").await
    }

    /// Its metrics, in Prometheus' text format.
    ///
    /// # Errors
    /// If it does not answer, or wants its token.
    pub async fn metrics(&self) -> Result<String, BenchError> {
        self.ask(self.http.get(format!("{}/metrics", self.url))).await?.text().await.map_err(http)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, BenchError> {
        self.ask(self.http.get(format!("{}{path}", self.url))).await?.json().await.map_err(http)
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, BenchError> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let response = request.send().await.map_err(http)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, path) = (response.status().as_u16(), response.url().path().to_owned());
        let found = response.text().await.unwrap_or_default();
        Err(BenchError::Refused { path, status, found: found.chars().take(300).collect() })
    }
}

fn http(error: reqwest::Error) -> BenchError {
    let root = successors(error.source(), |&cause| cause.source()).last();
    let found = root.map_or_else(|| error.to_string(), |root| format!("{error}: {root}"));
    BenchError::NoServer { found }
}

fn start(program: &PathBuf, arguments: &[OsString]) -> Result<(Hello, Child), BenchError> {
    let fail = |found: String| BenchError::NoServer { found };
    let mut command = Command::new(program);
    command.args(["serve", "--port", "0", "--udp-port", "0", "--json"]).args(arguments);
    let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().map_err(|e| fail(e.to_string()))?;
    let stdout = child.stdout.take().ok_or_else(|| fail("no output".into()))?;
    let mut line = String::new();
    let mut reader = BufReader::new(stdout);
    reader.read_line(&mut line).map_err(|e| fail(e.to_string()))?;
    match serde_json::from_str(&line) {
        Ok(hello) => {
            // The rest of its output is read so that it never waits for a reader.
            tokio::task::spawn_blocking(move || std::io::copy(&mut reader, &mut std::io::sink()));
            Ok((hello, child))
        }
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            // What it said of that went to the same terminal as ours.
            let ended = line.is_empty().then(|| "the one started here has ended, and has said why".to_owned());
            Err(fail(ended.unwrap_or_else(|| format!("its first line was {line:?} ({error})"))))
        }
    }
}

/// The address from which packets to `url` leave, of the family that reaches it; nothing is sent to find it.
fn local_ip(url: &str) -> IpAddr {
    let url = reqwest::Url::parse(url).ok();
    let host =
        url.as_ref().and_then(|url| Some((url.host_str()?.trim_matches(['[', ']']), url.port_or_known_default()?)));
    let mut addresses = host.and_then(|host| host.to_socket_addrs().ok()).into_iter().flatten();
    addresses.find_map(|address| way_to(address).ok()).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

fn way_to(address: SocketAddr) -> std::io::Result<IpAddr> {
    let any = if address.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(address)?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_leave_by_the_family_of_the_address_and_a_port_may_be_left_out() {
        assert_eq!(local_ip("http://127.0.0.1:8010"), IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(local_ip("https://127.0.0.1"), IpAddr::V4(Ipv4Addr::LOCALHOST));
        if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
            println!("skipped: the way to an IPv6 address (this machine has no IPv6)");
            return;
        }
        assert_eq!(local_ip("http://[::1]:8010/"), IpAddr::V6(Ipv6Addr::LOCALHOST));
    }
}
