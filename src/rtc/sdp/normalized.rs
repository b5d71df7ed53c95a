//! Writes the offer that str0m reads: only accepted sections and the attributes in use.
//!
//! Writing to a string cannot fail, so its results are ignored.

use std::fmt::Write;

use super::choice::{Choice, Format};
use super::description::{Description, Media};
use super::transport::Transport;

/// The header extension that carries the identification (RFC 9143, section 15.2).
const MID_EXTENSION: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";

/// Writes the offer. `choices` are the accepted sections in their order, each with the identification for str0m.
#[must_use]
pub fn write(description: &Description<'_>, choices: &[(String, &Choice<'_>)], transport: &Transport<'_>) -> String {
    let mut text = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE".to_owned();
    choices.iter().for_each(|(mid, _)| text.extend([" ", mid]));
    text.push_str("\r\n");
    transport.write(&mut text);
    choices.iter().for_each(|(mid, choice)| write_section(&mut text, description, mid, choice));
    text
}

fn write_section(text: &mut String, description: &Description<'_>, mid: &str, choice: &Choice<'_>) {
    let media = &description.media[choice.index];
    let _ = write!(text, "m={} 9 UDP/TLS/RTP/SAVPF {}", media.kind, choice.format.pt);
    if let Some(rtx) = &choice.rtx {
        let _ = write!(text, " {}", rtx.pt);
    }
    let _ = write!(text, "\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na={}\r\na=rtcp-mux\r\n", choice.direction.name());
    write_formats(text, media, choice);
    let extensions = media.lines.attributes("extmap").chain(description.session.attributes("extmap"));
    let is_kept = |value: &str| media.mid() == Some(mid) || !value.contains(MID_EXTENSION);
    for (_, value) in extensions.filter(|(_, value)| is_extension(value) && is_kept(value)) {
        let _ = write!(text, "a=extmap:{value}\r\n");
    }
    // The peer's video is not received.
    for (_, value) in media.lines.attributes("ssrc").filter(|_| media.kind == "audio") {
        let _ = write!(text, "a=ssrc:{value}\r\n");
    }
}

fn write_formats(text: &mut String, media: &Media<'_>, choice: &Choice<'_>) {
    let Format { pt, encoding, .. } = &choice.format;
    let _ = write!(text, "a=rtpmap:{pt} {encoding}\r\n");
    if !choice.fmtp.is_empty() {
        let _ = write!(text, "a=fmtp:{pt} {}\r\n", choice.fmtp);
    }
    for (_, value) in media.lines.attributes("rtcp-fb") {
        let Some((number, feedback)) = value.split_once(' ') else { continue };
        if number == "*" || number.parse() == Ok(*pt) {
            let _ = write!(text, "a=rtcp-fb:{pt} {}\r\n", feedback.trim());
        }
    }
    if let Some(rtx) = &choice.rtx {
        let _ = write!(text, "a=rtpmap:{} rtx/90000\r\na=fmtp:{} apt={pt}\r\n", rtx.pt, rtx.pt);
    }
}

/// Whether the value of an `a=extmap` is valid: a number from 1, perhaps a direction, and a URI (RFC 8285, section 5).
fn is_extension(value: &str) -> bool {
    let id = value.split([' ', '/']).next().and_then(|id| id.parse::<u8>().ok());
    id.is_some_and(|id| id > 0) && value.contains(' ')
}
