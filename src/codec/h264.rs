//! H.264 by openh264: constrained baseline, which every browser decodes.
//!
//! Decides the encoder's settings: real time, one thread, no skipped pictures, key pictures only on demand. Does not
//! decide bitrate or size, nor when a stream starts over.

use bytes::Bytes;
use openh264::encoder::{
    BitRate, ColorPrimaries, Complexity, Encoder, EncoderConfig, FrameRate, FrameType, Profile, RateControlMode,
    TransferCharacteristics, UsageType, VuiConfig,
};
use openh264::formats::YUVSlices;
use openh264::{OpenH264API, Timestamp};
use visage_kernels::h264;

use super::video_encoder::{Aim, Library, VideoStream};
use super::{CodecError, EncodedFrame, FrameKind};
use crate::media::VideoFrame;
use crate::time::Rate;

/// Pictures to Annex B access units; SPS and PPS come with every key picture.
pub type H264Encoder = VideoStream<OpenH264>;

/// The library's encoder.
pub struct OpenH264 {
    encoder: Encoder,
    fps: Rate,
    /// Pictures so far: the library opens its stream with the first.
    pictures: u64,
}

impl Library for OpenH264 {
    fn fresh(aim: &Aim) -> Result<Self, CodecError> {
        Ok(Self { encoder: encoder(aim)?, fps: aim.fps, pictures: 0 })
    }

    fn encode(&mut self, picture: &VideoFrame, kind: FrameKind) -> Result<EncodedFrame, CodecError> {
        if kind == FrameKind::Key && self.pictures > 0 {
            self.encoder.force_intra_frame();
        }
        let (width, height) = (picture.size().width(), picture.size().height());
        let source = YUVSlices::new(picture.planes(), (width, height), (width, width / 2, width / 2));
        let at = Timestamp::from_millis((self.pictures as f64 * 1000.0 / self.fps.per_second()) as u64);
        let unit = self.encoder.encode_at(&source, at).map_err(|error| refused("encode a picture", &error))?;
        let is_key = matches!(unit.frame_type(), FrameType::IDR);
        let bytes = Bytes::from(unit.to_vec());
        if bytes.is_empty() {
            return Err(refused("encode a picture", &"no bytes"));
        }
        self.pictures += 1;
        Ok(EncodedFrame { bytes, is_key })
    }

    fn change_bitrate(&mut self, bits_per_second: u32) -> Result<(), CodecError> {
        h264::set_bitrate(&mut self.encoder, bits_per_second).map_err(|error| refused("change its bitrate", &error))
    }
}

/// The renderer draws in sRGB and converts by BT.601: say so, instead of leaving it to each decoder's guess.
fn colours() -> VuiConfig {
    VuiConfig::bt601().color_primaries(ColorPrimaries::Bt709).transfer_characteristics(TransferCharacteristics::Srgb)
}

fn encoder(aim: &Aim) -> Result<Encoder, CodecError> {
    let config = EncoderConfig::new()
        .bitrate(BitRate::from_bps(aim.bits_per_second))
        .max_frame_rate(FrameRate::from_hz(aim.fps.per_second() as f32))
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
        .map_err(|error| refused("make an encoder", &error))?;
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
    fn a_stream_starts_with_a_key_picture_of_constrained_baseline() {
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
    fn it_does_what_every_encoder_must() {
        any::a_key_picture_comes_when_asked_and_never_else(&mut encoder(600_000));
        any::the_bitrate_follows_without_a_key_picture(&mut encoder(800_000));
        any::a_picture_of_another_size_starts_over(&mut encoder(600_000), |_, _| {});
    }
}
