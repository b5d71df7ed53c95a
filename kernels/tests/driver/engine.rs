//! An engine that reckons on the host: with the stand-in for the driver, the device's memory is the host's.
//!
//! It takes the place of TensorRT's one call, in the order of the stream that it is queued on.

use std::ffi::c_void;
use std::sync::Arc;

use visage_engines::Onnx;
use visage_kernels::cuda::{Device, Engine, EngineError, EngineSource, Port, Side, Stream};

/// Reckons one run: inputs in the order of ports, with their shapes, to outputs.
pub type Compute = Arc<dyn Fn(&[(Vec<usize>, &[f32])]) -> Vec<Vec<f32>> + Send + Sync>;

/// Makes what reckons a graph and says which ports it has.
pub type Open = Box<dyn FnMut(&str, Onnx<'_>) -> Result<(Vec<Port>, Compute), EngineError> + Send>;

/// Where engines come from.
pub struct HostEngines(pub Open);

impl EngineSource for HostEngines {
    fn engine(&mut self, _device: &Device, name: &str, onnx: Onnx<'_>) -> Result<Box<dyn Engine>, EngineError> {
        let (ports, compute) = (self.0)(name, onnx)?;
        Ok(Box::new(HostEngine { ports, compute }))
    }
}

struct HostEngine {
    ports: Vec<Port>,
    compute: Compute,
}

/// One run as it was queued.
struct Run {
    ports: Vec<(Side, Vec<usize>, u64)>,
    compute: Compute,
}

impl Engine for HostEngine {
    fn ports(&self) -> &[Port] {
        &self.ports
    }

    fn enqueue(&mut self, stream: &Stream, rows: usize, addresses: &[u64]) -> Result<(), EngineError> {
        let shape = |port: &Port| port.shape.iter().map(|axis| axis.unwrap_or(rows)).collect();
        let ports =
            self.ports.iter().zip(addresses).map(|(port, address)| (port.side, shape(port), *address)).collect();
        // Never freed: a capture may call it as long as the test runs.
        let run: &'static Run = Box::leak(Box::new(Run { ports, compute: Arc::clone(&self.compute) }));
        // SAFETY: `call` takes a `Run`, which lives for ever, may be used on any thread, and calls no driver.
        unsafe { stream.call(Some(call), std::ptr::from_ref(run).cast_mut().cast()) }?;
        Ok(())
    }
}

unsafe extern "C" fn call(run: *mut c_void) {
    // SAFETY: only `enqueue` queues this function, with such a run.
    let run = unsafe { &*run.cast::<Run>() };
    let count = |shape: &[usize]| shape.iter().product();
    let inputs = run.ports.iter().filter(|(side, ..)| *side == Side::Input).map(|(_, shape, address)| {
        // SAFETY: who queued the run gave memory of the device that holds this port; it is the host's, and the stand-in does
        // one thing at a time.
        (shape.clone(), unsafe { std::slice::from_raw_parts(*address as *const f32, count(shape)) })
    });
    let outputs = (run.compute)(&inputs.collect::<Vec<_>>());
    let targets = run.ports.iter().filter(|(side, ..)| *side == Side::Output);
    for ((_, shape, address), output) in targets.zip(outputs) {
        assert_eq!(output.len(), count(shape));
        // SAFETY: as above; no input overlaps an output.
        unsafe { std::slice::from_raw_parts_mut(*address as *mut f32, output.len()) }.copy_from_slice(&output);
    }
}
