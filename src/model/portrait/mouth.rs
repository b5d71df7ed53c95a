//! From audio to the mouth: log-mel in, ARKit weights out, 40 ms per step, with the network's state carried along.
//!
//! Decides which time each output stands for. Steps are submitted when their audio is complete and collected when the device
//! has finished them. The numbers come from `mouth.json` beside the graph.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::Deserialize;

use super::front_end::{FrontEnd, MelKernels};
use crate::audio::mel::MelSpec;
use crate::backend::{Backend, BackendError, DType, Graph, Health, Onnx, Slot, Tensor, Value};
use crate::face::{ArkitWeights, arkit_index};
use crate::gpu_load::DeviceCounts;
use crate::media::BLOCK_SPEECH_SAMPLES;
use crate::model::ModelError;
use crate::telemetry::StepTimes;
use crate::time::SampleIndex;

const NAME: &str = "mouth.onnx";
/// Log-mel frames per step.
const STEP_FRAMES: usize = 4;
/// Moments that are kept for frames still to be polled.
const KEPT_MOMENTS: usize = 64;
/// Steps that a device may have unfinished, 160 ms; of more the oldest is discarded and its moments are missing.
const MAX_PENDING: usize = 4;

/// The contents of `mouth.json`; unknown keys are ignored.
#[derive(Debug, Deserialize)]
struct MouthSpec {
    #[serde(flatten)]
    mel: MelSpec,
    step_samples: u64,
    output_hop_samples: u64,
    output_offset_samples: i64,
    weights: Vec<String>,
    states: BTreeMap<String, Vec<usize>>,
    next: BTreeMap<String, String>,
}

/// The network, shared by all sessions.
pub struct MouthNet {
    graph: Box<dyn Graph>,
    /// Log-mel on the device in front of the network, where the backend has kernels.
    mel_kernels: Option<MelKernels>,
    spec: MouthSpec,
    /// The ARKit shape of each output.
    shapes: Vec<usize>,
    /// Names of the state inputs and of the outputs that become the next step's states.
    carried: Vec<(String, String)>,
    /// Silence before the first sample, so that an output falls on every frame's time.
    pad_samples: u64,
    look_ahead_samples: u64,
}

impl MouthNet {
    /// Loads the graph and its description.
    ///
    /// # Errors
    /// If the description is damaged, names an unknown shape, or the graph does not load.
    pub fn load(backend: &dyn Backend, onnx: &[u8], json: &[u8], frame_samples: u64) -> Result<Self, ModelError> {
        let broken = |found: String| ModelError::Broken { name: NAME.to_owned(), found };
        let spec: MouthSpec = serde_json::from_slice(json).map_err(|error| broken(format!("mouth.json: {error}")))?;
        let shape = |name: &String| arkit_index(name).ok_or_else(|| broken(format!("no ARKit shape \"{name}\"")));
        let shapes = spec.weights.iter().map(shape).collect::<Result<_, _>>()?;
        if spec.step_samples == 0 || spec.output_hop_samples == 0 {
            return Err(broken("mouth.json: a step of no samples".to_owned()));
        }
        let graph = backend.load("mouth", Onnx::Bytes(onnx)).map_err(|error| broken(error.to_string()))?;
        let load = || MelKernels::load(backend, &spec.mel, STEP_FRAMES).map_err(|error| broken(error.to_string()));
        let mel_kernels = backend.has_device_kernels().then(load).transpose()?;
        let carried = spec.next.iter().map(|(state, next)| (state.clone(), next.clone())).collect();
        let (pad_samples, look_ahead_samples) = best_phase(&spec, frame_samples);
        Ok(Self { graph, mel_kernels, spec, shapes, carried, pad_samples, look_ahead_samples })
    }

    /// Samples after a frame's time that must be pushed before its mouth is known.
    #[must_use]
    pub fn look_ahead_samples(&self) -> u64 {
        self.look_ahead_samples
    }

    /// Whether another session can start.
    ///
    /// # Errors
    /// With what is wrong with the device.
    pub fn check_ready(&self) -> Result<(), ModelError> {
        match self.graph.health() {
            Health::Ready => Ok(()),
            Health::Recovering { found } | Health::Lost { found } => Err(ModelError::Lost { name: NAME, found }),
        }
    }

    /// What the GPU that runs it has done.
    #[must_use]
    pub fn device_counts(&self) -> Option<DeviceCounts> {
        self.graph.work()
    }

    fn first_states(&self) -> Vec<Value> {
        let shape = |state: &String| self.spec.states.get(state).map_or(&[][..], Vec::as_slice);
        let zeros = |(state, _): &(String, String)| Tensor::zeros(DType::F32, shape(state));
        self.carried.iter().map(|names| zeros(names).into()).collect()
    }
}

/// The silence before the first sample that gives the smallest look-ahead, and that look-ahead in samples, a multiple of a
/// block. Tries each multiple of a mel hop below one step.
fn best_phase(spec: &MouthSpec, frame_samples: u64) -> (u64, u64) {
    let hop = spec.mel.hop_samples as u64;
    let pads = (0..spec.step_samples / hop).map(|pad| pad * hop);
    let look_ahead = |pad: u64| look_ahead_of(spec, pad, frame_samples);
    pads.map(|pad| (pad, look_ahead(pad))).min_by_key(|(_, ahead)| *ahead).unwrap_or((0, spec.step_samples * 4))
}

/// The look-ahead with `pad` samples of silence before the first sample: the least number of samples after a frame's time
/// with which the newest output is at or after that time.
fn look_ahead_of(spec: &MouthSpec, pad: u64, frame_samples: u64) -> u64 {
    let block = BLOCK_SPEECH_SAMPLES as u64;
    let window = spec.mel.window_samples as u64 + spec.mel.hop_samples as u64 * (STEP_FRAMES as u64 - 1);
    let moment = frame_samples * 100;
    let covered = |pushed: u64| {
        let steps = (pushed + pad).checked_sub(window).map_or(0, |rest| rest / spec.step_samples + 1);
        let newest = i64::try_from(steps * spec.step_samples).unwrap_or(i64::MAX) - spec.output_hop_samples as i64;
        newest + spec.output_offset_samples - pad as i64 >= moment as i64
    };
    (0..64).map(|blocks| blocks * block).find(|ahead| covered(moment + ahead)).unwrap_or(64 * block)
}

/// The mouth at one time.
#[derive(Clone, Copy, Debug)]
pub struct MouthMoment {
    /// The time.
    pub at: SampleIndex,
    /// Weights of the mouth's shapes. All others are zero.
    pub weights: ArkitWeights,
    /// Probability of speech, 0 to 1.
    pub voice: f32,
}

/// One session's mouth.
pub struct Mouth {
    net: Arc<MouthNet>,
    front_end: FrontEnd,
    slot: Box<dyn Slot>,
    states: Vec<Value>,
    steps: u64,
    pending: VecDeque<PendingStep>,
    moments: VecDeque<MouthMoment>,
    times: StepTimes,
}

/// A step that was submitted, and its outputs on their way from the device.
struct PendingStep {
    number: u64,
    weights: Value,
    voice: Value,
}

impl Mouth {
    /// A mouth before any audio.
    ///
    /// # Errors
    /// If the network has no free slot.
    pub fn new(net: Arc<MouthNet>) -> Result<Self, ModelError> {
        let mut mouth = Self {
            slot: net.graph.slot().map_err(failed)?,
            front_end: FrontEnd::new(net.spec.mel, STEP_FRAMES, net.mel_kernels.as_ref()).map_err(failed)?,
            states: net.first_states(),
            steps: 0,
            pending: VecDeque::with_capacity(MAX_PENDING),
            moments: VecDeque::with_capacity(KEPT_MOMENTS),
            times: StepTimes::default(),
            net,
        };
        mouth.front_end.push(&vec![0.0; mouth.net.pad_samples as usize]);
        Ok(mouth)
    }

    /// Takes samples at 16 kHz and submits as many steps as they complete. Does not wait for a device.
    ///
    /// # Errors
    /// If the network fails; that step's moments are missing.
    pub fn push_audio(&mut self, samples: &[f32]) -> Result<(), ModelError> {
        self.collect()?;
        self.front_end.push(samples);
        while self.front_end.has_step() {
            let number = self.steps;
            self.steps += 1;
            let mel = self.front_end.take_step().map_err(failed)?;
            self.submit(number, &mel)?;
        }
        Ok(())
    }

    /// The mouth at `at`; `None` while a step is computed that may say more about it.
    ///
    /// # Errors
    /// If a step failed; its moments are missing.
    pub fn poll(&mut self, at: SampleIndex) -> Result<Option<MouthMoment>, ModelError> {
        self.collect()?;
        let is_known = self.moments.back().is_some_and(|newest| newest.at >= at);
        Ok((is_known || self.pending.is_empty()).then(|| self.at(at)))
    }

    /// Discards the audio so far, down to the samples and mel frames that wait for the next step, as if it had been
    /// silence, and the steps not collected yet. Until the next step the mouth is closed.
    pub fn reset(&mut self) {
        self.pending.clear();
        self.front_end.reset();
        self.states = self.net.first_states();
        self.moments.clear();
    }

    /// The mouth at `at`: between the two moments around it, or the nearest. Closed where nothing is known.
    fn at(&self, at: SampleIndex) -> MouthMoment {
        let after = self.moments.iter().position(|moment| moment.at >= at);
        let shut = MouthMoment { at, weights: [0.0; 52], voice: 0.0 };
        match after {
            Some(0) => self.moments[0],
            Some(index) => between(&self.moments[index - 1], &self.moments[index], at),
            None => self.moments.back().copied().unwrap_or(shut),
        }
    }

    /// How long the last step took on its device. Returned once.
    pub fn take_times(&mut self) -> StepTimes {
        std::mem::take(&mut self.times)
    }

    fn submit(&mut self, number: u64, mel: &Value) -> Result<(), ModelError> {
        let net = Arc::clone(&self.net);
        let states = net.carried.iter().map(|(state, _)| state.as_str()).zip(&self.states);
        let inputs: Vec<_> = std::iter::once(("mel", mel)).chain(states).collect();
        let nexts = net.carried.iter().map(|(_, next)| next.as_str());
        let outputs: Vec<_> = ["weights", "voice"].into_iter().chain(nexts).collect();
        let mut found = self.slot.submit(&inputs, &outputs).map_err(failed)?.into_iter();
        let (Some(mut weights), Some(mut voice)) = (found.next(), found.next()) else {
            return Err(failed_with("fewer outputs than asked for"));
        };
        self.states = found.collect();
        weights.download().and_then(|()| voice.download()).map_err(failed)?;
        if self.pending.len() == MAX_PENDING {
            self.pending.pop_front();
        }
        self.pending.push_back(PendingStep { number, weights, voice });
        self.collect()
    }

    /// Takes the outputs of the steps that are finished.
    fn collect(&mut self) -> Result<(), ModelError> {
        while self.pending.front_mut().is_some_and(PendingStep::is_finished) {
            let Some(step) = self.pending.pop_front() else { return Ok(()) };
            let (weights, times) = step.weights.take_timed().map_err(failed)?;
            let voice = step.voice.take().map_err(failed)?;
            self.times = times;
            self.keep(step.number, &weights.into_f32(), &voice.into_f32());
        }
        Ok(())
    }

    fn keep(&mut self, step: u64, weights: &[f32], voice: &[f32]) {
        let spec = &self.net.spec;
        for (k, (weights, voice)) in weights.chunks_exact(self.net.shapes.len()).zip(voice).enumerate() {
            let sample = (step * spec.step_samples + k as u64 * spec.output_hop_samples) as i64;
            let Ok(at) = u64::try_from(sample + spec.output_offset_samples - self.net.pad_samples as i64) else {
                continue;
            };
            let mut moment = MouthMoment { at: SampleIndex(at), weights: [0.0; 52], voice: *voice };
            self.net.shapes.iter().zip(weights).for_each(|(shape, weight)| moment.weights[*shape] = *weight);
            if self.moments.len() == KEPT_MOMENTS {
                self.moments.pop_front();
            }
            self.moments.push_back(moment);
        }
    }
}

impl PendingStep {
    fn is_finished(&mut self) -> bool {
        self.weights.is_ready() && self.voice.is_ready()
    }
}

fn failed_with(found: &str) -> ModelError {
    ModelError::Failed { name: NAME, found: found.to_owned() }
}

fn failed(error: BackendError) -> ModelError {
    match error {
        BackendError::Device { found } => ModelError::Lost { name: NAME, found },
        BackendError::Full { slots, .. } => ModelError::NoSlot { name: NAME, slots },
        other => ModelError::Failed { name: NAME, found: other.to_string() },
    }
}

fn between(before: &MouthMoment, after: &MouthMoment, at: SampleIndex) -> MouthMoment {
    let share = at.samples_since(before.at) as f32 / after.at.samples_since(before.at).max(1) as f32;
    let mix = |from: f32, to: f32| from + (to - from) * share;
    let mut moment = MouthMoment { at, weights: before.weights, voice: mix(before.voice, after.voice) };
    moment.weights.iter_mut().zip(after.weights).for_each(|(from, to)| *from = mix(*from, to));
    moment
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::CpuBackend;

    const ONNX: &[u8] = include_bytes!("../../../engines/packs/portrait/mouth/mouth.onnx");
    const JSON: &[u8] = include_bytes!("../../../engines/packs/portrait/mouth/mouth.json");
    const WAV: &[u8] = include_bytes!("../../../engines/packs/portrait/mouth/golden.wav");
    const WEIGHTS: &[u8] = include_bytes!("../../../engines/packs/portrait/mouth/golden.weights.f32");
    const VOICE: &[u8] = include_bytes!("../../../engines/packs/portrait/mouth/golden.voice.f32");

    fn floats(bytes: &[u8]) -> Vec<f32> {
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }

    /// The network without the silence that aligns it with frames: the golden files have none.
    fn unfitted() -> MouthNet {
        let mut net = MouthNet::load(&CpuBackend::new(), ONNX, JSON, 640).expect("the shipped network loads");
        net.pad_samples = 0;
        net
    }

    fn pcm() -> Vec<f32> {
        WAV[44..].chunks_exact(2).map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])) / 32768.0).collect()
    }

    #[test]
    fn after_a_reset_no_moment_depends_on_the_audio_before_it() {
        let net = Arc::new(MouthNet::load(&CpuBackend::new(), ONNX, JSON, 640).expect("the shipped network loads"));
        let pcm = pcm();
        // 100 ms later the phase of mel frames and of the network's steps is another one.
        for before in [16_000, 16_320, 17_600, 17_920] {
            let moments_after = |voice: &[f32]| {
                let mut mouth = Mouth::new(Arc::clone(&net)).expect("a slot");
                voice.chunks(320).for_each(|block| mouth.push_audio(block).expect("a step"));
                mouth.reset();
                pcm[before..before + 9600].chunks(320).for_each(|block| mouth.push_audio(block).expect("a step"));
                mouth.moments.iter().map(|moment| (moment.at, moment.weights)).collect::<Vec<_>>()
            };
            let spoken = moments_after(&pcm[..before]);
            assert!(spoken.len() > 25, "{} moments", spoken.len());
            assert!(spoken == moments_after(&vec![0.0; before]), "something is left of {before} samples of audio");
        }
    }

    #[test]
    fn the_outputs_equal_the_golden_files_of_the_training() {
        let pcm = pcm();
        let net = Arc::new(unfitted());
        let mut mouth = Mouth::new(Arc::clone(&net)).expect("a slot");
        let mut got = Vec::new();
        for part in pcm.chunks(320) {
            mouth.push_audio(part).expect("a step");
            got.extend(mouth.moments.drain(..));
        }
        let (weights, voice) = (floats(WEIGHTS), floats(VOICE));
        // The first two outputs are for times before the first sample.
        let wanted: Vec<_> = weights.chunks_exact(net.shapes.len()).zip(&voice).skip(2).collect();
        assert_eq!(got.len(), wanted.len());
        for (moment, (weights, voice)) in got.iter().zip(wanted) {
            let ours = net.shapes.iter().map(|shape| moment.weights[*shape]).chain([moment.voice]);
            let worst = ours.zip(weights.iter().chain([voice])).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-3, "{worst} apart at sample {}", moment.at.0);
        }
    }
}
