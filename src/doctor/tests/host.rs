//! Machines with faults that affect every target.

use std::net::{IpAddr, Ipv4Addr};

use super::{Case, ada, case, with};
use crate::doctor::machine::{BindError, Port, Probed, Relay};

const LAN: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 20));

/// Faults that affect every target.
pub(super) const HOST_CASES: &[Case] = &[
    case(
        "disk full",
        || with(ada(), |machine| machine.disk.free_bytes = Some(1_000_000)),
        &["disk"],
        &["engines-disk"],
        "is full",
    ),
    case(
        "data folder of another user",
        || with(ada(), |machine| machine.disk.error = Some("Permission denied (os error 13)".into())),
        &[],
        &["data-folder"],
        "--data-dir",
    ),
    case(
        "too few open files",
        || with(ada(), |machine| (machine.limits.open_files, machine.listen.max_sessions) = (Some(256), 64)),
        &["open-files"],
        &[],
        "wanted 576 open files, the limit is 256",
    ),
    case(
        "small socket buffers",
        || with(ada(), |machine| machine.limits.receive_buffer_bytes = Some(212_992)),
        &[],
        &["udp-buffers"],
        "sudo sysctl -w net.core.rmem_max=2097152",
    ),
    case(
        "an encoder built without nasm",
        || with(ada(), |machine| machine.libraries.h264_assembly = Some(false)),
        &[],
        &["h264"],
        "cargo clean --release -p openh264-sys2",
    ),
    case("one core", || with(ada(), |machine| machine.cores = 1), &[], &["cpu"], "take turns"),
    case(
        "port taken",
        || with(ada(), |machine| machine.listen.tcp.error = Some(BindError::InUse)),
        &["tcp-port"],
        &[],
        "ss -lpn --tcp 'sport = :8010'",
    ),
    case(
        "UDP port taken",
        || with(ada(), |machine| machine.listen.udp.error = Some(BindError::InUse)),
        &["udp-port"],
        &[],
        "visage serve --udp-port 0",
    ),
    case(
        "a port below 1024",
        || {
            with(ada(), |machine| {
                machine.listen.tcp = Port { number: 443, error: Some(BindError::PermissionDenied) };
            })
        },
        &["tcp-port"],
        &[],
        "ports below 1024 need root",
    ),
    case(
        "a UDP port below 1024",
        || {
            with(ada(), |machine| {
                machine.listen.udp = Port { number: 443, error: Some(BindError::PermissionDenied) };
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
                machine.listen.host = Some(IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1]));
                let said = "Address family not supported by protocol (os error 97)".to_owned();
                machine.listen.tcp.error = Some(BindError::Other(said));
            })
        },
        &["tcp-port"],
        &["microphone"],
        "browsers refuse it to pages from http://[fd00::1]",
    ),
    case(
        "the router's address as --host",
        || {
            with(ada(), |machine| {
                machine.listen.host = Some(IpAddr::from([203, 0, 113, 7]));
                machine.listen.is_https = true;
                machine.listen.tcp.error = Some(BindError::AddressNotLocal);
            })
        },
        &["tcp-port"],
        &[],
        "--public-ip 203.0.113.7",
    ),
    case(
        "http on a LAN",
        || with(ada(), |machine| machine.listen.host = Some(LAN)),
        &[],
        &["microphone"],
        "visage serve --host 192.168.1.20 --tls self-signed",
    ),
    case(
        "https on a LAN",
        || with(ada(), |machine| (machine.listen.host, machine.listen.is_https) = (Some(LAN), true)),
        &[],
        &[],
        "https",
    ),
    case(
        "TURN server unreachable",
        || {
            with(ada(), |machine| {
                let seen = Probed::Failed("no answer after 3s and 3 requests".into());
                machine.listen.relay = Some(Relay { address: "turn:10.0.0.1".into(), seen, ..Relay::default() });
            })
        },
        &["turn"],
        &[],
        "a firewall drops UDP",
    ),
    case(
        "TURN server that requires credentials",
        || {
            with(ada(), |machine| {
                let error_code = Some(401);
                machine.listen.relay = Some(Relay { address: "turn:10.0.0.1".into(), error_code, ..Relay::default() });
            })
        },
        &[],
        &[],
        "it requires credentials",
    ),
];
