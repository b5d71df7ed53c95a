//! One stream of pictures, whatever its codec.
//!
//! Decides when an encoder starts over (another size, a failure, a bitrate that it will not change to) and the bounds of
//! its bitrate. Knows no library.

use super::{BITRATES, CodecError, EncodedFrame, FrameKind, VideoEncoder};
use crate::media::{FrameSize, VideoFrame};
use crate::time::Rate;

/// What a stream is encoded for.
#[derive(Clone, Copy, Debug)]
pub struct Aim {
    pub size: FrameSize,
    pub fps: Rate,
    pub bits_per_second: u32,
}

/// An encoder as its library makes it: for one size, and of no more use once it has failed.
pub trait Library: Send + Sized {
    /// One whose first picture is a key picture.
    fn fresh(aim: &Aim) -> Result<Self, CodecError>;

    /// Encodes a picture of the size it was made for.
    fn encode(&mut self, picture: &VideoFrame, kind: FrameKind) -> Result<EncodedFrame, CodecError>;

    /// Goes over to another bitrate without a key picture.
    fn change_bitrate(&mut self, bits_per_second: u32) -> Result<(), CodecError>;
}

/// Pictures to access units of one codec.
pub struct VideoStream<L> {
    library: L,
    aim: Aim,
}

impl<L: Library> VideoStream<L> {
    /// A stream of pictures of `size` at `fps`, that aims at `bits_per_second`, held within 30 kbit/s to 10 Mbit/s.
    ///
    /// # Errors
    /// If the library cannot make an encoder.
    pub fn new(size: FrameSize, fps: Rate, bits_per_second: u32) -> Result<Self, CodecError> {
        let aim = Aim { size, fps, bits_per_second: bits_per_second.clamp(*BITRATES.start(), *BITRATES.end()) };
        Ok(Self { library: L::fresh(&aim)?, aim })
    }

    /// Starts over: the next picture is a key picture. If that fails, the old encoder stays.
    fn renew(&mut self) -> Result<(), CodecError> {
        self.library = L::fresh(&self.aim)?;
        Ok(())
    }
}

impl<L: Library> VideoEncoder for VideoStream<L> {
    fn encode(&mut self, picture: &VideoFrame, kind: FrameKind) -> Result<EncodedFrame, CodecError> {
        if picture.size() != self.aim.size {
            self.aim.size = picture.size();
            self.renew()?;
        }
        let encoded = self.library.encode(picture, kind);
        if encoded.is_err() {
            self.renew()?;
        }
        encoded
    }

    fn set_bitrate(&mut self, bits_per_second: u32) {
        let bits_per_second = bits_per_second.clamp(*BITRATES.start(), *BITRATES.end());
        if bits_per_second == self.aim.bits_per_second {
            return;
        }
        self.aim.bits_per_second = bits_per_second;
        if self.library.change_bitrate(bits_per_second).is_err() {
            // Costs a key picture, but the aim is kept. A fresh encoder failed to be made: the old one goes on.
            drop(self.renew());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{fps, size};
    use super::*;

    /// Refuses pictures with an odd first pixel, and bitrates of an odd number of kilobits.
    struct Moody {
        bits_per_second: u32,
        pictures: u32,
    }

    fn refused() -> CodecError {
        CodecError { codec: "moody", what: "please", found: "a mood".to_owned() }
    }

    impl Library for Moody {
        fn fresh(aim: &Aim) -> Result<Self, CodecError> {
            Ok(Self { bits_per_second: aim.bits_per_second, pictures: 0 })
        }

        fn encode(&mut self, picture: &VideoFrame, _: FrameKind) -> Result<EncodedFrame, CodecError> {
            if picture.planes().0[0] % 2 == 1 {
                return Err(refused());
            }
            self.pictures += 1;
            let bytes = self.bits_per_second.to_be_bytes().to_vec();
            Ok(EncodedFrame { bytes: bytes.into(), is_key: self.pictures == 1 })
        }

        fn change_bitrate(&mut self, bits_per_second: u32) -> Result<(), CodecError> {
            if bits_per_second / 1000 % 2 == 1 {
                return Err(refused());
            }
            self.bits_per_second = bits_per_second;
            Ok(())
        }
    }

    /// Whether a picture whose first pixel is `luma` comes as a key picture, and at which bitrate.
    fn encoded(stream: &mut VideoStream<Moody>, luma: u8) -> Option<(bool, u32)> {
        let mut picture = VideoFrame::black(size());
        picture.planes_mut().0[0] = luma;
        let unit = stream.encode(&picture, FrameKind::Any).ok()?;
        Some((unit.is_key, u32::from_be_bytes(unit.bytes[..].try_into().expect("four bytes"))))
    }

    #[test]
    fn after_a_picture_that_failed_comes_a_key_picture() {
        let mut stream = VideoStream::new(size(), fps(), 100_000).expect("a stream");
        let seen = [16, 16, 17, 16, 16].map(|luma| encoded(&mut stream, luma).map(|(is_key, _)| is_key));
        assert_eq!(seen, [Some(true), Some(false), None, Some(true), Some(false)]);
    }

    #[test]
    fn a_bitrate_that_is_refused_costs_a_key_picture_and_is_kept_within_bounds() {
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
