//! The kernels on a GPU: loaded once per device, queued on streams.
//!
//! Decides that a launch is queued only over memory that is long enough for it. Does not wait; events order streams.

use std::collections::BTreeMap;
use std::ffi::CString;

use thiserror::Error;

use crate::cuda::{Argument, CudaError, Device, Function, Grid, Memory, Module, PinnedPool, Stream};
use crate::nvrtc::Cubin;
use crate::reference::check::{Check, Verdict};
use crate::reference::{HostBuffer, Launch, Scalar, SizeError, kernels};

/// The kernels, ready to be queued.
#[derive(Debug)]
pub struct Kernels {
    functions: BTreeMap<&'static str, Function>,
}

/// A part of device memory that a kernel argument points to.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// The memory.
    pub memory: &'a Memory,
    /// Offset in bytes.
    pub at: usize,
    /// Its length in bytes.
    pub bytes: usize,
}

impl<'a> Piece<'a> {
    /// All of `memory`.
    #[must_use]
    pub fn whole(memory: &'a Memory) -> Self {
        Self { memory, at: 0, bytes: memory.bytes() }
    }

    /// First address and end, or `None` if it exceeds its memory.
    fn range(&self) -> Option<(u64, u64)> {
        let start = self.memory.part(self.at, self.bytes)?;
        Some((start, start + self.bytes as u64))
    }
}

/// Why a kernel was not queued.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LaunchError {
    /// No loaded cubin contains it.
    #[error("wanted the kernel {name}, which no loaded cubin contains")]
    Unknown {
        /// The kernel.
        name: &'static str,
    },
    /// The memory does not fit the launch.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// The driver refused.
    #[error(transparent)]
    Cuda(#[from] CudaError),
}

impl From<Scalar> for Argument {
    fn from(scalar: Scalar) -> Self {
        match scalar {
            Scalar::U32(value) => Self::U32(value),
            Scalar::I32(value) => Self::I32(value),
            Scalar::F32(value) => Self::F32(value),
        }
    }
}

impl Kernels {
    /// Loads cubins that were compiled for this device, which is current.
    ///
    /// # Errors
    /// If a cubin is for another GPU or lacks a kernel, or the driver refuses.
    pub fn load(device: &Device, cubins: &[Cubin]) -> Result<Self, LaunchError> {
        let mut functions = BTreeMap::new();
        for cubin in cubins {
            // SAFETY: a cubin was compiled in this process, or verified against its digest and parsed, or is trusted.
            let module = unsafe { Module::load(device, cubin.bytes()) }?;
            for kernel in kernels().filter(|kernel| kernel.source == cubin.source()) {
                let name = CString::new(kernel.name).map_err(|_zero| LaunchError::Unknown { name: kernel.name })?;
                functions.insert(kernel.name, module.function(&name)?);
            }
        }
        Ok(Self { functions })
    }

    /// Whether a kernel is loaded.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.functions.contains_key(name)
    }

    /// Queues a launch over pieces of device memory, in the order of the kernel's buffers.
    ///
    /// # Errors
    /// If the kernel is not loaded, a piece is too short, a written piece overlaps another, or the driver refuses.
    pub fn queue(&self, stream: &Stream, launch: &Launch, pieces: &[Piece<'_>]) -> Result<(), LaunchError> {
        let name = launch.kernel().name;
        let function = self.functions.get(name).ok_or(LaunchError::Unknown { name })?;
        let addresses = addresses(launch, pieces)?;
        let scalars = launch.scalars().iter().map(|scalar| Argument::from(*scalar));
        let arguments: Vec<Argument> = addresses.into_iter().map(Argument::Address).chain(scalars).collect();
        let [blocks, threads] = launch.grid();
        // SAFETY: the launch was created by the kernel's own file, so its arguments match and it accesses no more than its
        // sizes; `addresses` checked the memory. The driver does not free memory that queued work uses.
        unsafe { function.launch(stream, Grid { blocks, threads }, &arguments) }?;
        Ok(())
    }

    /// Runs a check and returns the GPU's differences from the reference implementation, buffer by buffer. Waits for the GPU.
    ///
    /// # Errors
    /// As [`Kernels::queue`].
    pub fn run_check(&self, device: &Device, check: &Check) -> Result<Vec<Verdict>, LaunchError> {
        let stream = Stream::new(device)?;
        let held: Vec<Vec<u8>> = check.buffers.iter().map(HostBuffer::to_bytes).collect();
        let longest = held.iter().map(Vec::len).max().unwrap_or(1);
        let pool = PinnedPool::reserve(device, held.len(), longest)?;
        let no_block = || CudaError { call: "PinnedPool::take", status: 2 };
        let mut memory = Vec::new();
        for bytes in &held {
            let taken = Memory::take(device, bytes.len())?;
            let mut block = pool.take().ok_or_else(no_block)?;
            block[..bytes.len()].copy_from_slice(bytes);
            // Dropping a transfer waits for it.
            drop(stream.upload(block, &taken, bytes.len())?);
            memory.push(taken);
        }
        self.queue(&stream, &check.launch, &memory.iter().map(Piece::whole).collect::<Vec<_>>())?;
        let mut found = Vec::new();
        for (memory, bytes) in memory.iter().zip(&held) {
            let transfer = stream.download(memory, 0, bytes.len(), pool.take().ok_or_else(no_block)?)?;
            stream.synchronise()?;
            if let Ok((block, _took)) = transfer.poll()? {
                found.push(HostBuffer::of(&block[..bytes.len()]));
            }
        }
        Ok(check.judge(&found)?)
    }
}

/// The addresses of the pieces, if their number and lengths fit the launch and no written one overlaps another.
fn addresses(launch: &Launch, pieces: &[Piece<'_>]) -> Result<Vec<u64>, SizeError> {
    let (wanted, buffers) = (launch.bytes(), launch.kernel().buffers);
    let ranges: Vec<_> = pieces.iter().filter_map(Piece::range).collect();
    let is_long = |((start, end), wanted): (&(u64, u64), &usize)| end - start >= *wanted as u64;
    let are_long = ranges.len() == wanted.len() && ranges.iter().zip(wanted).all(is_long);
    let overlaps = |a: usize, b: usize| a != b && ranges[a].0 < ranges[b].1 && ranges[b].0 < ranges[a].1;
    let is_free = |at: usize| !buffers[at].is_written || !(0..ranges.len()).any(|other| overlaps(at, other));
    if are_long && (0..ranges.len()).all(is_free) {
        return Ok(ranges.into_iter().map(|(start, _)| start).collect());
    }
    let found = pieces.iter().map(|piece| piece.bytes).collect::<Vec<_>>();
    let found = format!("{found:?} bytes for {wanted:?}");
    Err(SizeError { wanted: "memory of the sizes of the launch, written pieces without overlap", found })
}
