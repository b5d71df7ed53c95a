//! Checks of where `serve` would listen: ports, https, and a relay if one was named.

use std::net::{IpAddr, SocketAddr};

use crate::doctor::machine::{Port, Refusal, Told};
use crate::doctor::{Judgement, Machine};

const NO_DOOR: &str = "no address was asked for";

/// The port of the page.
pub fn tcp_port(machine: &Machine) -> Judgement {
    match machine.door.host {
        Some(host) => port("TCP", "--port", host, &machine.door.tcp),
        None => Judgement::unknown(NO_DOOR),
    }
}

/// The port of all media.
pub fn udp_port(machine: &Machine) -> Judgement {
    match machine.door.host {
        Some(host) => port("UDP", "--udp-port", host, &machine.door.udp),
        None => Judgement::unknown(NO_DOOR),
    }
}

fn port(kind: &str, flag: &str, host: IpAddr, port: &Port) -> Judgement {
    let (number, place) = (port.number, format!("{kind} {}", SocketAddr::new(host, port.number)));
    let lower = kind.to_lowercase();
    match &port.refused {
        None if number == 0 => Judgement::ok(format!("any free {kind} port")),
        None => Judgement::ok(format!("{place} is free")),
        Some(Refusal::InUse) => Judgement::fail(format!("{place} is taken"))
            .because("another program has it, perhaps a visage that still runs")
            .so(
                "end that program or choose another port",
                &[&format!("ss -lpn --{lower} 'sport = :{number}'"), &format!("visage serve {flag} 0")],
            ),
        Some(Refusal::Forbidden) => Judgement::fail(format!("{place} is not for this user"))
            .because("ports below 1024 are the administrator's")
            .so("choose a higher one", &[&format!("visage serve {flag} 8010")]),
        Some(Refusal::NotOurs) => Judgement::fail(format!("{host} is not an address of this machine"))
            .because("--host names the address to listen on, not the one that browsers use")
            .so(
                "listen everywhere and tell browsers the other one",
                &[&format!("visage serve --host 0.0.0.0 --public-ip {host}")],
            ),
        Some(Refusal::Other(said)) => Judgement::fail(format!("{place} cannot be had: {said}"))
            .because("the system refuses it to this program, or has no such network")
            .so("try another address and port", &[&format!("visage serve --host 127.0.0.1 {flag} 0")]),
    }
}

/// Whether browsers will give their microphone: to https and to their own machine only (W3C, Secure Contexts, 3.1).
pub fn microphone(machine: &Machine) -> Judgement {
    let door = &machine.door;
    match door.host {
        None => Judgement::unknown(NO_DOOR),
        Some(_) if door.is_https => Judgement::ok("https"),
        Some(host) if host.is_loopback() => Judgement::ok("http on this machine itself"),
        Some(host) => {
            let pages = match host {
                _ if host.is_unspecified() => "other machines over http".to_owned(),
                IpAddr::V4(host) => format!("http://{host}"),
                IpAddr::V6(host) => format!("http://[{host}]"),
            };
            Judgement::warn(format!("refused to pages from {pages}"))
                .because("browsers give it to https and to localhost only")
                .so(
                    "serve https; the page warns once about a certificate that nobody else vouches for",
                    &[&format!("visage serve --host {host} --tls self-signed")],
                )
        }
    }
}

/// Whether a STUN or TURN server answers.
pub fn turn(machine: &Machine) -> Judgement {
    let Some(relay) = &machine.door.relay else {
        return Judgement::unknown("none was named (--turn)");
    };
    if let Some(code) = relay.error_code {
        return Judgement::ok(format!("{} answers, with error {code}: it wants a password first", relay.address));
    }
    match &relay.seen {
        Told::Is(seen) => {
            let took = relay.took_ms.map_or_else(String::new, |took| format!(" after {took} ms"));
            Judgement::ok(format!("{} sees this machine as {seen}{took}", relay.address))
        }
        Told::NotAsked => Judgement::unknown(format!("{} was not asked", relay.address)),
        Told::Absent(said) | Told::Failed(said) | Told::Hangs(said) => {
            Judgement::fail(format!("{} does not answer: {said}", relay.address))
                .because("a firewall drops UDP, the address is wrong, or the server is down")
                .so("let UDP through to it, in and out", &[])
        }
    }
}
