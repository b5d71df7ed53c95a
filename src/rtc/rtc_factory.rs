//! How each peer's WebRTC machine is set up: codecs, header extensions, reports, addresses.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::bwe::Bitrate;
use str0m::change::SdpOffer;
use str0m::format::Codec;
use str0m::media::Mid;
use str0m::rtp::Extension;
use str0m::{Candidate, Rtc, RtcConfig};

use super::{JoinError, sdp};
use crate::codec::VideoCodec;
use crate::session::ViewerRole;

/// The H.264 profile that every browser plays: constrained baseline, level 3.1 (RFC 6184, section 8.1).
const CONSTRAINED_BASELINE: u32 = 0x42_e0_1f;
/// Payload types that we would offer; in an answer the peer's numbers stand.
const H264_TYPES: (u8, u8) = (108, 109);
const PLAYOUT_DELAY_ID: u8 = 6;
const FIRST_ESTIMATE_BPS: u64 = 1_200_000;
/// Sender reports: often enough that a browser puts voice and picture in step within a second or two.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Statistics tell the newest estimate, which the encoder follows down.
const STATISTICS_EVERY: Duration = Duration::from_millis(250);

/// Packets kept to be sent again, for how long, and the most that these may be of all that is sent. The library's own
/// bound of 0.15 gives up every resend as soon as a fifth of the packets is lost; half is what a show can live with.
const RTX_CACHE: (usize, Duration, f32) = (2_000, Duration::from_secs(3), 0.5);

/// When pictures leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pacing {
    /// As the estimate paces them.
    #[default]
    Paced,
    /// With the next word of the machine, as voice does.
    Unpaced,
}

/// A recipe for machines.
#[derive(Debug)]
pub struct RtcFactory {
    config: RtcConfig,
    candidates: Vec<Candidate>,
}

impl RtcFactory {
    /// RtcFactory that can be reached at `addresses`.
    #[must_use]
    pub fn new(addresses: &[SocketAddr]) -> Self {
        let candidates = addresses.iter().filter_map(|address| Candidate::host(*address, "udp").ok()).collect();
        Self { config: config(), candidates }
    }

    /// A machine that waits for an offer and knows one codec of pictures.
    #[must_use]
    pub fn build(&self, codec: VideoCodec, now: Instant) -> Rtc {
        let mut config = self.config.clone();
        let known = config.codec_config();
        match codec {
            VideoCodec::H264 => {
                let (media, resend) = H264_TYPES;
                known.add_h264(media.into(), Some(resend.into()), true, CONSTRAINED_BASELINE);
            }
            #[cfg(feature = "vp8")]
            VideoCodec::Vp8 => known.enable_vp8(true),
        }
        let mut rtc = config.build(now);
        for candidate in &self.candidates {
            rtc.add_local_candidate(candidate.clone());
        }
        rtc
    }

    /// Reads an offer to watch a session that is encoded with `codec`: the machine that has taken it, and the answer.
    ///
    /// # Errors
    /// If the offer cannot be answered, or lacks the codec.
    pub fn answer_viewer(
        &self,
        offer: &str,
        (codec, role): (VideoCodec, ViewerRole),
        now: Instant,
    ) -> Result<(Rtc, String), JoinError> {
        sdp::check_offer(offer)?;
        sdp::check_codec(offer, codec)?;
        let offer = if role.has_microphone() { offer.to_owned() } else { sdp::receive_only(offer) };
        self.accept(&offer, codec, now)
    }

    /// Reads an offer: the machine that has taken it, the codec of its pictures, and the answer for the browser.
    ///
    /// # Errors
    /// If the offer cannot be answered.
    pub fn answer(&self, offer: &str, now: Instant) -> Result<(Rtc, VideoCodec, String), JoinError> {
        let codec = sdp::check_offer(offer)?;
        let (rtc, answer) = self.accept(offer, codec, now)?;
        Ok((rtc, codec, answer))
    }

    fn accept(&self, offer: &str, codec: VideoCodec, now: Instant) -> Result<(Rtc, String), JoinError> {
        let bad = |error: &dyn std::error::Error| JoinError::BadOffer { found: error.to_string() };
        let offer = SdpOffer::from_sdp_string(&sdp::without_candidates(offer)).map_err(|error| bad(&error))?;
        let mut rtc = self.build(codec, now);
        let answer = rtc.sdp_api().accept_offer(offer).map_err(|error| bad(&error))?.to_sdp_string();
        sdp::check_answer(&answer)?;
        Ok((rtc, sdp::in_one_stream(&answer)))
    }
}

/// Lets lost packets of pictures be sent again even where a fifth of them is lost.
pub fn reset_rtx_cache(rtc: &mut Rtc, picture: Mid) {
    let (packets, kept, most_ratio) = RTX_CACHE;
    if let Some(stream) = rtc.direct_api().stream_tx_by_mid(picture, None) {
        stream.set_rtx_cache(packets, kept, Some(most_ratio));
    }
}

/// Lets pictures leave at once, or as the estimate paces them.
pub fn set_pacing(rtc: &mut Rtc, picture: Mid, pacing: Pacing) {
    if let Some(stream) = rtc.direct_api().stream_tx_by_mid(picture, None) {
        stream.set_unpaced(pacing == Pacing::Unpaced);
    }
}

/// How the machine calls a codec.
#[must_use]
pub fn str0m_codec(codec: VideoCodec) -> Codec {
    match codec {
        VideoCodec::H264 => Codec::H264,
        #[cfg(feature = "vp8")]
        VideoCodec::Vp8 => Codec::Vp8,
    }
}

fn config() -> RtcConfig {
    let config = Rtc::builder()
        .set_ice_lite(true)
        .clear_codecs()
        .enable_opus(true, false)
        .set_extension(PLAYOUT_DELAY_ID, Extension::PlayoutDelay)
        .set_rtcp_report_interval_audio(REPORT_EVERY)
        .set_rtcp_report_interval_video(REPORT_EVERY)
        .set_stats_interval(Some(STATISTICS_EVERY))
        // Voice is taken packet by packet as it comes: the frame queue drops what arrives out of order, but
        // order is the jitter buffer's business. The copy that this costs is some hundred short packets a second.
        .enable_raw_packets(true)
        .set_reordering_size_audio(0)
        .enable_bwe(Some(Bitrate::bps(FIRST_ESTIMATE_BPS)));
    // One certificate for the life of the process: making one for each session would only cost time.
    match str0m::crypto::from_feature_flags().dtls_provider.generate_certificate() {
        Some(certificate) => config.set_dtls_cert(certificate),
        None => config,
    }
}
