//! One contract for every backend: the CPU, and a GPU with the stub driver in place of NVIDIA's.
//!
//! Without the feature `cuda` only the CPU is tested; `tests/run` runs both.

mod chain;
mod contract;

#[cfg(feature = "cuda")]
mod capture;
#[cfg(feature = "cuda")]
mod driver;
#[cfg(feature = "cuda")]
#[path = "../../kernels/tests/driver/engine.rs"]
mod engine;
#[cfg(feature = "cuda")]
mod faults;
#[cfg(feature = "cuda")]
mod fixture;
#[cfg(feature = "cuda")]
mod gpu;
#[cfg(any(feature = "tensorrt-rtx", feature = "tensorrt"))]
mod real;
#[cfg(feature = "cuda")]
mod sessions;
#[cfg(feature = "cuda")]
#[path = "../../kernels/tests/driver/step.rs"]
mod step;
#[cfg(feature = "cuda")]
#[path = "../../kernels/tests/driver/stub_driver.rs"]
mod stub_driver;
#[cfg(feature = "cuda")]
mod threads;

use contract::{CLAUSES, Subject, TYPED_CLAUSES};
use visage::backend::{Backend, CpuBackend, Onnx};

#[test]
fn the_cpu_backend_keeps_the_contract() {
    for (clause, keep) in CLAUSES.iter().chain(TYPED_CLAUSES) {
        let load = |_: &mut dyn FnMut(), (name, onnx): (&str, &[u8])| CpuBackend::new().load(name, Onnx::Bytes(onnx));
        let mut subject = Subject { load: &load, drive: &mut || () };
        eprintln!("{clause}");
        keep(&mut subject);
    }
}
