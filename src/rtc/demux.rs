//! Demultiplexer of the shared UDP port: STUN by its user name (RFC 8445, section 7.2.2), everything else by source address.
//!
//! Decides which peer a datagram belongs to, not whether it is authentic: str0m checks that.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::session::ViewerKey;

/// Addresses kept for one peer; a peer that roams further loses its oldest.
const MAX_ADDRESSES: usize = 8;
const STUN_HEADER_BYTES: usize = 20;
const STUN_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const USERNAME: u16 = 0x0006;

/// Peers by ICE user name fragment and by address.
#[derive(Debug, Default)]
pub struct Demux {
    by_ufrag: HashMap<Box<str>, ViewerKey>,
    by_address: HashMap<SocketAddr, ViewerKey>,
    entries: HashMap<ViewerKey, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    ufrag: Box<str>,
    addresses: Vec<SocketAddr>,
}

impl Demux {
    /// Adds a peer under the server's ICE user name fragment for it.
    pub fn insert(&mut self, key: ViewerKey, ufrag: &str) {
        self.by_ufrag.insert(ufrag.into(), key);
        self.entries.insert(key, Entry { ufrag: ufrag.into(), addresses: Vec::new() });
    }

    /// The peer with this local user name fragment.
    #[must_use]
    pub fn by_ufrag(&self, ufrag: &str) -> Option<ViewerKey> {
        self.by_ufrag.get(ufrag).copied()
    }

    /// The peer that last sent from `address`.
    #[must_use]
    pub fn by_address(&self, address: SocketAddr) -> Option<ViewerKey> {
        self.by_address.get(&address).copied()
    }

    /// A peer sends from `address`. True if the address is new for it.
    pub fn bind_address(&mut self, address: SocketAddr, key: ViewerKey) -> bool {
        let Some(entry) = self.entries.get_mut(&key) else { return false };
        if self.by_address.insert(address, key) == Some(key) {
            return false;
        }
        entry.addresses.retain(|known| *known != address);
        entry.addresses.push(address);
        if entry.addresses.len() > MAX_ADDRESSES {
            let oldest = entry.addresses.remove(0);
            self.by_address.remove(&oldest);
        }
        true
    }

    /// Removes a peer.
    pub fn remove(&mut self, key: ViewerKey) {
        let Some(entry) = self.entries.remove(&key) else { return };
        self.by_ufrag.remove(&entry.ufrag);
        for address in entry.addresses {
            if self.by_address.get(&address) == Some(&key) {
                self.by_address.remove(&address);
            }
        }
    }

    /// Whether there are no peers.
    #[cfg(test)]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_ufrag.is_empty() && self.by_address.is_empty() && self.entries.is_empty()
    }
}

/// Whether a datagram is STUN (RFC 7983, section 7).
#[must_use]
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| *first < 4)
}

/// Whether a datagram is DTLS (RFC 7983, section 7).
#[must_use]
pub fn is_dtls(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| (20..64).contains(first))
}

/// The transaction id of a STUN success response (RFC 8489, section 5), whose request therefore was authentic; `None` for
/// any other datagram.
#[must_use]
pub fn stun_success_id(datagram: &[u8]) -> Option<[u8; 12]> {
    let is_answer = datagram.starts_with(&[0x01, 0x01]) && datagram.get(4..8) == Some(&STUN_COOKIE);
    datagram.get(8..20).filter(|_| is_answer)?.try_into().ok()
}

/// Whether a datagram is RTP or SRTP, not RTCP (RFC 5761, section 4; RFC 7983, section 7).
#[must_use]
pub fn is_rtp(datagram: &[u8]) -> bool {
    let is_rtcp = |second: &u8| (64..96).contains(&(second & 0x7f));
    datagram.first().is_some_and(|first| (128..192).contains(first))
        && datagram.get(1).is_some_and(|second| !is_rtcp(second))
}

/// Payload type and time stamp of an RTP packet; `None` for anything else (RFC 3550, section 5.1).
#[must_use]
pub fn rtp_header(datagram: &[u8]) -> Option<(u8, u32)> {
    let time = datagram.get(4..8)?.try_into().ok()?;
    is_rtp(datagram).then_some((datagram.get(1)? & 0x7f, u32::from_be_bytes(time)))
}

/// The server's user name fragment in a STUN request: the part of its USERNAME before the colon.
#[must_use]
pub fn local_ufrag(datagram: &[u8]) -> Option<&str> {
    if !is_stun(datagram) || datagram.get(4..8)? != STUN_COOKIE {
        return None;
    }
    let mut rest = datagram.get(STUN_HEADER_BYTES..)?;
    loop {
        let (kind, length) = (two_bytes(rest, 0)?, usize::from(two_bytes(rest, 2)?));
        if kind == USERNAME {
            let name = std::str::from_utf8(rest.get(4..4 + length)?).ok()?;
            return name.split_once(':').map(|(ours, _)| ours);
        }
        rest = rest.get(4 + length.next_multiple_of(4)..)?;
    }
}

fn two_bytes(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::SessionKey;
    use proptest::prelude::*;

    fn key(number: u32) -> ViewerKey {
        ViewerKey { session: SessionKey(1), number }
    }

    fn request(username: &str) -> Vec<u8> {
        let mut bytes = vec![0, 1, 0, 0];
        bytes.extend(STUN_COOKIE);
        bytes.extend([7; 12]);
        bytes.extend([0x00, 0x24, 0, 4, 1, 2, 3, 4]);
        bytes.extend([0, 6, 0, u8::try_from(username.len()).expect("short")]);
        bytes.extend(username.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_request_names_its_peer() {
        assert_eq!(local_ufrag(&request("ours:theirs")), Some("ours"));
        assert_eq!(local_ufrag(&request("nothing")), None);
        let whole = request("ours:theirs");
        assert!((0..whole.len() - 1).all(|end| local_ufrag(&whole[..end]).is_none()));
    }

    #[test]
    fn nothing_is_kept_of_a_peer_that_was_removed() {
        let mut demux = Demux::default();
        let (one, two) = (key(1), key(2));
        demux.insert(one, "a");
        demux.insert(two, "b");
        assert!((0..100).all(|port| demux.bind_address(SocketAddr::from(([10, 0, 0, 1], port)), one)));
        let last = SocketAddr::from(([10, 0, 0, 1], 99));
        assert_eq!(demux.by_address(last), Some(one));
        assert_eq!(demux.by_address(SocketAddr::from(([10, 0, 0, 1], 1))), None, "the oldest addresses are dropped");
        assert!(demux.bind_address(last, two) && !demux.bind_address(last, two));
        demux.remove(one);
        assert_eq!((demux.by_address(last), demux.by_ufrag("a"), demux.by_ufrag("b")), (Some(two), None, Some(two)));
        demux.remove(two);
        assert!(demux.is_empty());
    }

    proptest! {
        #[test]
        fn reading_user_names_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(cookie) = bytes.get_mut(4..8) {
                cookie.copy_from_slice(&STUN_COOKIE);
            }
            let _ = local_ufrag(&bytes);
        }
    }
}
