//! The bytes of a file or a stream, with look-ahead.
//!
//! Decides how much is buffered: what a reader peeks at, and one block of the underlying reader. Knows no format.

use std::io::{self, Read, Seek, SeekFrom};

use super::AudioFileError;

/// Seekable bytes.
pub trait ReadSeek: Read + Seek + Send + Sync {}
impl<T: Read + Seek + Send + Sync> ReadSeek for T {}

/// The source of the audio.
pub enum AudioInput {
    /// Bytes in order, readable once: a request body, a pipe.
    Stream(Box<dyn Read + Send + Sync>),
    /// A file, or bytes in memory. Required for MP4 with its `moov` box at the end.
    Seekable(Box<dyn ReadSeek>),
}

/// Bytes per read.
const READ_BYTES: usize = 16 << 10;

/// A reader with look-ahead.
pub(super) struct ByteSource {
    input: AudioInput,
    buffer: Vec<u8>,
    /// Index in `buffer` of the next byte.
    next: usize,
    /// Position of the next byte in the file.
    position: u64,
    is_at_end: bool,
    length_bytes: Option<u64>,
}

impl ByteSource {
    pub fn new(mut input: AudioInput) -> Self {
        let length_bytes = match &mut input {
            AudioInput::Stream(_) => None,
            // Devices and pipes have no length.
            AudioInput::Seekable(file) => {
                file.seek(SeekFrom::End(0)).ok().filter(|length| *length > 0 && file.rewind().is_ok())
            }
        };
        Self { input, buffer: Vec::new(), next: 0, position: 0, is_at_end: false, length_bytes }
    }

    /// The length, if it is known.
    pub fn length_bytes(&self) -> Option<u64> {
        self.length_bytes
    }

    /// Bytes consumed so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next bytes: at least `count`, fewer only at the end, and as many more as are buffered.
    pub fn peek(&mut self, count: usize) -> Result<&[u8], AudioFileError> {
        while self.buffer.len() - self.next < count && !self.is_at_end {
            self.read_more(count)?;
        }
        Ok(&self.buffer[self.next..])
    }

    fn read_more(&mut self, count: usize) -> Result<(), AudioFileError> {
        self.buffer.drain(..self.next);
        self.next = 0;
        let held = self.buffer.len();
        self.buffer.resize(held + READ_BYTES.max(count.saturating_sub(held).min(READ_BYTES * 8)), 0);
        let read = loop {
            match self.input.read(&mut self.buffer[held..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(held + *read.as_ref().unwrap_or(&0));
        self.is_at_end = !matches!(read, Ok(1..));
        read.map(drop).map_err(|error| AudioFileError::Read { found: error.to_string() })
    }

    /// Consumes `count` bytes that were peeked at.
    pub fn take(&mut self, count: usize) {
        let count = count.min(self.buffer.len() - self.next);
        self.next += count;
        self.position += count as u64;
    }

    /// Consumes `count` bytes; returns whether all of them existed.
    pub fn skip(&mut self, count: u64) -> Result<bool, AudioFileError> {
        let mut left = count;
        while left > 0 {
            let here = self.peek(1)?.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if here == 0 {
                return Ok(false);
            }
            self.take(here);
            left -= here as u64;
        }
        Ok(true)
    }

    /// Consumes exactly `count` bytes; `None` if the end comes before.
    pub fn take_exact(&mut self, count: usize) -> Result<Option<Vec<u8>>, AudioFileError> {
        let bytes = self.peek(count)?.get(..count).map(<[u8]>::to_vec);
        self.take(if bytes.is_some() { count } else { 0 });
        Ok(bytes)
    }

    /// Moves to `position`; returns whether that was possible: forwards always, backwards only in a file.
    pub fn go_to(&mut self, position: u64) -> Result<bool, AudioFileError> {
        let ahead = position.checked_sub(self.position);
        match (&mut self.input, ahead) {
            (_, Some(ahead)) if ahead <= (self.buffer.len() - self.next) as u64 => self.skip(ahead),
            (AudioInput::Stream(_), Some(ahead)) => self.skip(ahead),
            (AudioInput::Stream(_), None) => Ok(false),
            (AudioInput::Seekable(file), _) => {
                let moved = file.seek(SeekFrom::Start(position));
                moved.map_err(|error| AudioFileError::Read { found: error.to_string() })?;
                self.buffer.clear();
                (self.next, self.position, self.is_at_end) = (0, position, false);
                Ok(true)
            }
        }
    }

    /// Makes moving backwards possible by buffering the rest of a stream, at most `most_bytes`. Positions stay the same.
    pub fn make_seekable(&mut self, most_bytes: usize) -> Result<(), AudioFileError> {
        if matches!(self.input, AudioInput::Seekable(_)) {
            return Ok(());
        }
        let (start, position) = (usize::try_from(self.position).unwrap_or(usize::MAX), self.position);
        let rest = self.peek(most_bytes.saturating_sub(start).saturating_add(1))?;
        if start.saturating_add(rest.len()) > most_bytes {
            return Err(AudioFileError::TooLarge { most_bytes });
        }
        // Consumed bytes are never read again; zeros in their place keep positions valid.
        let mut whole = io::Cursor::new([&vec![0; start][..], rest].concat());
        whole.set_position(position);
        self.length_bytes = Some(whole.get_ref().len() as u64);
        self.input = AudioInput::Seekable(Box::new(whole));
        self.buffer.clear();
        (self.next, self.is_at_end) = (0, false);
        Ok(())
    }
}

impl Read for AudioInput {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Stream(stream) => stream.read(to),
            Self::Seekable(file) => file.read(to),
        }
    }
}

impl Read for ByteSource {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let here = self.peek(1).map_err(|error| io::Error::other(error.to_string()))?;
        let count = here.len().min(to.len());
        to[..count].copy_from_slice(&here[..count]);
        self.take(count);
        Ok(count)
    }
}
