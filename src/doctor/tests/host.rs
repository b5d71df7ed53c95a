//! RtcFactory with something wrong that every target needs.

use std::net::{IpAddr, Ipv4Addr};

use super::{Case, ada, case, with};
use crate::doctor::machine::{Port, Refusal, Relay, Told};

const LAN: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 20));

/// What every target needs.
pub(super) const OF_THE_HOUSE: &[Case] = &[
    case(
        "disk full",
        || with(ada(), |machine| machine.disk.free_bytes = Some(1_000_000)),
        &["disk"],
        &["engines-disk"],
        "is full",
    ),
    case(
        "data folder of somebody else",
        || with(ada(), |machine| machine.disk.refused = Some("Permission denied (os error 13)".into())),
        &[],
        &["data-folder"],
        "--data-dir",
    ),
    case(
        "too few open files",
        || with(ada(), |machine| (machine.limits.open_files, machine.door.max_sessions) = (Some(256), 64)),
        &["open-files"],
        &[],
        "wanted 576 open files, allowed are 256",
    ),
    case(
        "small buffers",
        || with(ada(), |machine| machine.limits.receive_buffer_bytes = Some(212_992)),
        &[],
        &["udp-buffers"],
        "sudo sysctl -w net.core.rmem_max=2097152",
    ),
    case("one core", || with(ada(), |machine| machine.cores = 1), &[], &["cpu"], "take turns"),
    case(
        "port taken",
        || with(ada(), |machine| machine.door.tcp.refused = Some(Refusal::InUse)),
        &["tcp-port"],
        &[],
        "ss -lpn --tcp 'sport = :8010'",
    ),
    case(
        "UDP port taken",
        || with(ada(), |machine| machine.door.udp.refused = Some(Refusal::InUse)),
        &["udp-port"],
        &[],
        "visage serve --udp-port 0",
    ),
    case(
        "a port below 1024",
        || {
            with(ada(), |machine| {
                machine.door.tcp = Port { number: 443, refused: Some(Refusal::Forbidden) };
            })
        },
        &["tcp-port"],
        &[],
        "the administrator's",
    ),
    case(
        "a UDP port below 1024",
        || {
            with(ada(), |machine| {
                machine.door.udp = Port { number: 443, refused: Some(Refusal::Forbidden) };
            })
        },
        &["udp-port"],
        &[],
        "visage serve --udp-port 8010",
    ),
    case(
        "no IPv6 on this machine",
        || {
            with(ada(), |machine| {
                machine.door.host = Some(IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1]));
                let said = "Address family not supported by protocol (os error 97)".to_owned();
                machine.door.tcp.refused = Some(Refusal::Other(said));
            })
        },
        &["tcp-port"],
        &["microphone"],
        "refused to pages from http://[fd00::1]",
    ),
    case(
        "the router's address",
        || {
            with(ada(), |machine| {
                machine.door.host = Some(IpAddr::from([203, 0, 113, 7]));
                machine.door.is_https = true;
                machine.door.tcp.refused = Some(Refusal::NotOurs);
            })
        },
        &["tcp-port"],
        &[],
        "--public-ip 203.0.113.7",
    ),
    case(
        "http on a LAN",
        || with(ada(), |machine| machine.door.host = Some(LAN)),
        &[],
        &["microphone"],
        "visage serve --host 192.168.1.20 --tls self-signed",
    ),
    case(
        "https on a LAN",
        || with(ada(), |machine| (machine.door.host, machine.door.is_https) = (Some(LAN), true)),
        &[],
        &[],
        "https",
    ),
    case(
        "TURN out of reach",
        || {
            with(ada(), |machine| {
                let seen = Told::Failed("nothing after 3s and 3 requests".into());
                machine.door.relay = Some(Relay { address: "turn:10.0.0.1".into(), seen, ..Relay::default() });
            })
        },
        &["turn"],
        &[],
        "a firewall drops UDP",
    ),
    case(
        "TURN that wants a password",
        || {
            with(ada(), |machine| {
                let error_code = Some(401);
                machine.door.relay = Some(Relay { address: "turn:10.0.0.1".into(), error_code, ..Relay::default() });
            })
        },
        &[],
        &[],
        "it wants a password first",
    ),
];
