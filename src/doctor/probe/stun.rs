//! The STUN Binding request and its response (RFC 8489).
//!
//! Decides the bytes of the request and which response is accepted. Contains no socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The transaction id, which identifies the response.
pub type Transaction = [u8; 12];

const COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
const HEADER_BYTES: usize = 20;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const ERROR_CODE: u16 = 0x0009;

/// A server's response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The source address of the request.
    MappedAddress(SocketAddr),
    /// An error such as 401, if it requires credentials even for this.
    Error(u16),
}

/// A Binding request without attributes: 20 bytes (section 5).
pub fn request(transaction: Transaction) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[1] = 0x01;
    bytes[4..8].copy_from_slice(&COOKIE);
    bytes[8..].copy_from_slice(&transaction);
    bytes
}

/// Reads a response to the request of `transaction`; `None` for anything else.
pub fn read(bytes: &[u8], transaction: Transaction) -> Option<Answer> {
    let (header, rest) = bytes.split_at_checked(HEADER_BYTES)?;
    if header[4..8] != COOKIE || header[8..] != transaction {
        return None;
    }
    let attributes = rest.get(..usize::from(two(header, 2)?))?;
    match two(header, 0)? {
        BINDING_SUCCESS => {
            find(attributes, XOR_MAPPED_ADDRESS).and_then(|value| mapped(value, transaction)).map(Answer::MappedAddress)
        }
        BINDING_ERROR => {
            let value = find(attributes, ERROR_CODE)?;
            Some(Answer::Error(u16::from(value.get(2)? & 7) * 100 + u16::from(*value.get(3)?)))
        }
        _ => None,
    }
}

fn two(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The value of the first attribute of a type; each is padded to four bytes (section 14).
fn find(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let (found, length) = (two(attributes, 0)?, usize::from(two(attributes, 2)?));
        let value = attributes.get(4..4 + length)?;
        if found == kind {
            return Some(value);
        }
        attributes = attributes.get(4 + length.next_multiple_of(4)..)?;
    }
}

/// An address, XORed with the cookie and the transaction id (section 14.2).
fn mapped(value: &[u8], transaction: Transaction) -> Option<SocketAddr> {
    let port = two(value, 2)? ^ u16::from_be_bytes([COOKIE[0], COOKIE[1]]);
    let veil: Vec<u8> = COOKIE.iter().chain(&transaction).copied().collect();
    let bare: Vec<u8> = value.get(4..)?.iter().zip(veil).map(|(byte, veil)| byte ^ veil).collect();
    let ip = match value.get(1)? {
        1 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bare.get(..4)?).ok()?)),
        2 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bare.get(..16)?).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769, section 2.2: a response with software, an IPv4 address, integrity and fingerprint.
    const SAMPLE: &[u8] = &[
        0x01, 0x01, 0x00, 0x3c, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87,
        0xdf, 0xae, 0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74, 0x20, 0x76, 0x65, 0x63, 0x74, 0x6f, 0x72, 0x20,
        0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43, 0x00, 0x08, 0x00, 0x14, 0x2b, 0x91,
        0xf5, 0x99, 0xfd, 0x9e, 0x90, 0xc3, 0x8c, 0x74, 0x89, 0xf9, 0x2a, 0xf9, 0xba, 0x53, 0xf0, 0x6b, 0xe7, 0xd7,
        0x80, 0x28, 0x00, 0x04, 0xc0, 0x7d, 0x4c, 0x96,
    ];
    const TRANSACTION: Transaction = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

    #[test]
    fn the_sample_response_of_rfc_5769_is_read() {
        let seen = "192.0.2.1:32853".parse().expect("an address");
        assert_eq!(read(SAMPLE, TRANSACTION), Some(Answer::MappedAddress(seen)));
    }

    #[test]
    fn a_response_to_another_transaction_is_ignored() {
        assert_eq!(read(SAMPLE, [0; 12]), None);
        assert_eq!(read(&request(TRANSACTION), TRANSACTION), None, "a request is not a response");
    }

    #[test]
    fn every_truncation_is_refused_without_a_panic() {
        for length in 0..SAMPLE.len() {
            assert_eq!(read(&SAMPLE[..length], TRANSACTION), None, "{length}");
        }
    }

    #[test]
    fn an_error_response_has_its_code() {
        let mut bytes = request(TRANSACTION).to_vec();
        bytes[..4].copy_from_slice(&[0x01, 0x11, 0, 8]);
        bytes.extend([0, 9, 0, 4, 0, 0, 4, 1]);
        assert_eq!(read(&bytes, TRANSACTION), Some(Answer::Error(401)));
    }
}
