//! Engines that run graphs: the port, and the engine for any CPU.
//!
//! Decides how a graph is loaded and run. Does not know what its numbers mean.

mod cpu;

use thiserror::Error;

pub use cpu::Cpu;

/// A dense tensor of `f32`, row major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// As many values as the lengths multiply to.
    pub values: Vec<f32>,
}

impl Tensor {
    /// Zeros.
    #[must_use]
    pub fn zeros(shape: &[usize]) -> Self {
        Self { shape: shape.to_vec(), values: vec![0.0; shape.iter().product()] }
    }
}

/// Why a graph could not be loaded or run.
#[derive(Debug, Error)]
pub enum BackendError {
    /// The bytes are no graph that this engine understands.
    #[error("wanted a graph that the {backend} engine can load, found: {found}")]
    Load {
        /// The engine.
        backend: &'static str,
        /// What it said.
        found: String,
    },
    /// A name is not among the graph's inputs or outputs.
    #[error("wanted an input or output called \"{name}\", the graph has: {found}")]
    NoSuchName {
        /// The name asked for.
        name: String,
        /// The names there are.
        found: String,
    },
    /// The graph failed while running.
    #[error("the graph did not run: {found}")]
    Run {
        /// What the engine said.
        found: String,
    },
}

/// Loads graphs.
pub trait Backend: Send + Sync {
    /// The engine's name, as `/v1` and the logs say it.
    fn name(&self) -> &'static str;

    /// Loads an ONNX graph.
    ///
    /// # Errors
    /// If the bytes are not a graph this engine can run.
    fn load(&self, onnx: &[u8]) -> Result<Box<dyn Graph>, BackendError>;
}

/// A loaded graph; sessions share it and bring their own state as inputs.
pub trait Graph: Send + Sync {
    /// Runs one step: named inputs to the named outputs, in the order asked.
    ///
    /// # Errors
    /// If a name is unknown, a shape does not fit or the engine fails.
    fn step(&self, inputs: &[(&str, &Tensor)], outputs: &[&str]) -> Result<Vec<Tensor>, BackendError>;
}
