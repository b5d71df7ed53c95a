//! A diffusion step as Sonic has it, on any backend's queue: sampler kernel -> network -> sampler kernel, for every window of
//! every step, then decoder -> colour conversion. Nothing is downloaded but the bytes of a frame at the end, and the latents of
//! all frames for comparison.

use visage::backend::{Backend, BackendError, DType, Graph, Kernel, KernelSlot, KernelSpec, Slot, Tensor, Value};
use visage_kernels::reference::{
    FloatType, Guidance, GuidedEuler, Layout, Range, Standard, ToYuv, Window, WindowInput, sigmas, timestep,
};

/// Latents of 4 by 6, frames of 8 by 12 pixels; a clip of 6 frames in windows of 4, as many steps as sessions run.
const HEIGHT: usize = 4;
const WIDTH: usize = 6;
const VALUES: usize = HEIGHT * WIDTH;
const WINDOW: usize = 4;
const FRAMES: usize = 6;
const STEPS: u32 = 2;
/// The bytes of a frame in I420.
const I420_BYTES: usize = 2 * HEIGHT * 2 * WIDTH * 3 / 2;

/// Graphs and kernels of the chain, shared by sessions.
pub struct Chain {
    denoise: Box<dyn Graph>,
    decode: Box<dyn Graph>,
    input: Box<dyn Kernel>,
    euler: Box<dyn Kernel>,
    colour: Box<dyn Kernel>,
}

fn window(start: usize, step: usize) -> Window {
    let (values, window, frames) = (VALUES as u32, WINDOW as u32, FRAMES as u32);
    Window { values, window, frames, start: start as u32, shift: 3 * step as u32 }
}

fn euler(start: usize, step: usize) -> GuidedEuler {
    let sigmas = sigmas(STEPS);
    GuidedEuler::new(window(start, step), Guidance { appearance: 2.0, audio: 7.5 }, (sigmas[step], sigmas[step + 1]))
}

fn colour() -> ToYuv {
    ToYuv::new((2 * WIDTH as u32, 2 * HEIGHT as u32), Standard::Bt601, Range::Limited)
}

/// The kernels that the chain loads, and how many buffer sets and transfers of a slot they need.
///
/// A session uploads its noise for each window of the first step, and two clips of a session may be under way. `guided_euler`
/// keeps the latents of the step before while it alternates between two sets for the windows of this step.
pub fn kernels() -> [KernelSpec; 3] {
    let spec = |largest, buffer_sets, transfers| KernelSpec { largest, constants: Vec::new(), buffer_sets, transfers };
    [
        spec(WindowInput::new(window(0, 0), 1.0).launch(FloatType::F16).expect("a launch"), 2, 8),
        spec(euler(0, 0).launch(FloatType::F16).expect("a launch"), 3, 8),
        spec(colour().launch(FloatType::F32, Layout::I420).expect("a launch"), 2, 2),
    ]
}

impl Chain {
    /// From loaded graphs and kernels, the latter in the order of [`kernels`].
    pub fn of([denoise, decode]: [Box<dyn Graph>; 2], [input, euler, colour]: [Box<dyn Kernel>; 3]) -> Self {
        Self { denoise, decode, input, euler, colour }
    }

    /// Loads everything on a backend that needs nobody to drive it.
    pub fn load(backend: &dyn Backend) -> Result<Self, BackendError> {
        let graph = |name| backend.load(name, super::contract::onnx_of(name));
        let [input, euler, colour] = kernels().map(|spec| backend.load_kernel(spec));
        Ok(Self::of([graph("denoise")?, graph("decode")?], [input?, euler?, colour?]))
    }

    /// A session's slots.
    pub fn session(&self) -> Result<Session, BackendError> {
        Ok(Session {
            denoise: self.denoise.slot()?,
            decode: self.decode.slot()?,
            input: self.input.slot()?,
            euler: self.euler.slot()?,
            colour: self.colour.slot()?,
        })
    }
}

/// One session's slots on the chain.
pub struct Session {
    denoise: Box<dyn Slot>,
    decode: Box<dyn Slot>,
    input: Box<dyn KernelSlot>,
    euler: Box<dyn KernelSlot>,
    colour: Box<dyn KernelSlot>,
}

impl Session {
    /// Submits the whole chain from a session's own noise; returns the first frame and the latents of all frames, whose downloads
    /// are queued.
    pub fn submit(&mut self, seed: usize) -> Result<[Value; 2], BackendError> {
        let noise = |n: usize| (((seed * 31 + n * 7) % 41) as f32 / 20.0 - 1.0) * sigmas(STEPS)[0] as f32;
        let mut latents = Value::from(Tensor::vector((0..FRAMES * VALUES).map(noise).collect::<Vec<_>>()));
        for step in 0..STEPS as usize {
            latents = self.step(&latents, (seed, step))?;
        }
        let mut clip = latents.reshaped(&[FRAMES, HEIGHT, WIDTH])?;
        let image = self.decode.submit(&[("latents", &clip)], &["image"])?.remove(0);
        let launch = colour().launch(FloatType::F32, Layout::I420).expect("a launch");
        let mut bytes = self.colour.submit(&launch, &[Some(&image), None])?.remove(0);
        assert_eq!((bytes.dtype(), bytes.shape()), (DType::U8, &[I420_BYTES][..]));
        bytes.download()?;
        clip.download()?;
        Ok([bytes, clip])
    }

    /// All windows of one step: those that overlap are averaged in the latents of the next step. Uploads differ from window to
    /// window, so that the bytes of another window change the result.
    fn step(&mut self, latents: &Value, (seed, step): (usize, usize)) -> Result<Value, BackendError> {
        let sigma = sigmas(STEPS)[step];
        let mut next: Option<Value> = None;
        for start in (0..FRAMES).step_by(WINDOW) {
            let nth = 7 * seed + 3 * step + start / WINDOW;
            let pixel = |n: usize| ((nth * 11 + n * 5) % 24) as f32 / 24.0 - 0.5;
            let portrait = Value::from(Tensor::vector((0..VALUES).map(pixel).collect::<Vec<_>>()));
            let launch = WindowInput::new(window(start, step), sigma).launch(FloatType::F16).expect("a launch");
            let sample = self.input.submit(&launch, &[Some(latents), Some(&portrait), None])?.remove(0);
            let sample = sample.reshaped(&[3, WINDOW, 2, HEIGHT, WIDTH])?;
            let time = Value::from(Tensor::vector(vec![timestep(sigma) as f32 + nth as f32 / 10.0]));
            let ids = Value::from(Tensor::vector((0..WINDOW).map(|n| ((n + nth) % 4) as i64).collect::<Vec<_>>()));
            let v = self.denoise.submit(&[("sample", &sample), ("timestep", &time), ("ids", &ids)], &["v"])?.remove(0);
            drop(sample);
            let launch = euler(start, step).launch(FloatType::F16).expect("a launch");
            next = Some(self.euler.submit(&launch, &[Some(&v), Some(latents), next.as_ref()])?.remove(0));
        }
        Ok(next.expect("a window"))
    }
}

/// The bytes of a frame in I420, and of the latents.
pub type Results = [Vec<u8>; 2];

/// The results of these sessions on the CPU backend.
pub fn on_the_cpu(seeds: impl Iterator<Item = usize>) -> Vec<Results> {
    let chain = Chain::load(&visage::backend::CpuBackend::new()).expect("a chain");
    let session = |seed| chain.session().expect("slots").submit(seed).expect("a chain");
    seeds.map(|seed| session(seed).map(|value| value.take().expect("bytes").to_bytes())).collect()
}

#[test]
fn on_the_cpu_a_chain_of_kernels_and_graphs_ends_in_a_frame() {
    let frames = on_the_cpu(0..3).into_iter().map(|[frame, _]| frame).collect::<Vec<_>>();
    for (n, frame) in frames.iter().enumerate() {
        assert_eq!(frame.len(), I420_BYTES);
        let luma = &frame[..2 * HEIGHT * 2 * WIDTH];
        let (least, most) = (luma.iter().min().expect("pixels"), luma.iter().max().expect("pixels"));
        assert!(most - least > 10, "session {n}: luma from {least} to {most}");
    }
    assert!(frames[0] != frames[1] && frames[1] != frames[2]);
    let chain = Chain::load(&visage::backend::CpuBackend::new()).expect("a chain");
    let mut session = chain.session().expect("slots");
    let larger = WindowInput::new(Window { frames: 60, ..window(0, 0) }, 1.0).launch(FloatType::F16).expect("a launch");
    let latents = Value::from(Tensor::zeros(DType::F32, &[60 * VALUES]));
    let refused = session.input.submit(&larger, &[Some(&latents), Some(&latents), None]).expect_err("too large");
    assert!(refused.to_string().contains("are reserved"), "{refused}");
    let smaller = WindowInput::new(window(0, 0), 1.0).launch(FloatType::F16).expect("a launch");
    let refused = session.input.submit(&smaller, &[Some(&latents), None, None]).expect_err("no portrait");
    assert!(refused.to_string().contains("\"portrait\" is missing"), "{refused}");
}
