//! MP4.
use std::io::{Seek, Write};

use crate::codec::EncodedPicture;
use crate::media::PictureSize;

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum Mp4Error {
    /// Write.
    #[error("{0}")]
    Write(std::io::Error),
}
/// Writer.
pub struct Mp4Writer<W>(W);
impl<W: Write + Seek> Mp4Writer<W> {
    /// New.
    ///
    /// # Errors
    /// x
    pub fn new(to: W, _size: PictureSize) -> Result<Self, Mp4Error> {
        Ok(Self(to))
    }
    /// Voice.
    ///
    /// # Errors
    /// x
    pub fn voice(&mut self, _packet: &[u8]) -> Result<(), Mp4Error> {
        Ok(())
    }
    /// Picture.
    ///
    /// # Errors
    /// x
    pub fn picture(&mut self, _picture: &EncodedPicture) -> Result<(), Mp4Error> {
        Ok(())
    }
    /// Finish.
    ///
    /// # Errors
    /// x
    pub fn finish(self) -> Result<(), Mp4Error> {
        Ok(())
    }
}
