//! The m-lines of a call: on which of them audio and video are sent, and with which payload type.

use str0m::Rtc;
use str0m::format::{Codec, PayloadParams};
use str0m::media::{MediaAdded, MediaKind, Mid, Pt};

use super::super::rtc_factory;
use crate::codec::VideoCodec;

/// Where one kind of media is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendLine {
    /// The m-line.
    pub mid: Mid,
    /// The payload type.
    pub pt: Pt,
}

/// The m-lines of a call, in the order of the offer.
#[derive(Debug)]
pub struct MediaLines {
    codec: VideoCodec,
    lines: Vec<(Mid, MediaKind)>,
    audio: Option<SendLine>,
    video: Option<SendLine>,
}

impl MediaLines {
    /// No lines yet; video is sent with `codec`.
    #[must_use]
    pub fn new(codec: VideoCodec) -> Self {
        Self { codec, lines: Vec::new(), audio: None, video: None }
    }

    /// Adds a negotiated line and chooses the lines to send on.
    pub fn add(&mut self, rtc: &mut Rtc, media: &MediaAdded) {
        self.lines.push((media.mid, media.kind));
        self.choose(rtc);
    }

    /// Chooses, of each kind, the first line with a direction that allows sending. `rtc` knows one codec of each kind.
    pub fn choose(&mut self, rtc: &mut Rtc) {
        self.audio = self.send_line(rtc, MediaKind::Audio, Codec::Opus);
        self.video = self.send_line(rtc, MediaKind::Video, rtc_factory::str0m_codec(self.codec));
        if let Some(video) = self.video {
            rtc_factory::reset_rtx_cache(rtc, video.mid);
        }
    }

    fn send_line(&self, rtc: &Rtc, kind: MediaKind, codec: Codec) -> Option<SendLine> {
        let can_send = |mid: &Mid| rtc.media(*mid).is_some_and(|media| media.direction().is_sending());
        let mut mids = self.lines.iter().filter(|(_, of)| *of == kind).map(|(mid, _)| *mid);
        Some(SendLine { mid: mids.find(can_send)?, pt: payload_type(rtc, codec)? })
    }

    /// Where audio is sent, if the peer receives it.
    #[must_use]
    pub fn audio(&self) -> Option<SendLine> {
        self.audio
    }

    /// Where video is sent.
    #[must_use]
    pub fn video(&self) -> Option<SendLine> {
        self.video
    }
}

/// The negotiated payload type of a codec.
#[must_use]
pub fn payload_type(rtc: &Rtc, codec: Codec) -> Option<Pt> {
    rtc.codec_config().find(|params| params.spec().codec == codec).map(PayloadParams::pt)
}
