//! Access control by names: the `Host` of a request must be a name of this server, and its `Origin` one of its pages.
//!
//! Decides by names alone. A page of another site reaches a server on the loopback interface by letting its own name
//! resolve to 127.0.0.1 (DNS rebinding); its requests then carry that name in `Host`. Addresses cannot be rebound.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;

/// The names of this server and the origins of other pages that may call it. Clones share one list.
#[derive(Clone, Debug, Default)]
pub struct Access(Arc<Names>);

#[derive(Debug, Default)]
struct Names {
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl Access {
    /// `hosts` (`--allow-host`) are names under which browsers reach this server, besides `localhost` and every IP
    /// address. `origins` (`--allow-origin`) are other sites whose pages may call it; see [`super::check_origins`].
    #[must_use]
    pub fn new(hosts: &[String], origins: &[String]) -> Self {
        let hosts = hosts.iter().map(|host| bare(host)).collect();
        Self(Arc::new(Names { hosts, origins: origins.to_vec() }))
    }

    /// Refuses a request whose `Host` is not this server (421), or whose `Origin` is another site (403).
    pub(super) fn check(&self, request: &Request) -> Result<(), Problem> {
        let host = host_of(request)?;
        if let Some(host) = &host
            && !self.is_own(host.host())
        {
            return Err(misdirected(host.host()));
        }
        let origins = request.headers().get_all(header::ORIGIN);
        match origins.iter().find(|origin| !self.allows(origin.to_str().unwrap_or("null"), host.as_ref())) {
            Some(_) => Err(foreign_origin()),
            None => Ok(()),
        }
    }

    fn is_own(&self, host: &str) -> bool {
        let host = bare(host);
        let is_address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        is_address || host == "localhost" || self.0.hosts.contains(&host)
    }

    /// Same-origin by authority: behind a proxy that ends TLS the scheme is not known here.
    fn allows(&self, origin: &str, host: Option<&Authority>) -> bool {
        let listed = |listed: &String| listed == "*" || listed == origin;
        let Some((scheme, rest)) = origin.split_once("://") else { return self.0.origins.iter().any(listed) };
        let Ok(authority) = rest.parse::<Authority>() else { return false };
        let default_port = if scheme == "https" { 443 } else { 80 };
        let is_same = host.is_some_and(|host| {
            let ports = [authority.port_u16(), host.port_u16()].map(|port| port.unwrap_or(default_port));
            bare(authority.host()) == bare(host.host()) && ports[0] == ports[1]
        });
        is_same || self.0.hosts.contains(&bare(authority.host())) || self.0.origins.iter().any(listed)
    }
}

/// Lower case, without the dot of the root zone.
fn bare(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// The authority that the request is for: of its target if that is absolute, else of its one `Host` (RFC 9112, section
/// 3.2). `None` for HTTP/1.0 without it, which no browser sends.
fn host_of(request: &Request) -> Result<Option<Authority>, Problem> {
    if let Some(authority) = request.uri().authority() {
        return Ok(Some(authority.clone()));
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if request.version() == Version::HTTP_10 => Ok(None),
        (Some(host), None) => {
            let authority = host.to_str().ok().and_then(|host| host.parse().ok());
            authority.map(Some).ok_or_else(|| bad_host("Host is not a host with at most a port"))
        }
        (None, _) => Err(bad_host("Host is missing")),
        (Some(_), Some(_)) => Err(bad_host("Host is there more than once")),
    }
}

fn bad_host(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail, "send one Host header, such as Host: localhost:8010").at("host")
}

fn misdirected(host: &str) -> Problem {
    // The name comes from the caller and goes back to the caller alone.
    let detail = format!("this server does not answer for the host \"{}\"", host.escape_default());
    let hint = "use its IP address or localhost, or start it with --allow-host NAME";
    Problem::new(StatusCode::MISDIRECTED_REQUEST, detail, hint).at("host")
}

fn foreign_origin() -> Problem {
    let detail = "pages of this origin may not call this server";
    let hint = "open the server's own page, or start the server with --allow-origin ORIGIN";
    Problem::new(StatusCode::FORBIDDEN, detail, hint).at("origin")
}

/// Answers requests that [`Access::check`] refuses.
pub async fn only_allowed(State(access): State<Access>, request: Request, next: Next) -> Response {
    match access.check(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn status(access: &Access, host: &[&str], origin: &str) -> u16 {
        let mut request = Request::get("/v1/server");
        for host in host {
            request = request.header(header::HOST, *host);
        }
        if !origin.is_empty() {
            request = request.header(header::ORIGIN, origin);
        }
        let checked = access.check(&request.body(Body::empty()).expect("a request"));
        checked.map_or_else(|problem| problem.status().as_u16(), |()| 200)
    }

    #[test]
    fn ip_addresses_localhost_and_allowed_hosts_are_accepted_and_others_refused() {
        let access = Access::new(&["Avatar.Example.".to_owned()], &[]);
        for own in ["127.0.0.1:8010", "[::1]:8010", "[::1]", "192.0.2.7", "localhost", "LOCALHOST:1", "avatar.example"]
        {
            assert_eq!(status(&access, &[own], ""), 200, "{own}");
        }
        for other in
            ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "avatar.example.evil", "1.2.3"]
        {
            assert_eq!(status(&access, &[other], ""), 421, "{other}");
        }
        for (bad, count) in [(vec![], 0), (vec!["a b"], 1), (vec!["localhost", "localhost"], 2)] {
            assert_eq!(status(&access, &bad, ""), 400, "{count} hosts");
        }
    }

    #[test]
    fn an_origin_is_the_host_itself_or_allowed() {
        let access = Access::new(&["avatar.example".to_owned()], &["https://shop.example".to_owned()]);
        for good in ["http://localhost:8010", "http://LOCALHOST:8010", "https://shop.example", "https://avatar.example"]
        {
            assert_eq!(status(&access, &["localhost:8010"], good), 200, "{good}");
        }
        assert_eq!(status(&access, &["192.0.2.7"], "https://192.0.2.7"), 200, "a default port may be left out");
        for foreign in ["http://evil.example", "http://localhost:8011", "https://shop.example:444", "null", "localhost"]
        {
            assert_eq!(status(&access, &["localhost:8010"], foreign), 403, "{foreign}");
        }
        assert_eq!(status(&Access::new(&[], &["*".to_owned()]), &["localhost"], "null"), 200);
    }
}
