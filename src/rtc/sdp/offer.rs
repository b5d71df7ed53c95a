//! Chooses the media sections of an offer that are answered, and rewrites the offer for str0m.
//!
//! One video section and at most one audio section are accepted; the answer rejects all others. What str0m 0.25 refuses
//! although the RFCs allow it is normalized here: a missing direction or one at session level, a BUNDLE group in another order
//! than the sections, no BUNDLE group or no `a=mid` where there is one section, `a=rtcp-fb:*`, other RTP profiles.

use super::super::JoinError;
use super::answer::{AnswerLayout, AnswerSection};
#[cfg(feature = "vp8")]
use super::choice::choose_vp8;
use super::choice::{Accepted, Choice, Format, choose_h264, formats, offered};
use super::description::{Description, Direction, Media};
use super::normalized;
use super::transport::Transport;
use crate::codec::VideoCodec;

/// RTP profiles that mean SRTP over DTLS in an offer with a fingerprint (RFC 8829, section 5.1.2).
const RTP_PROFILES: [&str; 8] = [
    "UDP/TLS/RTP/SAVPF",
    "UDP/TLS/RTP/SAVP",
    "TCP/DTLS/RTP/SAVPF",
    "TCP/DTLS/RTP/SAVP",
    "RTP/SAVPF",
    "RTP/SAVP",
    "RTP/AVPF",
    "RTP/AVP",
];
/// Opus as an answer writes it.
const OPUS: &str = "opus/48000/2";
/// The longest identification that str0m keeps whole, in bytes.
const LONGEST_MID: usize = 16;

/// How video is coded for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoFormat {
    /// H.264, constrained baseline, packetization mode 1.
    H264 {
        /// The profile-level-id of the answer.
        profile_level_id: u32,
    },
    /// VP8 (RFC 7741).
    #[cfg(feature = "vp8")]
    Vp8,
}

impl VideoFormat {
    /// The codec.
    #[must_use]
    pub fn codec(self) -> VideoCodec {
        match self {
            Self::H264 { .. } => VideoCodec::H264,
            #[cfg(feature = "vp8")]
            Self::Vp8 => VideoCodec::Vp8,
        }
    }
}

/// What an answer is limited to.
#[derive(Clone, Copy, Debug, Default)]
pub struct OfferTerms {
    /// The codec of a session that is encoded already; `None` lets the offer choose.
    pub codec: Option<VideoCodec>,
    /// Whether audio of the peer is not received: then `sendrecv` is answered with `sendonly`
    /// (draft-ietf-wish-whep, section 4.2), and audio that is only sent is rejected.
    pub is_receive_only: bool,
}

/// An offer that can be answered.
#[derive(Debug)]
pub struct Offer {
    /// The offer as str0m reads it.
    pub normalized: String,
    /// How video is coded.
    pub video: VideoFormat,
    /// How the answer is laid out.
    pub layout: AnswerLayout,
}

impl Offer {
    /// Reads an offer.
    ///
    /// # Errors
    /// If it is malformed, or has no usable video, or audio that cannot be received.
    pub fn read(text: &str, terms: OfferTerms) -> Result<Self, JoinError> {
        let description = Description::parse(text)?;
        let sections = Sections::new(&description, terms)?;
        let (video, format) = sections.choose_video()?;
        let audio = sections.choose_audio(&video)?;
        let accepted = Accepted { video, audio };
        let transport = Transport::read(&description, &description.media[sections.tagged(&accepted)])?;
        Ok(Self {
            normalized: normalized::write(&description, &sections.named(&accepted), &transport),
            video: format,
            layout: sections.layout(&accepted),
        })
    }
}

/// The sections of an offer.
struct Sections<'d, 'a> {
    description: &'d Description<'a>,
    terms: OfferTerms,
}

impl<'d, 'a> Sections<'d, 'a> {
    fn new(description: &'d Description<'a>, terms: OfferTerms) -> Result<Self, JoinError> {
        let mut known: Vec<&str> = Vec::new();
        for media in &description.media {
            let Some(mid) = media.mid() else { continue };
            if known.contains(&mid) {
                return Err(media.line.error("two m-lines have the same a=mid"));
            }
            known.push(mid);
        }
        Ok(Self { description, terms })
    }

    /// Sections of a kind that are not rejected by port 0. In a BUNDLE group port 0 means bundle-only (RFC 9143, section 6).
    fn open(&self, kind: &'static str) -> impl Iterator<Item = (usize, &'d Media<'a>)> + Clone {
        let description = self.description;
        let is_open = move |media: &Media<'a>| {
            media.port != "0" || media.mid().is_some_and(|mid| description.bundle_of(mid).is_some())
        };
        let is_ours = move |media: &Media<'a>| media.kind == kind && RTP_PROFILES.contains(&media.proto);
        let sections = description.media.iter().enumerate();
        sections.filter(move |(_, media)| is_ours(media) && is_open(media))
    }

    /// The first section that receives H.264, else the first that receives VP8: H.264 costs less to encode.
    fn choose_video(&self) -> Result<(Choice<'a>, VideoFormat), JoinError> {
        let receiving = || self.open("video").filter(|(_, media)| self.description.direction(media).receives());
        let is_allowed = |codec: VideoCodec| self.terms.codec.is_none_or(|its| its == codec);
        let h264 = receiving().find_map(|(index, media)| choose_h264(index, media));
        let chosen = h264.filter(|_| is_allowed(VideoCodec::H264));
        #[cfg(feature = "vp8")]
        let chosen = chosen.or_else(|| {
            let vp8 = receiving().find_map(|(index, media)| choose_vp8(index, media));
            vp8.filter(|_| is_allowed(VideoCodec::Vp8))
        });
        chosen.ok_or_else(|| self.no_video(receiving().map(|(_, media)| media).collect()))
    }

    fn no_video(&self, receiving: Vec<&Media<'a>>) -> JoinError {
        let bad = |found: &str| JoinError::BadOffer { found: found.to_owned() };
        if !receiving.is_empty() {
            return self.no_codec(offered(&receiving));
        }
        if let Some((_, media)) = self.open("video").next() {
            return media.line.error("it receives nothing: the direction of video must be recvonly or sendrecv");
        }
        match self.description.media.iter().find(|media| media.kind == "video") {
            Some(media) if media.port == "0" => media.line.error("it is rejected by its port 0"),
            Some(media) => media.line.error("wanted the protocol UDP/TLS/RTP/SAVPF"),
            None => bad("no m=video line: ask for video with addTransceiver('video', {direction: 'recvonly'})"),
        }
    }

    fn no_codec(&self, offered: String) -> JoinError {
        let any = Sections { description: self.description, terms: OfferTerms { codec: None, ..self.terms } };
        match self.terms.codec {
            Some(codec) if any.choose_video().is_ok() => JoinError::OtherCodec { codec: name(codec), offered },
            _ => JoinError::NoUsableVideo { offered },
        }
    }

    /// The first audio section with Opus. Who offers audio wants to be heard or to hear: without Opus there is no session
    /// rather than a silent one. An inactive section wants nothing.
    fn choose_audio(&self, video: &Choice<'a>) -> Result<Option<Choice<'a>>, JoinError> {
        let active = || self.open("audio").filter(|(_, media)| self.audio_direction(media) != Direction::Inactive);
        let Some((_, first)) = active().next() else { return Ok(None) };
        let opus = |(index, media)| self.choose_opus(index, media);
        let Some(audio) = active().find_map(opus) else {
            let sections: Vec<_> = active().map(|(_, media)| media).collect();
            return Err(JoinError::NoUsableAudio { offered: offered(&sections) });
        };
        let video_pts = std::iter::once(video.format.pt).chain(video.rtx.iter().map(|rtx| rtx.pt));
        if video_pts.into_iter().any(|pt| pt == audio.format.pt) {
            return Err(first.line.error(&format!("audio and video both use payload type {}", audio.format.pt)));
        }
        if !self.share_transport(audio.index, video.index) {
            let problem = "audio and video must share one transport: name both in a=group:BUNDLE";
            return Err(self.description.media[audio.index].line.error(problem));
        }
        Ok(Some(audio))
    }

    /// The direction to answer to.
    fn audio_direction(&self, media: &Media<'_>) -> Direction {
        match self.description.direction(media) {
            Direction::SendRecv if self.terms.is_receive_only => Direction::RecvOnly,
            Direction::SendOnly if self.terms.is_receive_only => Direction::Inactive,
            direction => direction,
        }
    }

    /// RFC 7587, section 7: Opus is always `opus/48000/2`, and the answer says so. An offer that leaves out the number of
    /// channels can mean nothing else, for every decoder of Opus takes mono and stereo: GStreamer's `whepsrc` writes it so.
    fn choose_opus(&self, index: usize, media: &Media<'a>) -> Option<Choice<'a>> {
        let format = formats(media).into_iter().find(|format| format.is(OPUS) || format.is("opus/48000"))?;
        let format = Format { encoding: OPUS, ..format };
        let fmtp = format.fmtp.join(";");
        Some(Choice { index, direction: self.audio_direction(media), format, fmtp, rtx: None })
    }

    fn share_transport(&self, one: usize, other: usize) -> bool {
        let mid = |index: usize| self.description.media[index].mid();
        mid(one)
            .zip(mid(other))
            .is_some_and(|(one, other)| self.description.bundle_of(one).is_some_and(|group| group.contains(&other)))
    }

    /// The accepted sections' BUNDLE group, restricted to them.
    fn bundle(&self, accepted: &Accepted<'a>) -> Option<Vec<&'a str>> {
        let mids: Vec<&str> =
            accepted.in_order().iter().filter_map(|one| self.description.media[one.index].mid()).collect();
        let group = self.description.bundle_of(mids.first()?)?;
        Some(group.into_iter().filter(|mid| mids.contains(mid)).collect())
    }

    /// The section whose transport is used: the first accepted one of the group (RFC 9143, section 7.3.1).
    fn tagged(&self, accepted: &Accepted<'a>) -> usize {
        let tag = self.bundle(accepted).and_then(|group| group.first().copied());
        let is_tagged = |choice: &&Choice<'a>| tag.is_some() && self.description.media[choice.index].mid() == tag;
        accepted.in_order().into_iter().find(is_tagged).unwrap_or(&accepted.video).index
    }

    /// The identification that str0m uses for a section: the offer's, as packets carry it, unless str0m would change it.
    /// str0m 0.25 (`rtp/id.rs`) keeps 16 bytes and replaces all but ASCII letters and digits by `_`.
    fn mid(&self, index: usize) -> String {
        let is_kept = |mid: &&str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            (1..=LONGEST_MID).contains(&mid.len()) && mid.bytes().all(is_plain)
        };
        self.description.media[index].mid().filter(is_kept).map_or_else(|| format!("section{index}"), str::to_owned)
    }

    /// The accepted sections in the order of the offer, as str0m calls them.
    fn named<'c>(&self, accepted: &'c Accepted<'a>) -> Vec<(String, &'c Choice<'a>)> {
        accepted.in_order().into_iter().map(|choice| (self.mid(choice.index), choice)).collect()
    }

    fn layout(&self, accepted: &Accepted<'a>) -> AnswerLayout {
        let is_accepted = |index: usize| accepted.in_order().iter().any(|choice| choice.index == index);
        let section = |(index, media): (usize, &Media<'a>)| AnswerSection {
            kind: media.kind.to_owned(),
            proto: media.proto.to_owned(),
            formats: media.formats.join(" "),
            mid: media.mid().map(str::to_owned),
            str0m_mid: is_accepted(index).then(|| self.mid(index)),
        };
        let sections = self.description.media.iter().enumerate().map(section).collect();
        let bundle = self.bundle(accepted).map(|mids| mids.into_iter().map(str::to_owned).collect());
        AnswerLayout { sections, bundle }
    }
}

fn name(codec: VideoCodec) -> &'static str {
    match codec {
        VideoCodec::H264 => "H.264",
        #[cfg(feature = "vp8")]
        VideoCodec::Vp8 => "VP8",
    }
}
