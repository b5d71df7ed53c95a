//! The payload types of a section, and the one that is used (RFC 8866, section 6.6).

use super::description::{Direction, Media};
use super::h264;
use super::offer::VideoFormat;

/// Maximum number of codecs in an error.
const MOST_LISTED: usize = 12;

/// A section that is accepted, with the payload types that are used.
#[derive(Clone, Debug)]
pub struct Choice<'a> {
    /// Its index in the offer.
    pub index: usize,
    /// The direction to answer to.
    pub direction: Direction,
    /// The payload type, its `rtpmap` encoding and parameters.
    pub format: Format<'a>,
    /// The value of the `a=fmtp` line for str0m.
    pub fmtp: String,
    /// The payload type of its retransmissions (RFC 4588).
    pub rtx: Option<Format<'a>>,
}

/// The sections that are accepted.
pub struct Accepted<'a> {
    /// Video that is sent.
    pub video: Choice<'a>,
    /// Audio, if it is offered.
    pub audio: Option<Choice<'a>>,
}

impl<'a> Accepted<'a> {
    /// In the order of the offer.
    pub fn in_order(&self) -> Vec<&Choice<'a>> {
        let mut choices: Vec<&Choice<'a>> = self.audio.iter().chain([&self.video]).collect();
        choices.sort_by_key(|choice| choice.index);
        choices
    }
}

/// A payload type of a section.
#[derive(Clone, Debug)]
pub struct Format<'a> {
    /// Its number.
    pub pt: u8,
    /// Encoding name, clock rate and channels: `opus/48000/2`.
    pub encoding: &'a str,
    /// The values of its `a=fmtp` lines.
    pub fmtp: Vec<&'a str>,
}

/// The payload types of an m-line that have an `a=rtpmap`.
pub fn formats<'a>(media: &Media<'a>) -> Vec<Format<'a>> {
    let value_of = |name: &'static str, pt: u8| {
        media.lines.attributes(name).filter_map(move |(_, value)| {
            let (number, rest) = value.split_once(' ')?;
            (number.parse() == Ok(pt)).then_some(rest.trim())
        })
    };
    let pts = media.formats.iter().filter_map(|pt| pt.parse().ok()).filter(|pt| *pt < 128);
    let format =
        |pt| Some(Format { pt, encoding: value_of("rtpmap", pt).next()?, fmtp: value_of("fmtp", pt).collect() });
    pts.filter_map(format).collect()
}

impl Format<'_> {
    /// Whether it is this encoding, in any case of letters.
    #[must_use]
    pub fn is(&self, encoding: &str) -> bool {
        self.encoding.eq_ignore_ascii_case(encoding)
    }

    fn describe(&self) -> String {
        if self.is("H264/90000") {
            return h264::describe(self.encoding, &self.fmtp);
        }
        self.encoding.chars().take(32).collect()
    }
}

/// The first H.264 that the encoder can produce.
pub fn choose_h264<'a>(index: usize, media: &Media<'a>) -> Option<(Choice<'a>, VideoFormat)> {
    let formats = formats(media);
    let profile = |format: &Format<'a>| format.is("H264/90000").then(|| h264::answer_profile(&format.fmtp)).flatten();
    let (format, profile_level_id) = formats.iter().find_map(|format| Some((format, profile(format)?)))?;
    let fmtp = format!("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={profile_level_id:06x}");
    Some((choose(index, format, &formats, fmtp), VideoFormat::H264 { profile_level_id }))
}

/// VP8 (RFC 7741, section 6).
#[cfg(feature = "vp8")]
pub fn choose_vp8<'a>(index: usize, media: &Media<'a>) -> Option<(Choice<'a>, VideoFormat)> {
    let formats = formats(media);
    let format = formats.iter().find(|format| format.is("VP8/90000"))?;
    Some((choose(index, format, &formats, String::new()), VideoFormat::Vp8))
}

/// Video is only sent to the peer, whatever it offers to send.
fn choose<'a>(index: usize, format: &Format<'a>, formats: &[Format<'a>], fmtp: String) -> Choice<'a> {
    let repairs = |other: &&Format<'a>| {
        other.is("rtx/90000") && h264::parameter(&other.fmtp, "apt").and_then(|apt| apt.parse().ok()) == Some(format.pt)
    };
    let rtx = formats.iter().find(repairs).cloned();
    Choice { index, direction: Direction::RecvOnly, format: format.clone(), fmtp, rtx }
}

/// The codecs of sections, for an error; retransmission and correction formats are not codecs.
pub fn offered(sections: &[&Media<'_>]) -> String {
    let mut names: Vec<String> = Vec::new();
    for format in sections.iter().flat_map(|media| formats(media)) {
        let is_repair = ["rtx/", "red/", "ulpfec/", "flexfec-03/"]
            .iter()
            .any(|prefix| format.encoding.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix)));
        let name = format.describe();
        if !is_repair && !names.contains(&name) && names.len() < MOST_LISTED {
            names.push(name);
        }
    }
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
