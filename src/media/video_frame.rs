//! Video frames in I420: a plane of luma and two of chroma at half the size.

use thiserror::Error;

/// Width and height in pixels; both even, 16 to 4096.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameSize {
    width: u32,
    height: u32,
}

/// A size that I420 frames cannot have.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("wanted an even width and height from 16 to 4096 pixels, found {width}x{height}")]
pub struct SizeError {
    /// The width that was requested.
    pub width: u32,
    /// The height that was requested.
    pub height: u32,
}

impl FrameSize {
    /// Checks a size.
    ///
    /// # Errors
    /// If a side is odd, below 16 or above 4096.
    pub fn new(width: u32, height: u32) -> Result<Self, SizeError> {
        let fits = |side: u32| (16..=4096).contains(&side) && side.is_multiple_of(2);
        if fits(width) && fits(height) { Ok(Self { width, height }) } else { Err(SizeError { width, height }) }
    }

    /// A square of `side` pixels, rounded down to even and into the allowed range.
    #[must_use]
    pub fn square(side: u32) -> Self {
        let side = side.clamp(16, 4096) & !1;
        Self { width: side, height: side }
    }

    /// Width in pixels.
    #[must_use]
    pub fn width(self) -> usize {
        self.width as usize
    }

    /// Height in pixels.
    #[must_use]
    pub fn height(self) -> usize {
        self.height as usize
    }

    /// Number of pixels.
    #[must_use]
    pub fn pixels(self) -> usize {
        self.width() * self.height()
    }
}

/// An I420 frame, BT.601 limited range (what H.264 decoders assume when a stream signals nothing).
/// Planes are tight: the stride is the width (luma) or half of it (chroma).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoFrame {
    size: FrameSize,
    bytes: Vec<u8>,
}

impl VideoFrame {
    /// A black frame.
    #[must_use]
    pub fn black(size: FrameSize) -> Self {
        let mut bytes = vec![128; size.pixels() * 3 / 2];
        bytes[..size.pixels()].fill(16);
        Self { size, bytes }
    }

    /// Its size.
    #[must_use]
    pub fn size(&self) -> FrameSize {
        self.size
    }

    /// The three planes: luma `w*h`, then two of `w/2*h/2` bytes.
    #[must_use]
    pub fn planes(&self) -> (&[u8], &[u8], &[u8]) {
        let (luma, chroma) = self.bytes.split_at(self.size.pixels());
        let (blue, red) = chroma.split_at(self.size.pixels() / 4);
        (luma, blue, red)
    }

    /// The three planes, writable.
    #[must_use]
    pub fn planes_mut(&mut self) -> (&mut [u8], &mut [u8], &mut [u8]) {
        let (luma, chroma) = self.bytes.split_at_mut(self.size.pixels());
        let (blue, red) = chroma.split_at_mut(self.size.pixels() / 4);
        (luma, blue, red)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_and_tiny_sizes_are_refused() {
        assert!(FrameSize::new(511, 512).is_err());
        assert!(FrameSize::new(512, 8).is_err());
        assert_eq!(VideoFrame::black(FrameSize::square(512)).planes().1.len(), 65_536);
    }
}
