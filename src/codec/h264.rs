//! H.264 by openh264: constrained baseline, which every browser decodes.
//!
//! Decides the encoder's settings: real time, one thread, no skipped frames, keyframes only on request. Does not
//! decide bitrate or size, nor when an encoder is reopened.

use bytes::Bytes;
use openh264::encoder::{
    BitRate, ColorPrimaries, Complexity, Encoder, EncoderConfig, FrameRate, FrameType, Profile, RateControlMode,
    TransferCharacteristics, UsageType, VuiConfig,
};
use openh264::formats::YUVSlices;
use openh264::{OpenH264API, Timestamp};
use visage_kernels::h264;

use super::video_encoder::{EncoderSettings, Library, VideoStream};
use super::{CodecError, EncodedFrame, FrameKind};
use crate::media::VideoFrame;
use crate::time::Rate;

/// Video frames to Annex B access units; SPS and PPS precede every keyframe.
pub type H264Encoder = VideoStream<OpenH264>;

/// The library's encoder.
pub struct OpenH264 {
    encoder: Encoder,
    fps: Rate,
    /// Frames so far; the library's first frame has time 0.
    frames: u64,
}

impl Library for OpenH264 {
    fn open(settings: &EncoderSettings) -> Result<Self, CodecError> {
        Ok(Self { encoder: encoder(settings)?, fps: settings.fps, frames: 0 })
    }

    fn encode(&mut self, frame: &VideoFrame, kind: FrameKind) -> Result<EncodedFrame, CodecError> {
        if kind == FrameKind::Key && self.frames > 0 {
            self.encoder.force_intra_frame();
        }
        let (width, height) = (frame.size().width(), frame.size().height());
        let source = YUVSlices::new(frame.planes(), (width, height), (width, width / 2, width / 2));
        let at = Timestamp::from_millis((self.frames as f64 * 1000.0 / self.fps.per_second()) as u64);
        let unit = self.encoder.encode_at(&source, at).map_err(|error| refused("encode a frame", &error))?;
        let is_key = matches!(unit.frame_type(), FrameType::IDR);
        let bytes = Bytes::from(unit.to_vec());
        if bytes.is_empty() {
            return Err(refused("encode a frame", &"no bytes"));
        }
        self.frames += 1;
        Ok(EncodedFrame { bytes, is_key })
    }

    fn change_bitrate(&mut self, bits_per_second: u32) -> Result<(), CodecError> {
        h264::set_bitrate(&mut self.encoder, bits_per_second).map_err(|error| refused("change its bitrate", &error))
    }
}

/// The renderer outputs sRGB converted by BT.601; the stream declares it, so that decoders need not guess.
fn colours() -> VuiConfig {
    VuiConfig::bt601().color_primaries(ColorPrimaries::Bt709).transfer_characteristics(TransferCharacteristics::Srgb)
}

fn encoder(settings: &EncoderSettings) -> Result<Encoder, CodecError> {
    let config = EncoderConfig::new()
        .bitrate(BitRate::from_bps(settings.bits_per_second))
        .max_frame_rate(FrameRate::from_hz(settings.fps.per_second() as f32))
        .rate_control_mode(RateControlMode::Bitrate)
        .usage_type(UsageType::CameraVideoRealTime)
        .complexity(Complexity::Low)
        .profile(Profile::Baseline)
        .num_threads(1)
        .skip_frames(false)
        .scene_change_detect(false)
        .adaptive_quantization(false)
        .background_detection(false)
        .vui(colours());
    let mut encoder = Encoder::with_api_config(OpenH264API::from_source(), config)
        .map_err(|error| refused("open an encoder", &error))?;
    h264::silence(&mut encoder);
    Ok(encoder)
}

fn refused(what: &'static str, found: &dyn std::fmt::Display) -> CodecError {
    CodecError { codec: "h264", what, found: found.to_string() }
}

#[cfg(test)]
mod tests {
    use super::super::tests as any;
    use super::*;

    fn encoder(bits: u32) -> H264Encoder {
        H264Encoder::new(any::size(), any::fps(), bits).expect("encoder")
    }

    fn kinds_of_units(bytes: &[u8]) -> Vec<u8> {
        openh264::nal_units(bytes).map(|unit| unit.iter().find(|b| **b > 1).copied().unwrap_or(0) & 31).collect()
    }

    #[test]
    fn a_stream_starts_with_a_keyframe_of_constrained_baseline() {
        let mut encoder = encoder(600_000);
        let first = any::encode(&mut encoder, any::SIDE, 0, FrameKind::Any);
        assert!(first.is_key);
        assert_eq!(kinds_of_units(&first.bytes), [7, 8, 5]);
        let sps = openh264::nal_units(&first.bytes).next().expect("sps");
        assert_eq!(sps[4..6], [66, 0xc0], "baseline, constrained");
        let second = any::encode(&mut encoder, any::SIDE, 1, FrameKind::Any);
        assert!(!second.is_key && kinds_of_units(&second.bytes) == [1]);
    }

    #[test]
    fn it_meets_the_requirements_of_every_encoder() {
        any::a_keyframe_comes_on_request_only(&mut encoder(600_000));
        any::the_bitrate_changes_without_a_keyframe(&mut encoder(800_000));
        any::another_size_starts_with_a_keyframe(&mut encoder(600_000), |_, _| {});
    }
}
