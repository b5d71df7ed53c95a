//! VP8 by the system's libvpx, for peers without H.264.
//!
//! Decides the encoder's speed. Does not decide bitrate or size, nor when an encoder is reopened.

use bytes::Bytes;
use visage_kernels::vp8::{Encoded, Encoder, Refusal, Settings, Start};

use super::video_encoder::{EncoderSettings, Library, VideoStream};
use super::{CodecError, EncodedFrame, FrameKind};
use crate::media::VideoFrame;
use crate::time::Rate;

/// `cpu-used` of libvpx. Of the values tried, -8 costs a fifth more time and gains 0.7 to 1.5 dB; -16 saves up to a fifth and
/// loses 0.9 to 3.5.
const SPEED: i32 = -12;

/// Video frames to VP8 frames (RFC 6386).
pub type Vp8Encoder = VideoStream<Libvpx>;

/// The library's encoder.
pub struct Libvpx {
    encoder: Encoder,
    fps: Rate,
    /// Frames so far.
    frames: u64,
}

impl Library for Libvpx {
    fn open(settings: &EncoderSettings) -> Result<Self, CodecError> {
        let (width, height) = (settings.size.width(), settings.size.height());
        let library = Settings { width, height, bits_per_second: settings.bits_per_second, speed: SPEED };
        let encoder = Encoder::new(&library).map_err(refused("open an encoder"))?;
        Ok(Self { encoder, fps: settings.fps, frames: 0 })
    }

    fn encode(&mut self, frame: &VideoFrame, kind: FrameKind) -> Result<EncodedFrame, CodecError> {
        let start = if kind == FrameKind::Key { Start::Forced } else { Start::Open };
        let (luma, blue, red) = frame.planes();
        let at = |frames: u64| (frames as f64 * 1e6 / self.fps.per_second()) as i64;
        let (now, next) = (at(self.frames), at(self.frames + 1));
        let encoded = self.encoder.encode([luma, blue, red], now, (next - now) as u32, start);
        let Encoded { bytes, is_key } = encoded.map_err(refused("encode a frame"))?;
        self.frames += 1;
        Ok(EncodedFrame { bytes: Bytes::from(bytes), is_key })
    }

    fn change_bitrate(&mut self, bits_per_second: u32) -> Result<(), CodecError> {
        self.encoder.set_bitrate(bits_per_second).map_err(refused("change its bitrate"))
    }
}

fn refused(what: &'static str) -> impl Fn(Refusal) -> CodecError {
    move |refusal| CodecError { codec: "vp8", what, found: refusal.to_string() }
}

#[cfg(test)]
mod tests {
    use super::super::tests as any;
    use super::*;
    use visage_kernels::vp8::Decoder;

    fn encoder(bits: u32) -> Vp8Encoder {
        Vp8Encoder::new(any::size(), any::fps(), bits).expect("encoder")
    }

    /// The mean difference in luma between the source and the decoded frame.
    fn error_of(drawn: &VideoFrame, seen: &[u8]) -> f64 {
        let luma = drawn.planes().0;
        assert_eq!(luma.len(), seen.len());
        luma.iter().zip(seen).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / luma.len() as f64
    }

    #[test]
    fn a_stream_starts_with_a_keyframe_and_decodes_to_its_source() {
        let mut encoder = encoder(600_000);
        let mut decoder = Decoder::new().expect("decoder");
        for n in 0..50 {
            let frame = any::encode(&mut encoder, any::SIDE, n, FrameKind::Any);
            assert_eq!(frame.is_key, n == 0);
            assert_eq!(frame.bytes[0] & 1 == 0, frame.is_key, "RFC 6386, section 9.1");
            let (width, height, seen) = decoder.decode(&frame.bytes).expect("frame");
            assert_eq!((width, height), (256, 256));
            let error = error_of(&any::frame(any::SIDE, n), &seen);
            assert!(error < 4.0, "frame {n} is off by {error}");
        }
    }

    #[test]
    fn a_decoder_can_start_at_a_requested_keyframe() {
        let mut encoder = encoder(600_000);
        any::bytes_of(&mut encoder, 0..20);
        let key = any::encode(&mut encoder, any::SIDE, 20, FrameKind::Key);
        let (_, _, seen) = Decoder::new().expect("decoder").decode(&key.bytes).expect("frame");
        assert!(error_of(&any::frame(any::SIDE, 20), &seen) < 4.0);
        let next = any::encode(&mut encoder, any::SIDE, 21, FrameKind::Any);
        assert!(Decoder::new().expect("decoder").decode(&next.bytes).is_err(), "only a keyframe starts a stream");
    }

    #[test]
    fn it_meets_the_requirements_of_every_encoder() {
        any::a_keyframe_comes_on_request_only(&mut encoder(600_000));
        any::the_bitrate_changes_without_a_keyframe(&mut encoder(800_000));
        let mut decoder = Decoder::new().expect("decoder");
        any::another_size_starts_with_a_keyframe(&mut encoder(600_000), |side, first| {
            let (width, height, _) = decoder.decode(&first.bytes).expect("frame");
            assert_eq!((width, height), (side as usize, side as usize));
        });
    }
}
