//! An engine that is a single kernel: with it the backend runs on any driver, including a real one, without TensorRT.
//!
//! Included by path in the tests of the root package.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::mem::ManuallyDrop;

use visage_engines::Onnx;
use visage_engines::onnx::{Lengths, Signature};
use visage_kernels::cuda::{
    Argument, AxisRange, Device, Driver, Engine, EngineError, EngineSource, Function, Grid, Module, Stream,
};

/// What `tests/assets/step.onnx` computes.
const STEP: &[u8] = concat!(include_str!("step.ptx"), "\0").as_bytes();

/// Sizes of the kernel's arguments, for the stub driver.
pub const ARGUMENT_BYTES: [usize; 5] = [8, 8, 8, 8, 4];

/// The kernel's name.
pub const NAME: &std::ffi::CStr = c"step";

/// The kernel on the host.
///
/// # Safety
/// The arguments must be those of the kernel, the addresses those of memory of the host for as many rows.
pub unsafe extern "C" fn step_reference(arguments: *const *const c_void, _grid: *const u32) {
    // SAFETY: as promised above.
    let address = |at: usize| unsafe { (*arguments.add(at)).cast::<u64>().read_unaligned() };
    // SAFETY: as promised above.
    let rows = unsafe { (*arguments.add(4)).cast::<u32>().read_unaligned() } as usize;
    // SAFETY: as promised above; what is read and what is written do not overlap.
    let (x, state) = unsafe {
        let x = std::slice::from_raw_parts(address(0) as *const f32, rows * 3);
        (x, std::slice::from_raw_parts(address(1) as *const f32, rows * 2))
    };
    // SAFETY: as above.
    let (y, next) = unsafe {
        let y = std::slice::from_raw_parts_mut(address(2) as *mut f32, rows * 2);
        (y, std::slice::from_raw_parts_mut(address(3) as *mut f32, rows * 2))
    };
    for at in 0..rows * 2 {
        let x = &x[at / 2 * 3..][..3];
        next[at] = state[at] + if at % 2 == 0 { x[0] + x[2] } else { 2.0 * x[1] - x[2] };
        y[at] = next[at].tanh();
    }
}

/// The engine of one graph and no other.
pub struct StepEngines {
    /// The graph that the kernel computes: from `x` and `state` to `y` and `next_state`.
    pub onnx: &'static [u8],
    /// The longest batch that it takes.
    pub max_rows: usize,
}

impl EngineSource for StepEngines {
    fn engine(&mut self, device: &Device, name: &str, source: Onnx<'_>) -> Result<Box<dyn Engine>, EngineError> {
        if !matches!(source, Onnx::Bytes(bytes) if bytes == self.onnx) {
            return Err(EngineError::Unfit { graph: name.to_owned(), found: "another graph".to_owned() });
        }
        // SAFETY: the text ends with a zero.
        let module = unsafe { Module::load(device, STEP) }?;
        let unfit = |error: visage_engines::onnx::SignatureError| EngineError::Unfit {
            graph: name.to_owned(),
            found: error.to_string(),
        };
        let signature = Signature::read(self.onnx).map_err(unfit)?;
        let range = AxisRange { min: 1, opt: 1, max: self.max_rows };
        let ranges = signature.free_axes().into_iter().map(|axis| (axis.to_owned(), range)).collect();
        Ok(Box::new(StepEngine { function: module.function(NAME)?, signature, ranges }))
    }
}

struct StepEngine {
    function: Function,
    signature: Signature,
    ranges: BTreeMap<String, AxisRange>,
}

impl Engine for StepEngine {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn ranges(&self) -> &BTreeMap<String, AxisRange> {
        &self.ranges
    }

    fn enqueue(&mut self, stream: &Stream, lengths: &Lengths, addresses: &[u64]) -> Result<(), EngineError> {
        let rows = lengths.values().next().copied().unwrap_or(1);
        let places = addresses.iter().map(|address| Argument::Address(*address));
        let arguments: Vec<_> = places.chain([Argument::U32(rows as u32)]).collect();
        let grid = Grid { blocks: [(rows * 2).div_ceil(32) as u32, 1, 1], threads: [32, 1, 1] };
        // SAFETY: the kernel takes four addresses and a count; the backend passes memory for so many rows and keeps it.
        unsafe { self.function.launch(stream, grid, &arguments) }?;
        Ok(())
    }
}

/// Lets a kernel fail in the context that all share, and waits until it has.
pub fn break_context(driver: &Driver) {
    let device = ManuallyDrop::new(Device::open(driver, 0).expect("a device"));
    // SAFETY: the text ends with a zero.
    let module = ManuallyDrop::new(unsafe { Module::load(&device, STEP) }.expect("PTX"));
    let function = ManuallyDrop::new(module.function(NAME).expect("the kernel"));
    let stream = ManuallyDrop::new(Stream::new(&device).expect("a stream"));
    // What is created here goes with the context, which the backend destroys; nothing of it is freed.
    let nowhere = [Argument::Address(16); 4].into_iter().chain([Argument::U32(16)]).collect::<Vec<_>>();
    let grid = Grid { blocks: [1, 1, 1], threads: [32, 1, 1] };
    // SAFETY: deliberately not kept: the kernel is to fail on the device, which does not harm host memory.
    unsafe { function.launch(&stream, grid, &nowhere) }.expect("a launch");
    stream.synchronise().expect_err("a kernel that fails");
}
