//! One contract, every engine: the CPU, and a card that a library of our own stands in for.
//!
//! Without the feature `cuda` there is no card to hold to it; `tests/run` runs both.

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

use contract::{CLAUSES, Stage};
use visage::backend::{Backend, CpuBackend, Onnx};

#[test]
fn the_cpu_keeps_the_contract() {
    for (clause, keep) in CLAUSES {
        let open = |_: &mut dyn FnMut(), onnx: &[u8]| CpuBackend::new().load("step", Onnx::Bytes(onnx));
        let mut stage = Stage { open: &open, drive: &mut || () };
        eprintln!("{clause}");
        keep(&mut stage);
    }
}
