//! A kernel on the device, with the constants that it reads.
//!
//! Decides which memory a launch is over: buffers are read in place, wherever an earlier step left them.

use std::sync::Arc;

use visage_kernels::cuda::{CudaError, Device, EngineError, Memory, PinnedPool, Stream};
use visage_kernels::{Kernels, LaunchError, Piece};

use super::loaded::LoadedKernel;

/// A kernel on the device.
pub struct KernelExecutor {
    pub loaded: Arc<LoadedKernel>,
    /// Constants by their index among the kernel's buffers.
    pub constants: Vec<(usize, Memory)>,
}

impl KernelExecutor {
    /// Uploads the constants, and waits for that.
    pub fn new(device: &Device, stream: &Stream, loaded: Arc<LoadedKernel>) -> Result<Self, EngineError> {
        let longest = loaded.spec.constants.iter().map(|(_, tensor)| tensor.bytes()).max().unwrap_or(0);
        let pool = PinnedPool::reserve(device, usize::from(longest > 0), longest)?;
        let mut constants = Vec::new();
        for (at, tensor) in &loaded.spec.constants {
            let memory = Memory::take(device, tensor.bytes())?;
            let mut pinned = pool.take().ok_or(CudaError { call: "PinnedPool::take", status: 2 })?;
            tensor.write_to(&mut pinned);
            // Dropping the transfer waits for it.
            drop(stream.upload(pinned, &memory, tensor.bytes())?);
            constants.push((*at, memory));
        }
        Ok(Self { loaded, constants })
    }

    /// The constant for a buffer of the kernel.
    pub fn constant(&self, buffer: usize) -> Option<Piece<'_>> {
        self.constants.iter().find(|(at, _)| *at == buffer).map(|(_, memory)| Piece::whole(memory))
    }
}

/// Queues a launch.
pub fn launch(
    kernels: &Kernels,
    stream: &Stream,
    launch: &visage_kernels::reference::Launch,
    pieces: &[Piece<'_>],
) -> Result<(), EngineError> {
    kernels.queue(stream, launch, pieces).map_err(|error| match error {
        LaunchError::Cuda(error) => EngineError::Cuda(error),
        other => EngineError::Run { found: other.to_string() },
    })
}
