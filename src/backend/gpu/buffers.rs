//! The buffer sets of a node: device memory for each slot, with the events that order its use.
//!
//! Decides nothing: [`super::streams::Streams`] records and waits.

use std::time::Duration;

use visage_kernels::cuda::{CudaError, Device, Event, Memory, PinnedPool};

use super::super::BackendError;
use super::command::SetName;

/// The buffers of one step.
#[derive(Debug)]
pub struct BufferSet {
    /// What was uploaded for the step.
    pub inputs: Memory,
    /// What it wrote.
    pub outputs: Memory,
    /// The step begins to read its inputs.
    pub started: Event,
    /// The step has read `inputs` and written `outputs`.
    pub finished: Event,
    /// All downloads of `outputs` so far are done.
    pub downloaded: Event,
    /// How long the upload of its inputs took.
    pub upload_time: Option<Duration>,
    /// Why `outputs` holds nothing useful.
    pub failed: Option<BackendError>,
    /// The numbers of the run and the download that `finished` and `downloaded` stand for, from one; zero before the first.
    pub last_run: u64,
    pub last_download: u64,
}

impl BufferSet {
    fn new(device: &Device, (inputs, outputs): (usize, usize)) -> Result<Self, CudaError> {
        Ok(Self {
            inputs: Memory::take(device, inputs)?,
            outputs: Memory::take(device, outputs)?,
            started: Event::new(device)?,
            finished: Event::new(device)?,
            downloaded: Event::new(device)?,
            upload_time: None,
            failed: None,
            last_run: 0,
            last_download: 0,
        })
    }
}

/// What to reserve for a node.
#[derive(Clone, Copy, Debug)]
pub struct Reservation {
    pub slots: usize,
    pub sets: usize,
    pub input_bytes: usize,
    pub output_bytes: usize,
    /// Pinned buffers, and the longest download.
    pub pinned_buffers: usize,
    pub longest_download: usize,
}

/// The buffer sets of all slots of a node.
#[derive(Debug)]
pub struct Buffers(Vec<Vec<BufferSet>>);

impl Buffers {
    /// Reserves device memory and pinned memory.
    pub fn reserve(device: &Device, wanted: Reservation) -> Result<(Self, PinnedPool), CudaError> {
        let sizes = (wanted.input_bytes, wanted.output_bytes);
        let slot = |_| (0..wanted.sets).map(|_| BufferSet::new(device, sizes)).collect::<Result<Vec<_>, _>>();
        let slots = (0..wanted.slots).map(slot).collect::<Result<_, _>>()?;
        let pinned_bytes = wanted.input_bytes.max(wanted.longest_download);
        Ok((Self(slots), PinnedPool::reserve(device, wanted.pinned_buffers, pinned_bytes)?))
    }

    pub fn set(&self, name: SetName) -> &BufferSet {
        &self.0[name.slot][name.set]
    }

    pub fn set_mut(&mut self, name: SetName) -> &mut BufferSet {
        &mut self.0[name.slot][name.set]
    }
}
