//! The kernels on a card: loaded once for the device, queued on streams.
//!
//! Decides that an order reaches a card only over memory that is long enough for it. Does not wait, and does not know whose turn
//! it is: events order streams.

use std::collections::BTreeMap;
use std::ffi::CString;

use thiserror::Error;

use crate::cuda::{Argument, CudaError, Device, Function, Grid, Memory, Module, PinnedPool, Stream};
use crate::nvrtc::Cubin;
use crate::reference::check::{Check, Verdict};
use crate::reference::{HostBuffer, Launch, Number, SizeError, kernels};

/// The kernels, ready to be queued.
#[derive(Debug)]
pub struct Kernels {
    functions: BTreeMap<&'static str, Function>,
}

/// Why a kernel was not queued.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LaunchError {
    /// It is in none of the cubins that were loaded.
    #[error("wanted the kernel {name}, found none of that name in what was loaded")]
    Unknown {
        /// Which.
        name: &'static str,
    },
    /// The memory is not what the order is over.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// The driver refused.
    #[error(transparent)]
    Cuda(#[from] CudaError),
}

impl From<Number> for Argument {
    fn from(number: Number) -> Self {
        match number {
            Number::U32(value) => Self::U32(value),
            Number::I32(value) => Self::I32(value),
            Number::F32(value) => Self::F32(value),
        }
    }
}

impl Kernels {
    /// Loads what was compiled for this device, which is current.
    ///
    /// # Errors
    /// If it was compiled for another, lacks a kernel, or the driver refuses.
    pub fn load(device: &Device, cubins: &[Cubin]) -> Result<Self, LaunchError> {
        let mut functions = BTreeMap::new();
        for cubin in cubins {
            // SAFETY: a cubin was compiled just now, or held to its digest and found to be whole, or is trusted.
            let module = unsafe { Module::load(device, cubin.bytes()) }?;
            for kernel in kernels().filter(|kernel| kernel.source == cubin.source()) {
                let name = CString::new(kernel.name).map_err(|_zero| LaunchError::Unknown { name: kernel.name })?;
                functions.insert(kernel.name, module.function(&name)?);
            }
        }
        Ok(Self { functions })
    }

    /// Queues an order over pieces of the device's memory, in the order of the kernel's arguments.
    ///
    /// # Errors
    /// If the kernel was not loaded, a piece is too short, or as the driver says.
    pub fn queue(&self, stream: &Stream, order: &Launch, memory: &[&Memory]) -> Result<(), LaunchError> {
        let name = order.kernel().name;
        let function = self.functions.get(name).ok_or(LaunchError::Unknown { name })?;
        fits(order.bytes(), memory)?;
        let addresses = memory.iter().map(|memory| Argument::Address(memory.address()));
        let arguments: Vec<Argument> =
            addresses.chain(order.numbers().iter().map(|number| Argument::from(*number))).collect();
        let [blocks, threads] = order.grid();
        // SAFETY: the order was made by the kernel's own description, so that its arguments are these and reach no further than
        // it says; the memory is as long, and the driver frees none that queued work uses.
        unsafe { function.launch(stream, Grid { blocks, threads }, &arguments) }?;
        Ok(())
    }

    /// Runs a trial and says how far the card was from the twin, buffer by buffer. Waits for it.
    ///
    /// # Errors
    /// As [`Kernels::queue`].
    pub fn attempt(&self, device: &Device, trial: &Check) -> Result<Vec<Verdict>, LaunchError> {
        let stream = Stream::new(device)?;
        let held: Vec<Vec<u8>> = trial.buffers.iter().map(HostBuffer::to_bytes).collect();
        let longest = held.iter().map(Vec::len).max().unwrap_or(1);
        let pool = PinnedPool::reserve(device, held.len(), longest)?;
        let mut memory = Vec::new();
        for bytes in &held {
            let taken = Memory::take(device, bytes.len())?;
            let mut block = pool.take().ok_or(CudaError { call: "PinnedPool::take", status: 2 })?;
            block[..bytes.len()].copy_from_slice(bytes);
            // A flight that is dropped has landed.
            drop(stream.copy_up(block, &taken, bytes.len())?);
            memory.push(taken);
        }
        self.queue(&stream, &trial.order, &memory.iter().collect::<Vec<_>>())?;
        let mut found = Vec::new();
        for (memory, bytes) in memory.iter().zip(&held) {
            let block = pool.take().ok_or(CudaError { call: "PinnedPool::take", status: 2 })?;
            let flight = stream.copy_down(memory, 0, bytes.len(), block)?;
            stream.synchronise()?;
            if let Ok((block, _took)) = flight.land()? {
                found.push(HostBuffer::of(&block[..bytes.len()]));
            }
        }
        Ok(trial.judge(&found)?)
    }
}

/// Whether pieces are as many and as long as an order wants, and none is given twice.
fn fits(wanted: &[usize], memory: &[&Memory]) -> Result<(), SizeError> {
    let are_long = memory.len() == wanted.len() && memory.iter().zip(wanted).all(|(has, wants)| has.bytes() >= *wants);
    let is_twice = |at: usize| memory[..at].iter().any(|other| other.address() == memory[at].address());
    if are_long && !(0..memory.len()).any(is_twice) {
        return Ok(());
    }
    let found = memory.iter().map(|memory| memory.bytes()).collect::<Vec<_>>();
    let found = format!("{found:?} bytes for {wanted:?}");
    Err(SizeError { wanted: "pieces of memory as long as the order says, each given once", found })
}
