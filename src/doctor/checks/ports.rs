//! Checks of the listening addresses of `serve`: ports, https, and a STUN or TURN server if one is configured.

use std::net::{IpAddr, SocketAddr};

use crate::doctor::machine::{BindError, Port, Probed};
use crate::doctor::{CheckResult, Machine};

const NO_ADDRESS: &str = "no address to listen on";

/// The port of the page.
pub fn tcp_port(machine: &Machine) -> CheckResult {
    match machine.listen.host {
        Some(host) => port("TCP", "--port", host, &machine.listen.tcp),
        None => CheckResult::unknown(NO_ADDRESS),
    }
}

/// The port of all media.
pub fn udp_port(machine: &Machine) -> CheckResult {
    match machine.listen.host {
        Some(host) => port("UDP", "--udp-port", host, &machine.listen.udp),
        None => CheckResult::unknown(NO_ADDRESS),
    }
}

fn port(kind: &str, flag: &str, host: IpAddr, port: &Port) -> CheckResult {
    let (number, place) = (port.number, format!("{kind} {}", SocketAddr::new(host, port.number)));
    let lower = kind.to_lowercase();
    match &port.error {
        None if number == 0 => CheckResult::ok(format!("any free {kind} port")),
        None => CheckResult::ok(format!("{place} is free")),
        Some(BindError::InUse) => CheckResult::fail(format!("{place} is in use"))
            .cause("another program uses it, perhaps a visage that still runs")
            .hint(
                "end that program or choose another port",
                &[&format!("ss -lpn --{lower} 'sport = :{number}'"), &format!("visage serve {flag} 0")],
            ),
        Some(BindError::PermissionDenied) => CheckResult::fail(format!("{place}: permission denied"))
            .cause("ports below 1024 need root")
            .hint("choose a higher one", &[&format!("visage serve {flag} 8010")]),
        Some(BindError::AddressNotLocal) => CheckResult::fail(format!("{host} is not an address of this machine"))
            .cause("--host names the address to listen on, not the one that browsers use")
            .hint(
                "listen on all addresses and announce this one to browsers",
                &[&format!("visage serve --host 0.0.0.0 --public-ip {host}")],
            ),
        Some(BindError::Other(said)) => CheckResult::fail(format!("cannot bind {place}: {said}"))
            .cause("the system refuses it, or has no such network")
            .hint("try another address and port", &[&format!("visage serve --host 127.0.0.1 {flag} 0")]),
    }
}

/// Whether browsers grant microphone access: only to https and localhost (W3C, Secure Contexts, 3.1).
pub fn microphone(machine: &Machine) -> CheckResult {
    let listen = &machine.listen;
    match listen.host {
        None => CheckResult::unknown(NO_ADDRESS),
        Some(_) if listen.is_https => CheckResult::ok("https"),
        Some(host) if host.is_loopback() => CheckResult::ok("http on localhost"),
        Some(host) => {
            let pages = match host {
                _ if host.is_unspecified() => "other machines over http".to_owned(),
                IpAddr::V4(host) => format!("http://{host}"),
                IpAddr::V6(host) => format!("http://[{host}]"),
            };
            CheckResult::warn(format!("browsers refuse it to pages from {pages}"))
                .cause("browsers allow it for https and localhost only")
                .hint(
                    "serve https; the browser warns once about the self-signed certificate",
                    &[&format!("visage serve --host {host} --tls self-signed")],
                )
        }
    }
}

/// Whether the STUN or TURN server answers.
pub fn turn(machine: &Machine) -> CheckResult {
    let Some(relay) = &machine.listen.relay else {
        return CheckResult::unknown("not configured (use --turn)");
    };
    if let Some(code) = relay.error_code {
        return CheckResult::ok(format!("{} answers with error {code}: it requires credentials", relay.address));
    }
    match &relay.seen {
        Probed::Found(seen) => {
            let took = relay.took_ms.map_or_else(String::new, |took| format!(" after {took} ms"));
            CheckResult::ok(format!("{} sees this machine as {seen}{took}", relay.address))
        }
        Probed::NotQueried => CheckResult::unknown(format!("{} was not queried", relay.address)),
        Probed::Missing(said) | Probed::Failed(said) | Probed::TimedOut(said) => {
            CheckResult::fail(format!("{} does not answer: {said}", relay.address))
                .cause("a firewall drops UDP, the address is wrong, or the server is down")
                .hint("allow UDP to and from it", &[])
        }
    }
}
