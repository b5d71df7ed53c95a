//! Configuration of str0m for each peer: codecs, header extensions, reports, candidates.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::bwe::Bitrate;
use str0m::change::SdpOffer;
use str0m::format::Codec;
use str0m::media::Mid;
use str0m::rtp::Extension;
use str0m::{Candidate, Rtc, RtcConfig};

use super::JoinError;
use super::sdp::{Offer, OfferTerms, VideoFormat};
use crate::codec::VideoCodec;
use crate::session::ViewerRole;

/// Payload types of H.264 and of its retransmissions before negotiation; an answer uses the offer's.
const H264_PAYLOAD_TYPES: (u8, u8) = (108, 109);
/// Number of the playout-delay extension before negotiation.
const PLAYOUT_DELAY_ID: u8 = 6;
/// Initial bandwidth estimate.
const FIRST_ESTIMATE_BPS: u64 = 1_200_000;
/// Interval of sender reports: browsers synchronise audio and video within two seconds.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Interval of statistics, which carry the instant estimate that the encoder follows down.
const STATS_INTERVAL: Duration = Duration::from_millis(250);
/// The retransmission cache of video: packets, their age, and the share of all sent bytes that retransmissions may take.
/// str0m 0.25 allows 0.15 (`streams/send.rs`), and then drops every retransmission as soon as a fifth of the packets is
/// lost. Measured by `with_30_percent_of_the_video_lost_90_percent_of_it_is_retransmitted` in tests/loopback.
const RTX_CACHE: (usize, Duration, f32) = (2_000, Duration::from_secs(3), 0.5);

/// When video packets leave str0m.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pacing {
    /// At the rate that the bandwidth estimate allows.
    #[default]
    Paced,
    /// With the next poll, as audio does.
    Unpaced,
}

/// Makes a configured str0m instance for each peer.
#[derive(Debug)]
pub struct RtcFactory {
    config: RtcConfig,
    candidates: Vec<Candidate>,
}

impl RtcFactory {
    /// A factory for peers that reach this machine at `addresses`.
    #[must_use]
    pub fn new(addresses: &[SocketAddr]) -> Self {
        let candidates = addresses.iter().filter_map(|address| Candidate::host(*address, "udp").ok()).collect();
        Self { config: config(), candidates }
    }

    fn build(&self, video: VideoFormat, now: Instant) -> Rtc {
        let mut config = self.config.clone();
        let codecs = config.codec_config();
        match video {
            VideoFormat::H264 { profile_level_id } => {
                let (pt, rtx) = H264_PAYLOAD_TYPES;
                codecs.add_h264(pt.into(), Some(rtx.into()), true, profile_level_id);
            }
            #[cfg(feature = "vp8")]
            VideoFormat::Vp8 => codecs.enable_vp8(true),
        }
        let mut rtc = config.build(now);
        for candidate in &self.candidates {
            rtc.add_local_candidate(candidate.clone());
        }
        rtc
    }

    /// Answers an offer to watch a session that is encoded with `codec`: the str0m instance that accepted it, and the answer.
    ///
    /// # Errors
    /// If the offer cannot be answered, or lacks the codec.
    pub fn answer_viewer(
        &self,
        offer: &str,
        (codec, role): (VideoCodec, ViewerRole),
        now: Instant,
    ) -> Result<(Rtc, String), JoinError> {
        let terms = OfferTerms { codec: Some(codec), is_receive_only: !role.has_microphone() };
        self.answer_on(offer, terms, now).map(|(rtc, _, answer)| (rtc, answer))
    }

    /// Answers an offer: the str0m instance that accepted it, the video codec, and the answer for the peer.
    ///
    /// # Errors
    /// If the offer is malformed or has nothing in common with the server.
    pub fn answer(&self, offer: &str, now: Instant) -> Result<(Rtc, VideoCodec, String), JoinError> {
        self.answer_on(offer, OfferTerms::default(), now)
    }

    /// As [`RtcFactory::answer`], under conditions.
    ///
    /// # Errors
    /// As [`RtcFactory::answer`], or if the offer does not meet the conditions.
    fn answer_on(&self, offer: &str, terms: OfferTerms, now: Instant) -> Result<(Rtc, VideoCodec, String), JoinError> {
        let offer = Offer::read(offer, terms).inspect_err(|error| tracing::debug!(%error, "offer refused"))?;
        tracing::debug!(video = ?offer.video, normalized = offer.normalized, "offer accepted");
        let parsed = SdpOffer::from_sdp_string(&offer.normalized).map_err(|error| refused(&error))?;
        let mut rtc = self.build(offer.video, now);
        let answer = rtc.sdp_api().accept_offer(parsed).map_err(|error| refused(&error))?.to_sdp_string();
        let answer = offer.layout.apply(&answer)?;
        tracing::debug!(answer, "answer");
        Ok((rtc, offer.video.codec(), answer))
    }
}

/// str0m refused the normalized offer. Its text goes to the log only: it may contain memory addresses.
fn refused(error: &dyn std::error::Error) -> JoinError {
    tracing::warn!(%error, "str0m refuses a normalized offer");
    JoinError::BadOffer { found: "one that the WebRTC library refuses; the server's log has the reason".to_owned() }
}

/// Empties the retransmission cache of video and sets its limits.
pub fn reset_rtx_cache(rtc: &mut Rtc, video: Mid) {
    let (packets, max_age, max_ratio) = RTX_CACHE;
    if let Some(stream) = rtc.direct_api().stream_tx_by_mid(video, None) {
        stream.set_rtx_cache(packets, max_age, Some(max_ratio));
    }
}

/// Sets when video packets leave.
pub fn set_pacing(rtc: &mut Rtc, video: Mid, pacing: Pacing) {
    if let Some(stream) = rtc.direct_api().stream_tx_by_mid(video, None) {
        stream.set_unpaced(pacing == Pacing::Unpaced);
    }
}

/// str0m's name of a codec.
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
        .set_rtcp_report_interval_audio(REPORT_INTERVAL)
        .set_rtcp_report_interval_video(REPORT_INTERVAL)
        .set_stats_interval(Some(STATS_INTERVAL))
        // Audio is taken packet by packet as it arrives: str0m's frame queue drops reordered packets, but ordering them is
        // the jitter buffer's task. This copies about a hundred short packets per second.
        .enable_raw_packets(true)
        .set_reordering_size_audio(0)
        .enable_bwe(Some(Bitrate::bps(FIRST_ESTIMATE_BPS)));
    // One certificate for the life of the process: one per session would only cost time.
    match str0m::crypto::from_feature_flags().dtls_provider.generate_certificate() {
        Some(certificate) => config.set_dtls_cert(certificate),
        None => config,
    }
}
