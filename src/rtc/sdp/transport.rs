//! The transport of an offer: ICE credentials, DTLS role and certificate fingerprint. Decides which of them can be used.

use std::fmt::Write;

use super::super::JoinError;
use super::description::{Description, Line, Lines, Media};

/// Lengths of ICE credentials, in characters (RFC 8839, section 5.4).
const UFRAG_CHARS: std::ops::RangeInclusive<usize> = 4..=256;
const PWD_CHARS: std::ops::RangeInclusive<usize> = 22..=256;
/// The hash functions that str0m verifies, the better one first, and the length of their digests in bytes.
const HASHES: [(&str, usize); 2] = [("sha-256", 32), ("sha-1", 20)];

/// The transport that all media of an offer share.
#[derive(Debug)]
pub struct Transport<'a> {
    ufrag: &'a str,
    pwd: &'a str,
    fingerprint: (&'static str, &'a str),
    setup: &'a str,
}

impl<'a> Transport<'a> {
    /// Reads the transport of a section; attributes that it lacks are the session's.
    ///
    /// # Errors
    /// If credentials or a fingerprint are missing or cannot be used.
    pub fn read(description: &Description<'a>, media: &Media<'a>) -> Result<Self, JoinError> {
        if let Some((line, _)) = description.session.attribute("ice-lite") {
            return Err(line.error("this server is an ICE-lite agent itself, so the peer must run the checks"));
        }
        let levels = [&media.lines, &description.session];
        let first = |name: &str| levels.iter().find_map(|lines| lines.attribute(name));
        let required = |name: &str| {
            first(name).ok_or_else(|| media.line.error(&format!("neither it nor the session has a={name}")))
        };
        let ufrag = credential(required("ice-ufrag")?, UFRAG_CHARS)?;
        let pwd = credential(required("ice-pwd")?, PWD_CHARS)?;
        required("fingerprint")?;
        let fingerprint = fingerprint(&levels)?;
        let setup = first("setup").map_or(Ok("actpass"), |(line, role)| match role {
            "actpass" | "active" | "passive" => Ok(role),
            _ => Err(line.error("wanted actpass, active or passive")),
        })?;
        Ok(Self { ufrag, pwd, fingerprint, setup })
    }

    /// Writes it as attributes of a session.
    pub fn write(&self, text: &mut String) {
        let Self { ufrag, pwd, fingerprint: (hash, digest), setup } = self;
        // Writing to a string cannot fail.
        let _ = write!(text, "a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\n");
        let _ = write!(text, "a=fingerprint:{hash} {digest}\r\na=setup:{setup}\r\n");
    }
}

fn credential<'a>(
    (line, value): (Line<'a>, &'a str),
    chars: std::ops::RangeInclusive<usize>,
) -> Result<&'a str, JoinError> {
    if chars.contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(value);
    }
    Err(line.error(&format!("wanted {} to {} visible ASCII characters", chars.start(), chars.end())))
}

/// The fingerprint by the best hash function, of the media section or else of the session.
fn fingerprint<'a>(levels: &[&Lines<'a>; 2]) -> Result<(&'static str, &'a str), JoinError> {
    let all: Vec<_> = levels.iter().flat_map(|lines| lines.attributes("fingerprint")).collect();
    let usable = HASHES.iter().find_map(|(hash, bytes)| {
        let digests = all.iter().filter_map(|(_, value)| value.split_once(' '));
        let mut digests = digests.filter(|(its, digest)| its.eq_ignore_ascii_case(hash) && is_hex(digest, *bytes));
        digests.next().map(|(_, digest)| (*hash, digest))
    });
    usable.ok_or_else(|| {
        let problem = "cannot be verified: wanted sha-256 with 32 bytes in hexadecimal, separated by colons";
        all.first().map_or_else(|| JoinError::BadOffer { found: problem.to_owned() }, |(line, _)| line.error(problem))
    })
}

fn is_hex(digest: &str, bytes: usize) -> bool {
    let is_byte = |byte: &str| byte.len() == 2 && byte.bytes().all(|digit| digit.is_ascii_hexdigit());
    digest.split(':').count() == bytes && digest.split(':').all(is_byte)
}
