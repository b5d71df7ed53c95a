//! A GPU that is the stub driver, with engines that compute as the CPU backend does, and kernels that are the references.

use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};

use visage::backend::gpu::{DeviceLoop, GpuBackend, GpuConfig, open};
use visage::backend::{Backend, BackendError, CpuBackend, Graph, Kernel, KernelSpec, Onnx, Signature, Tensor, Value};
use visage_kernels::cuda::{AxisRange, EngineError};

use crate::engine::{Compute, Given, HostEngines, HostGraph, Open};
use crate::stub_driver::StubDriver;

pub const MOUTH: &[u8] = include_bytes!("../../engines/packs/portrait/mouth/mouth.onnx");
pub const MOUTH_JSON: &[u8] = include_bytes!("../../engines/packs/portrait/mouth/mouth.json");

/// Three slots, four rows in a shared run, no kernels.
pub fn config(driver: &Path) -> GpuConfig {
    let (slots, max_batch, pinned_buffers) = (3, 4, 64);
    GpuConfig { driver: driver.to_owned(), ordinal: 0, slots, max_batch, pinned_buffers, cubins: Vec::new() }
}

/// The same with all kernels.
pub fn with_kernels(stub: &StubDriver) -> GpuConfig {
    GpuConfig { cubins: stub.register_kernels(), ..config(stub.path()) }
}

/// A GPU on the stub driver. The test turns its loop.
pub fn on(stub: &StubDriver) -> (GpuBackend, DeviceLoop) {
    with(config(stub.path()))
}

/// A GPU with another configuration.
pub fn with(config: GpuConfig) -> (GpuBackend, DeviceLoop) {
    open(config, Box::new(HostEngines(engines())))
}

/// Loads a graph on a GPU whose loop the test turns.
pub fn load(gpu: &GpuBackend, turn: &mut dyn FnMut(), graph: (&str, &[u8])) -> Result<Box<dyn Graph>, BackendError> {
    let loading = gpu.begin_load(graph.0, Onnx::Bytes(graph.1))?;
    turn();
    loading.wait()
}

/// Loads a kernel on a GPU whose loop the test turns.
pub fn load_kernel(
    gpu: &GpuBackend,
    turn: &mut dyn FnMut(),
    spec: KernelSpec,
) -> Result<Box<dyn Kernel>, BackendError> {
    let loading = gpu.begin_load_kernel(spec)?;
    turn();
    loading.wait()
}

/// The longest that free axes may be.
const MAX_LENGTH: usize = 8;

/// What engines compute with. One for all tests: each backend starts threads, and tests open thousands of devices.
static CPU: LazyLock<CpuBackend> = LazyLock::new(CpuBackend::new);

/// Computes as the CPU backend does.
pub fn engines() -> Open {
    Box::new(|name, onnx| {
        let graph = CPU.load(name, onnx).map_err(|error| unfit(name, &error.to_string()))?;
        let signature = graph.signature().clone();
        let range = AxisRange { min: 1, opt: 2, max: MAX_LENGTH };
        let ranges = signature.free_axes().into_iter().map(|axis| (axis.to_owned(), range)).collect();
        let slot = Mutex::new(graph.slot().expect("a CPU has room"));
        let inputs: Vec<String> = signature.inputs.iter().map(|input| input.name.clone()).collect();
        let outputs: Vec<String> = signature.outputs.iter().map(|output| output.name.clone()).collect();
        let shapes = signature.clone();
        let compute: Compute = Arc::new(move |given| {
            let tensor = |(dtype, shape, bytes): &(_, Vec<usize>, &[u8])| Tensor::from_bytes(*dtype, shape, bytes);
            let values: Vec<Value> = given.iter().map(|given| tensor(given).expect("as long").into()).collect();
            let named: Vec<_> = inputs.iter().map(String::as_str).zip(&values).collect();
            let wanted: Vec<_> = outputs.iter().map(String::as_str).collect();
            match slot.lock().expect("a lock").submit(&named, &wanted) {
                Ok(found) => found.into_iter().map(|value| value.take().expect("a tensor").to_bytes()).collect(),
                // Inputs that make no sense, as where a wait is ignored, give outputs that make none.
                Err(_) => nonsense(&shapes, given),
            }
        });
        Ok(HostGraph { signature, ranges, compute })
    })
}

/// Outputs of the right sizes and no meaning.
fn nonsense(signature: &Signature, given: &[Given<'_>]) -> Vec<Vec<u8>> {
    let named = signature.inputs.iter().zip(given);
    let given: Vec<_> = named.map(|(input, given)| (input.name.as_str(), given.0, &given.1[..])).collect();
    let lengths = signature.lengths(&given).expect("lengths that the backend has checked");
    signature.outputs.iter().map(|output| vec![0xA5; output.bytes_for(&lengths).expect("known")]).collect()
}

fn unfit(graph: &str, found: &str) -> EngineError {
    EngineError::Unfit { graph: graph.to_owned(), found: found.to_owned() }
}
