//! The lines of a call: which of those in the offer are spoken on, and with what.

use std::time::Instant;

use str0m::bwe::Bitrate;
use str0m::format::{Codec, PayloadParams};
use str0m::media::{MediaAdded, MediaKind, Mid, Pt};

use super::super::bitrate_allocator::BITRATE_BPS;
use super::super::rtc_factory;
use super::{BESIDE_PICTURES_BPS, Peer};
use crate::session::KeyframeReason;

impl Peer {
    pub(super) fn connect(&mut self, now: Instant) {
        self.life.connect();
        self.network.stats.is_connected = true;
        let most = Bitrate::bps(self.most_bps());
        self.rtc.bwe().set_bitrate(Bitrate::bps(0), most);
        self.choose_payloads();
        self.viewer.request_keyframe(KeyframeReason::Joined, now);
    }

    pub(super) fn add(&mut self, media: &MediaAdded) {
        self.mids.push((media.mid, media.kind));
        self.choose_payloads();
    }

    /// Of each kind the first line that we may send on. The machine knows one codec for each.
    fn choose_payloads(&mut self) {
        self.voice = self.way_out(MediaKind::Audio, Codec::Opus);
        self.picture = self.way_out(MediaKind::Video, rtc_factory::payload_of(self.viewer.session.codec));
        self.picture.iter().for_each(|(mid, _)| rtc_factory::allow_resends(&mut self.rtc, *mid));
        if self.network.stats.is_connected && self.picture.is_some() {
            self.viewer.begin_watching();
        }
    }

    fn way_out(&self, kind: MediaKind, codec: Codec) -> Option<(Mid, Pt)> {
        let sends = |mid: &Mid| self.rtc.media(*mid).is_some_and(|media| media.direction().is_sending());
        let mut mids = self.mids.iter().filter(|(_, its)| *its == kind).map(|(mid, _)| *mid);
        Some((mids.find(sends)?, self.type_of(codec)?))
    }

    pub(super) fn type_of(&self, codec: Codec) -> Option<Pt> {
        self.rtc.codec_config().find(|params| params.spec().codec == codec).map(PayloadParams::pt)
    }

    /// What is worth looking for on the way out: more than the session may have is not probed for.
    fn most_bps(&self) -> u64 {
        self.viewer.session.limits.bitrate_bps.map_or(*BITRATE_BPS.end(), |most| u64::from(most) + BESIDE_PICTURES_BPS)
    }
}
