//! HTTP client of a running visage server, used by `top` and `bench`.
//!
//! Decides how a request is authorised and how its failure is reported. Knows the paths of the API (`web/openapi.json`); carries
//! no media.

use std::error::Error as _;
use std::iter::successors;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use thiserror::Error;

/// A request without an answer fails after this time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Characters of a refusal's body that its error repeats.
const BODY_CHARS_MAX: usize = 300;

/// Client of one server.
#[derive(Clone, Debug)]
pub struct ApiClient {
    base_url: String,
    token: Option<String>,
    http: reqwest::Client,
}

/// Answer to `POST /v1/sessions` and `POST /v1/sessions/{id}/viewers`.
#[derive(Debug, Deserialize)]
pub struct JoinAnswer {
    /// ID of the session or of the viewer.
    pub id: String,
    /// SDP answer.
    pub sdp: String,
}

/// Why a request failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ApiError {
    /// No HTTP answer came back.
    #[error("cannot reach the server: {found}")]
    Unreachable {
        /// Cause.
        found: String,
    },
    /// The server answered with an error status.
    #[error("{path} failed with status {status}: {found}")]
    Refused {
        /// Request path.
        path: String,
        /// HTTP status.
        status: u16,
        /// Start of the body.
        found: String,
    },
}

impl ApiClient {
    /// A client of the server at `base_url`, such as `http://127.0.0.1:8010`. Sends nothing.
    ///
    /// # Errors
    /// If the HTTP client cannot be set up.
    pub fn new(base_url: &str, token: Option<String>) -> Result<Self, ApiError> {
        let http = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).no_proxy().build().map_err(unreachable)?;
        Ok(Self { base_url: base_url.trim_end_matches('/').to_owned(), token, http })
    }

    /// Local address from which packets to the server leave, in the address family that reaches it. Sends nothing.
    #[must_use]
    pub fn local_ip(&self) -> IpAddr {
        local_ip(&self.base_url)
    }

    /// `POST /v1/sessions`: creates a session for an SDP offer. `avatar`: the server's default if `None`.
    ///
    /// # Errors
    /// If the server does not answer or refuses.
    pub async fn create_session(&self, offer: &str, avatar: Option<&str>) -> Result<JoinAnswer, ApiError> {
        let mut body = json!({ "sdp": offer });
        if let Some(avatar) = avatar {
            body["avatar"] = json!(avatar);
        }
        self.send(self.post("/v1/sessions").json(&body)).await?.json().await.map_err(unreachable)
    }

    /// `DELETE /v1/sessions/{id}`: ends a session.
    ///
    /// # Errors
    /// If the server does not answer or refuses.
    pub async fn end_session(&self, id: &str) -> Result<(), ApiError> {
        self.send(self.http.delete(self.url(&format!("/v1/sessions/{id}")))).await.map(drop)
    }

    /// `POST /v1/sessions/{id}/viewers`: watches a session without a microphone.
    ///
    /// # Errors
    /// If the server does not answer or refuses.
    pub async fn add_viewer(&self, session: &str, offer: &str) -> Result<JoinAnswer, ApiError> {
        let request = self.post(&format!("/v1/sessions/{session}/viewers"));
        self.send(request.json(&json!({ "sdp": offer }))).await?.json().await.map_err(unreachable)
    }

    /// `DELETE /v1/sessions/{id}/viewers/{viewer}`: ends the connection of a viewer.
    ///
    /// # Errors
    /// If the server does not answer or refuses.
    pub async fn remove_viewer(&self, session: &str, viewer: &str) -> Result<(), ApiError> {
        let path = format!("/v1/sessions/{session}/viewers/{viewer}");
        self.send(self.http.delete(self.url(&path))).await.map(drop)
    }

    /// URL of the WebSocket `GET /v1/sessions/{id}/speech/stream`, with the token if there is one.
    ///
    /// # Errors
    /// If the server's URL is none of HTTP.
    pub fn speech_stream_url(&self, session: &str) -> Result<String, ApiError> {
        let http = self.url(&format!("/v1/sessions/{session}/speech/stream"));
        let no_url = || ApiError::Unreachable { found: format!("wanted a URL of HTTP, found {:?}", self.base_url) };
        let mut url = reqwest::Url::parse(&http).map_err(|_invalid| no_url())?;
        let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
        url.set_scheme(scheme).map_err(|()| no_url())?;
        if let Some(token) = &self.token {
            url.query_pairs_mut().append_pair("token", token);
        }
        Ok(url.into())
    }

    /// `POST /v1/sessions/{id}/speech`: speaks a WAV file.
    ///
    /// # Errors
    /// If the server does not answer or refuses.
    pub async fn speak(&self, id: &str, wav: Vec<u8>) -> Result<(), ApiError> {
        let request = self.post(&format!("/v1/sessions/{id}/speech"));
        self.send(request.header("content-type", "audio/wav").body(wav)).await.map(drop)
    }

    /// `POST /v1/sessions/{id}/interrupt`: interrupts speech.
    ///
    /// # Errors
    /// If the server does not answer or refuses.
    pub async fn interrupt(&self, id: &str) -> Result<(), ApiError> {
        self.send(self.post(&format!("/v1/sessions/{id}/interrupt"))).await.map(drop)
    }

    /// `GET /v1/sessions/{id}/stats`: the server's measurements of a session.
    ///
    /// # Errors
    /// If the server does not answer or refuses.
    pub async fn session_stats(&self, id: &str) -> Result<Value, ApiError> {
        self.get(&format!("/v1/sessions/{id}/stats")).await
    }

    /// `GET /v1/server`: pack, backend, codec, session counts.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn server_info(&self) -> Result<Value, ApiError> {
        self.get("/v1/server").await
    }

    /// `GET /v1/gpus`: the last reading of the server's GPUs.
    ///
    /// # Errors
    /// If the server does not answer or refuses.
    pub async fn gpu_status(&self) -> Result<Value, ApiError> {
        self.get("/v1/gpus").await
    }

    /// `GET /metrics`, in Prometheus' text format.
    ///
    /// # Errors
    /// If the server does not answer or refuses.
    pub async fn metrics(&self) -> Result<String, ApiError> {
        self.send(self.http.get(self.url("/metrics"))).await?.text().await.map_err(unreachable)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url)
    }

    fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.post(self.url(path))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.send(self.http.get(self.url(path))).await?.json().await.map_err(unreachable)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, ApiError> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let response = request.send().await.map_err(unreachable)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, path) = (response.status().as_u16(), response.url().path().to_owned());
        let body = response.text().await.unwrap_or_default();
        Err(ApiError::Refused { path, status, found: body.chars().take(BODY_CHARS_MAX).collect() })
    }
}

/// With the root cause: reqwest's own text stops at "error sending request".
fn unreachable(error: reqwest::Error) -> ApiError {
    let root = successors(error.source(), |&cause| cause.source()).last();
    let found = root.map_or_else(|| error.to_string(), |root| format!("{error}: {root}"));
    ApiError::Unreachable { found }
}

fn local_ip(url: &str) -> IpAddr {
    let url = reqwest::Url::parse(url).ok();
    let host =
        url.as_ref().and_then(|url| Some((url.host_str()?.trim_matches(['[', ']']), url.port_or_known_default()?)));
    let mut addresses = host.and_then(|host| host.to_socket_addrs().ok()).into_iter().flatten();
    addresses.find_map(|address| source_address(address).ok()).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// Connecting a UDP socket selects the route without sending a packet (connect(2)).
fn source_address(destination: SocketAddr) -> std::io::Result<IpAddr> {
    let any = if destination.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(destination)?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_a_speech_stream_has_the_token_and_the_path_of_a_proxy() {
        let url = |base: &str, token: Option<&str>| {
            let client = ApiClient::new(base, token.map(str::to_owned)).expect("a client");
            client.speech_stream_url("a1").expect("a URL")
        };
        assert_eq!(url("http://[::1]:8010/", None), "ws://[::1]:8010/v1/sessions/a1/speech/stream");
        let behind_a_proxy = "wss://site.example/avatar/v1/sessions/a1/speech/stream?token=a%26b";
        assert_eq!(url("https://site.example/avatar", Some("a&b")), behind_a_proxy);
        let nonsense = ApiClient::new("nonsense", None).expect("a client").speech_stream_url("a1");
        assert!(matches!(nonsense, Err(ApiError::Unreachable { .. })), "{nonsense:?}");
    }

    #[test]
    fn the_local_address_has_the_family_of_the_server_and_the_port_is_optional() {
        assert_eq!(local_ip("http://127.0.0.1:8010"), IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(local_ip("https://127.0.0.1"), IpAddr::V4(Ipv4Addr::LOCALHOST));
        if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
            println!("skipped: route to an IPv6 address (this machine has no IPv6)");
            return;
        }
        assert_eq!(local_ip("http://[::1]:8010/"), IpAddr::V6(Ipv6Addr::LOCALHOST));
    }
}
