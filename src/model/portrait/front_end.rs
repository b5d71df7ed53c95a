//! The mouth network's log-mel input from 16 kHz audio: on the CPU, or by kernels on the device in front of the network.
//!
//! Decides which samples a step covers. Both implementations compute the same definition (`audio::mel`); the CPU's is an FFT, the
//! kernels' a DFT, which agree within the tolerance of the golden files.

use crate::audio::mel::{LogMel, MelSpec};
use crate::backend::kernels::{Mel, MelScale};
use crate::backend::{Backend, BackendError, Kernel, KernelSlot, KernelSpec, Launch, Tensor, Value};

/// Uploads of a slot in flight: a step every 40 ms takes one, and an upload takes less than a millisecond.
const TRANSFERS: usize = 3;
/// Buffer sets of a slot: the outputs of one step are read while those of the next are written.
const BUFFER_SETS: usize = 2;

/// The kernels that compute log-mel on a device, shared by all sessions.
pub struct MelKernels {
    power: (Box<dyn Kernel>, Launch),
    bands: (Box<dyn Kernel>, Launch),
    samples: usize,
}

impl MelKernels {
    /// Loads the kernels for steps of `frames` mel frames, with their tables.
    pub fn load(backend: &dyn Backend, spec: &MelSpec, frames: usize) -> Result<Self, BackendError> {
        let mel = Mel {
            rate_hz: spec.rate_hz,
            window_samples: spec.window_samples as u32,
            hop_samples: spec.hop_samples as u32,
            fft_samples: spec.fft_samples as u32,
            bands: spec.bands as u32,
            corners_hz: (spec.low_hz, spec.high_hz),
            scale: MelScale::Htk,
        };
        let (tables, samples) = (mel.tables(), samples_of(spec, frames));
        let failed = |error: crate::backend::kernels::SizeError| BackendError::Run { found: error.to_string() };
        let power = mel.power(samples as u32, frames as u32, 0).launch().map_err(failed)?;
        let bands = mel.bands_of(frames as u32, spec.floor).natural().map_err(failed)?;
        let load = |launch: &Launch, tables: Vec<(usize, Vec<f32>)>, transfers| {
            let constants = tables.into_iter().map(|(at, table)| (at, Tensor::vector(table))).collect();
            let (largest, buffer_sets) = (launch.clone(), BUFFER_SETS);
            backend.load_kernel(KernelSpec { largest, constants, buffer_sets, transfers })
        };
        // Buffers of `mel_power`: samples, window, twiddle factors, powers; of `mel_natural`: powers, weights, values.
        let power_kernel = load(&power, vec![(1, tables.hann), (2, tables.twiddles)], TRANSFERS)?;
        let bands_kernel = load(&bands, vec![(1, tables.weights)], 0)?;
        Ok(Self { power: (power_kernel, power), bands: (bands_kernel, bands), samples })
    }
}

/// Samples that the frames of a step cover.
fn samples_of(spec: &MelSpec, frames: usize) -> usize {
    spec.window_samples + spec.hop_samples * (frames - 1)
}

/// One session's front end.
pub struct FrontEnd {
    /// Mel frames of a step.
    frames: usize,
    spec: MelSpec,
    place: Place,
}

/// Where log-mel is computed.
enum Place {
    Host { mel: LogMel, values: Vec<f32> },
    Device { samples: Vec<f32>, power: (Box<dyn KernelSlot>, Launch), bands: (Box<dyn KernelSlot>, Launch) },
}

impl FrontEnd {
    /// A front end for steps of `frames` frames: on the device if there are kernels for it.
    ///
    /// # Errors
    /// If the kernels have no room for another session.
    pub fn new(spec: MelSpec, frames: usize, kernels: Option<&MelKernels>) -> Result<Self, BackendError> {
        let place = match kernels {
            None => Place::Host { mel: LogMel::new(spec), values: Vec::new() },
            Some(kernels) => Place::Device {
                samples: Vec::with_capacity(2 * kernels.samples),
                power: (kernels.power.0.slot()?, kernels.power.1.clone()),
                bands: (kernels.bands.0.slot()?, kernels.bands.1.clone()),
            },
        };
        Ok(Self { frames, spec, place })
    }

    /// Takes samples.
    pub fn push(&mut self, pcm: &[f32]) {
        match &mut self.place {
            Place::Host { mel, values } => mel.push(pcm, values),
            Place::Device { samples, .. } => samples.extend_from_slice(pcm),
        }
    }

    /// Whether the samples so far complete a step.
    pub fn has_step(&self) -> bool {
        match &self.place {
            Place::Host { values, .. } => values.len() >= self.spec.bands * self.frames,
            Place::Device { samples, .. } => samples.len() >= samples_of(&self.spec, self.frames),
        }
    }

    /// Removes the next step's input, `[1, frames, bands]`: in host memory, or submitted to the device.
    ///
    /// # Errors
    /// If the device refuses; the step's audio is removed in any case.
    pub fn take_step(&mut self) -> Result<Value, BackendError> {
        let (shape, covered) = ([1, self.frames, self.spec.bands], samples_of(&self.spec, self.frames));
        let short = || BackendError::Run { found: "no step is complete".to_owned() };
        match &mut self.place {
            Place::Host { values, .. } => {
                let rest = values.split_off((self.spec.bands * self.frames).min(values.len()));
                let step = std::mem::replace(values, rest);
                Ok(Tensor::new(&shape, step).ok_or_else(short)?.into())
            }
            Place::Device { samples, power, bands } => {
                let pcm = Value::from(Tensor::vector(samples.get(..covered).ok_or_else(short)?.to_vec()));
                samples.drain(..self.spec.hop_samples * self.frames);
                let powers = power.0.submit(&power.1, &[Some(&pcm), None, None, None])?.remove(0);
                bands.0.submit(&bands.1, &[Some(&powers), None, None])?.remove(0).reshaped(&shape)
            }
        }
    }

    /// Replaces the samples and frames queued for a step with silence: frame times stay the same.
    pub fn reset(&mut self) {
        match &mut self.place {
            Place::Host { mel, values } => {
                mel.reset();
                values.fill(mel.silence());
            }
            Place::Device { samples, .. } => samples.fill(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::CpuBackend;

    const JSON: &[u8] = include_bytes!("../../../engines/packs/portrait/mouth/mouth.json");
    const WAV: &[u8] = include_bytes!("../../../engines/packs/portrait/mouth/golden.wav");

    /// The values of all steps, with a reset after some of the audio.
    fn steps(mut front_end: FrontEnd, reset_after: usize) -> Vec<f32> {
        let pcm = WAV[44..].chunks_exact(2).map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])) / 32768.0);
        let pcm: Vec<f32> = pcm.take(16_000).collect();
        let mut values = Vec::new();
        for (n, block) in pcm.chunks(320).enumerate() {
            front_end.push(block);
            while front_end.has_step() {
                let step = front_end.take_step().expect("a step");
                assert_eq!(step.shape(), [1, 4, 48]);
                values.extend(step.take().expect("on the CPU").into_f32());
            }
            if n == reset_after {
                front_end.reset();
            }
        }
        values
    }

    #[test]
    fn kernels_compute_the_same_log_mel_as_the_cpu_front_end() {
        let spec: MelSpec = serde_json::from_slice(JSON).expect("the front end's part of the description");
        let kernels = MelKernels::load(&CpuBackend::new(), &spec, 4).expect("kernels");
        for reset_after in [1000, 20, 21] {
            let host = steps(FrontEnd::new(spec, 4, None).expect("no slot is needed"), reset_after);
            let device = steps(FrontEnd::new(spec, 4, Some(&kernels)).expect("slots"), reset_after);
            assert_eq!((host.len(), device.len()), (24 * 4 * 48, host.len()));
            let error = host.iter().zip(&device).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(error < 2e-3, "reset after {reset_after}: {error}");
        }
    }
}
