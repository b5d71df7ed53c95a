//! One video stream, for any codec.
//!
//! Decides when an encoder is reopened (another size, a failure, a bitrate that the library does not change to) and the bounds of
//! its bitrate. Knows no library.

use super::{BITRATES, CodecError, EncodedFrame, FrameKind, VideoEncoder};
use crate::media::{FrameSize, VideoFrame};
use crate::time::Rate;

/// Settings of a stream.
#[derive(Clone, Copy, Debug)]
pub struct EncoderSettings {
    pub size: FrameSize,
    pub fps: Rate,
    pub bits_per_second: u32,
}

/// A library's encoder: for one frame size, and unusable after a failure.
pub trait Library: Send + Sized {
    /// An encoder whose first frame is a keyframe.
    fn open(settings: &EncoderSettings) -> Result<Self, CodecError>;

    /// Encodes a frame of the size that it was opened for.
    fn encode(&mut self, frame: &VideoFrame, kind: FrameKind) -> Result<EncodedFrame, CodecError>;

    /// Changes the bitrate without a keyframe.
    fn change_bitrate(&mut self, bits_per_second: u32) -> Result<(), CodecError>;
}

/// Video frames to access units of one codec.
pub struct VideoStream<L> {
    library: L,
    settings: EncoderSettings,
}

impl<L: Library> VideoStream<L> {
    /// A stream of frames of `size` at `fps` with this target bitrate, clamped to 30 kbit/s to 10 Mbit/s.
    ///
    /// # Errors
    /// If the library cannot open an encoder.
    pub fn new(size: FrameSize, fps: Rate, bits_per_second: u32) -> Result<Self, CodecError> {
        let settings =
            EncoderSettings { size, fps, bits_per_second: bits_per_second.clamp(*BITRATES.start(), *BITRATES.end()) };
        Ok(Self { library: L::open(&settings)?, settings })
    }

    /// Opens another encoder: the next frame is a keyframe. If that fails, the old encoder stays.
    fn reopen(&mut self) -> Result<(), CodecError> {
        self.library = L::open(&self.settings)?;
        Ok(())
    }
}

impl<L: Library> VideoEncoder for VideoStream<L> {
    fn encode(&mut self, frame: &VideoFrame, kind: FrameKind) -> Result<EncodedFrame, CodecError> {
        if frame.size() != self.settings.size {
            self.settings.size = frame.size();
            self.reopen()?;
        }
        let encoded = self.library.encode(frame, kind);
        if encoded.is_err() {
            self.reopen()?;
        }
        encoded
    }

    fn set_bitrate(&mut self, bits_per_second: u32) {
        let bits_per_second = bits_per_second.clamp(*BITRATES.start(), *BITRATES.end());
        if bits_per_second == self.settings.bits_per_second {
            return;
        }
        self.settings.bits_per_second = bits_per_second;
        if self.library.change_bitrate(bits_per_second).is_err() {
            // Costs a keyframe, but the bitrate is reached. If no encoder can be opened, the old one continues.
            drop(self.reopen());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{fps, size};
    use super::*;

    /// Refuses frames with an odd first pixel, and bitrates with an odd number of kilobits.
    struct FailingLibrary {
        bits_per_second: u32,
        frames: u32,
    }

    fn refused() -> CodecError {
        CodecError { codec: "failing", what: "encode", found: "an odd value".to_owned() }
    }

    impl Library for FailingLibrary {
        fn open(settings: &EncoderSettings) -> Result<Self, CodecError> {
            Ok(Self { bits_per_second: settings.bits_per_second, frames: 0 })
        }

        fn encode(&mut self, frame: &VideoFrame, _: FrameKind) -> Result<EncodedFrame, CodecError> {
            if frame.planes().0[0] % 2 == 1 {
                return Err(refused());
            }
            self.frames += 1;
            let bytes = self.bits_per_second.to_be_bytes().to_vec();
            Ok(EncodedFrame { bytes: bytes.into(), is_key: self.frames == 1 })
        }

        fn change_bitrate(&mut self, bits_per_second: u32) -> Result<(), CodecError> {
            if bits_per_second / 1000 % 2 == 1 {
                return Err(refused());
            }
            self.bits_per_second = bits_per_second;
            Ok(())
        }
    }

    /// Whether a frame with this first pixel becomes a keyframe, and its bitrate.
    fn encoded(stream: &mut VideoStream<FailingLibrary>, luma: u8) -> Option<(bool, u32)> {
        let mut frame = VideoFrame::black(size());
        frame.planes_mut().0[0] = luma;
        let unit = stream.encode(&frame, FrameKind::Any).ok()?;
        Some((unit.is_key, u32::from_be_bytes(unit.bytes[..].try_into().expect("four bytes"))))
    }

    #[test]
    fn a_failed_frame_is_followed_by_a_keyframe() {
        let mut stream = VideoStream::new(size(), fps(), 100_000).expect("a stream");
        let seen = [16, 16, 17, 16, 16].map(|luma| encoded(&mut stream, luma).map(|(is_key, _)| is_key));
        assert_eq!(seen, [Some(true), Some(false), None, Some(true), Some(false)]);
    }

    #[test]
    fn a_refused_bitrate_costs_a_keyframe_and_bounds_are_kept() {
        let mut stream = VideoStream::new(size(), fps(), 100_000).expect("a stream");
        encoded(&mut stream, 16);
        let mut aimed = |bits: u32| {
            stream.set_bitrate(bits);
            encoded(&mut stream, 16)
        };
        assert_eq!(aimed(200_000), Some((false, 200_000)));
        assert_eq!(aimed(201_000), Some((true, 201_000)));
        assert_eq!(aimed(201_000), Some((false, 201_000)));
        assert_eq!((aimed(1), aimed(u32::MAX)), (Some((false, 30_000)), Some((false, 10_000_000))));
    }
}
