//! The kernels' CUDA sources, embedded in the program.
//!
//! Decides what is compiled together. `crate::nvrtc` compiles it.

use visage_engines::Digest;

/// A source file of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// RGB to I420 and NV12.
    Colour,
    /// Resizing of planes.
    Resize,
    /// Pasting a face crop into an image.
    Paste,
    /// PCM to log-mel.
    Mel,
    /// Sonic's sampler.
    Sampler,
    /// PCM to floats.
    Pcm,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Colour, Self::Resize, Self::Paste, Self::Mel, Self::Sampler, Self::Pcm];

    /// Its name without `.cu`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Colour => "colour",
            Self::Resize => "resize",
            Self::Paste => "paste",
            Self::Mel => "mel",
            Self::Sampler => "sampler",
            Self::Pcm => "pcm",
        }
    }

    /// Its text, with the prelude that every source begins with.
    #[must_use]
    pub fn text(self) -> String {
        let own = match self {
            Self::Colour => include_str!("colour.cu"),
            Self::Resize => include_str!("resize.cu"),
            Self::Paste => include_str!("paste.cu"),
            Self::Mel => include_str!("mel.cu"),
            Self::Sampler => include_str!("sampler.cu"),
            Self::Pcm => include_str!("pcm.cu"),
        };
        format!("{}\n{own}", include_str!("prelude.cu"))
    }

    /// The digest of its text.
    #[must_use]
    pub fn digest(self) -> Digest {
        Digest::of(self.text().as_bytes())
    }
}
