//! The kernels' sources, which the program carries with it.
//!
//! Decides what is compiled together. What compiles it is elsewhere.

use visage_engines::Digest;

/// A file of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// RGB to I420 and NV12.
    Colour,
    /// Planes to planes of another size.
    Resize,
    /// A face into a picture.
    Paste,
    /// AudioClip to log-mel.
    Mel,
    /// Steps of Sonic's sampler.
    Sampler,
    /// PCM to numbers.
    AudioClip,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Colour, Self::Resize, Self::Paste, Self::Mel, Self::Sampler, Self::AudioClip];

    /// Its name without `.cu`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Colour => "colour",
            Self::Resize => "resize",
            Self::Paste => "paste",
            Self::Mel => "mel",
            Self::Sampler => "sampler",
            Self::AudioClip => "sound",
        }
    }

    /// Its text, with what every source begins with.
    #[must_use]
    pub fn text(self) -> String {
        let own = match self {
            Self::Colour => include_str!("colour.cu"),
            Self::Resize => include_str!("resize.cu"),
            Self::Paste => include_str!("paste.cu"),
            Self::Mel => include_str!("mel.cu"),
            Self::Sampler => include_str!("sampler.cu"),
            Self::AudioClip => include_str!("sound.cu"),
        };
        format!("{}\n{own}", include_str!("prelude.cu"))
    }

    /// Of the text.
    #[must_use]
    pub fn digest(self) -> Digest {
        Digest::of(self.text().as_bytes())
    }
}
