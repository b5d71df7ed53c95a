//! An engine that computes on the host: with the stub driver, device memory is host memory.
//!
//! It takes the place of TensorRT's one call, in the order of the stream that it is queued on.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::Arc;

use visage_engines::Onnx;
use visage_engines::onnx::{Lengths, Signature};
use visage_kernels::DType;
use visage_kernels::cuda::{AxisRange, Device, Engine, EngineError, EngineSource, Stream};

/// An input of a run: its type, shape and bytes.
pub type Given<'a> = (DType, Vec<usize>, &'a [u8]);

/// Computes one run: inputs in the order of the signature, to the bytes of each output.
pub type Compute = Arc<dyn Fn(&[Given<'_>]) -> Vec<Vec<u8>> + Send + Sync>;

/// A graph on the host: its tensors, the ranges of its free axes, and what computes it.
pub struct HostGraph {
    pub signature: Signature,
    pub ranges: BTreeMap<String, AxisRange>,
    pub compute: Compute,
}

/// Opens a graph by its name and ONNX file.
pub type Open = Box<dyn FnMut(&str, Onnx<'_>) -> Result<HostGraph, EngineError> + Send>;

/// Where engines come from.
pub struct HostEngines(pub Open);

impl EngineSource for HostEngines {
    fn engine(&mut self, _device: &Device, name: &str, onnx: Onnx<'_>) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(HostEngine((self.0)(name, onnx)?)))
    }
}

struct HostEngine(HostGraph);

/// One run as it was queued: the type, shape and address of each tensor.
struct Run {
    inputs: Vec<(DType, Vec<usize>, u64)>,
    outputs: Vec<(DType, Vec<usize>, u64)>,
    compute: Compute,
}

impl Engine for HostEngine {
    fn signature(&self) -> &Signature {
        &self.0.signature
    }

    fn ranges(&self) -> &BTreeMap<String, AxisRange> {
        &self.0.ranges
    }

    fn enqueue(&mut self, stream: &Stream, lengths: &Lengths, addresses: &[u64]) -> Result<(), EngineError> {
        let tensors = self.tensors().into_iter().zip(addresses);
        let mut inputs: Vec<_> = tensors
            .map(|(tensor, address)| (tensor.dtype, tensor.shape_for(lengths).expect("known axes"), *address))
            .collect();
        let outputs = inputs.split_off(self.0.signature.inputs.len());
        // Never freed: a capture may call it as long as the test runs.
        let run: &'static Run = Box::leak(Box::new(Run { inputs, outputs, compute: Arc::clone(&self.0.compute) }));
        // SAFETY: `call` takes a `Run`, which lives forever, may be used on any thread, and calls no driver.
        unsafe { stream.call(Some(call), std::ptr::from_ref(run).cast_mut().cast()) }?;
        Ok(())
    }
}

unsafe extern "C" fn call(run: *mut c_void) {
    // SAFETY: only `enqueue` queues this function, with such a run.
    let run = unsafe { &*run.cast::<Run>() };
    let bytes = |dtype: DType, shape: &[usize]| shape.iter().product::<usize>() * dtype.bytes();
    let inputs = run.inputs.iter().map(|(dtype, shape, address)| {
        // SAFETY: the caller that queued the run passed device memory that holds this tensor; it is host memory, and the stub does
        // one thing at a time.
        let held = unsafe { std::slice::from_raw_parts(*address as *const u8, bytes(*dtype, shape)) };
        (*dtype, shape.clone(), held)
    });
    let outputs = (run.compute)(&inputs.collect::<Vec<_>>());
    for ((dtype, shape, address), output) in run.outputs.iter().zip(outputs) {
        assert_eq!(output.len(), bytes(*dtype, shape));
        // SAFETY: as above; no input overlaps an output.
        unsafe { std::slice::from_raw_parts_mut(*address as *mut u8, output.len()) }.copy_from_slice(&output);
    }
}
