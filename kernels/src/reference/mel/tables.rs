//! Tables for log-mel spectra: windows, twiddle factors and filter banks, for the portrait and for Whisper.
//!
//! Decides their definitions. Computed once, in double precision.

/// A log-mel front end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mel {
    /// Samples per second.
    pub rate_hz: u32,
    /// Length of the periodic Hann window.
    pub window_samples: u32,
    /// Distance between frames.
    pub hop_samples: u32,
    /// Length of the DFT, at least the window.
    pub fft_samples: u32,
    /// Values per frame.
    pub bands: u32,
    /// Lower corner of the first triangular filter and upper corner of the last.
    pub corners_hz: (f64, f64),
    /// Spacing and height of the filters.
    pub scale: MelScale,
}

/// Spacing and height of the triangular filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MelScale {
    /// HTK: `2595 log10(1 + f / 700)`, the peak of each filter is 1.
    Htk,
    /// Linear up to 1 kHz, logarithmic above, the area of each filter is 1 (Slaney's Auditory Toolbox).
    Slaney,
}

/// The tables of a front end, as the kernels' buffers.
#[derive(Clone, Debug, PartialEq)]
pub struct MelTables {
    /// The window.
    pub hann: Vec<f32>,
    /// Twiddle factors: cosines, then negative sines, of all `fft_samples` fractions of a circle.
    pub twiddles: Vec<f32>,
    /// The filter bank: a row of bins for each band.
    pub weights: Vec<f32>,
}

impl Mel {
    /// The portrait's front end (`src/audio/mel.rs`, `mouth.json`) with this many bands: the mouth network has 48.
    /// [`Bands::natural`](super::Bands::natural) follows, with the floor that `mouth.json` gives.
    #[must_use]
    pub fn portrait(bands: u32) -> Self {
        Self {
            rate_hz: 16_000,
            window_samples: 400,
            hop_samples: 160,
            fft_samples: 512,
            bands,
            corners_hz: (60.0, 7600.0),
            scale: MelScale::Htk,
        }
    }

    /// Whisper's front end, with 80 bands: 30 s of audio (480 000 samples, zero-padded) become 3000 frames that begin 200
    /// samples early. [`Bands::decimal`](super::Bands::decimal), [`MaxReduce`](super::MaxReduce) and
    /// [`ClampRange`](super::ClampRange) follow, with a floor of 1e-10 and a range of 8 decades.
    #[must_use]
    pub fn whisper() -> Self {
        Self {
            rate_hz: 16_000,
            window_samples: 400,
            hop_samples: 160,
            fft_samples: 400,
            bands: 80,
            corners_hz: (0.0, 8000.0),
            scale: MelScale::Slaney,
        }
    }

    /// Number of bins of a spectrum.
    #[must_use]
    pub fn bins(&self) -> u32 {
        self.fft_samples / 2 + 1
    }

    /// Computes its tables.
    #[must_use]
    pub fn tables(&self) -> MelTables {
        let turns = |n: u32, of: u32| std::f64::consts::TAU * f64::from(n) / f64::from(of);
        let hann = (0..self.window_samples).map(|n| (0.5 - 0.5 * turns(n, self.window_samples).cos()) as f32).collect();
        let circle =
            |function: fn(f64) -> f64| (0..self.fft_samples).map(move |n| function(turns(n, self.fft_samples)) as f32);
        let twiddles = circle(f64::cos).chain(circle(|angle| -angle.sin())).collect();
        MelTables { hann, twiddles, weights: self.weights() }
    }

    fn weights(&self) -> Vec<f32> {
        let (low, high) = (self.scale.mel_of(self.corners_hz.0), self.scale.mel_of(self.corners_hz.1));
        let step = (high - low) / f64::from(self.bands + 1);
        let corner = |n: u32| self.scale.hz_of(low + step * f64::from(n));
        let hz_of_bin = |bin: u32| f64::from(bin) * f64::from(self.rate_hz) / f64::from(self.fft_samples);
        let row = |band: u32| {
            let [left, peak, right] = [0, 1, 2].map(|n| corner(band + n));
            let height = self.scale.height(left, right);
            (0..self.bins()).map(hz_of_bin).map(move |hz| {
                (height * ((hz - left) / (peak - left)).min((right - hz) / (right - peak)).max(0.0)) as f32
            })
        };
        (0..self.bands).flat_map(row).collect()
    }
}

impl MelScale {
    /// Slaney's scale is linear below: 3 mels for 200 Hz.
    const KNEE_HZ: f64 = 1000.0;
    const KNEE_MEL: f64 = 15.0;

    /// Above the knee, 27 mels make the frequency 6.4 times as high.
    fn octave() -> f64 {
        6.4_f64.ln() / 27.0
    }

    fn mel_of(self, hz: f64) -> f64 {
        match self {
            Self::Htk => 2595.0 * (1.0 + hz / 700.0).log10(),
            Self::Slaney if hz < Self::KNEE_HZ => hz * 3.0 / 200.0,
            Self::Slaney => Self::KNEE_MEL + (hz / Self::KNEE_HZ).ln() / Self::octave(),
        }
    }

    fn hz_of(self, mel: f64) -> f64 {
        match self {
            Self::Htk => 700.0 * (10_f64.powf(mel / 2595.0) - 1.0),
            Self::Slaney if mel < Self::KNEE_MEL => mel * 200.0 / 3.0,
            Self::Slaney => Self::KNEE_HZ * ((mel - Self::KNEE_MEL) * Self::octave()).exp(),
        }
    }

    fn height(self, left_hz: f64, right_hz: f64) -> f64 {
        match self {
            Self::Htk => 1.0,
            Self::Slaney => 2.0 / (right_hz - left_hz),
        }
    }
}
