//! State of a loaded graph or kernel that sessions and the device thread share: slots, pinned memory, shapes, buffer layout.
//!
//! Decides who gets a slot and a pinned buffer, and the positions of tensors in a buffer set. Sends no command and calls no driver.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use visage_kernels::cuda::{AxisRange, Pinned, PinnedPool};

use super::super::{Axis, BackendError, KernelSpec, Lengths, Signature, TensorInfo};
use super::command::SetName;

/// Alignment of tensors in a buffer set: what `cuMemAlloc` guarantees, and more than any kernel's vector loads need.
pub const ALIGNMENT_BYTES: usize = 256;
/// Buffer sets of a graph's slot: one is filled while the other is used.
pub const GRAPH_SETS: usize = 2;

/// Slots and pinned memory of a node: a loaded graph or kernel.
#[derive(Debug)]
pub struct Node {
    /// Its number among all nodes of the device.
    pub number: usize,
    pub name: String,
    slots: Mutex<Vec<SlotState>>,
    /// Pinned memory, and the generation of the context that it belongs to. `None` while there is no context.
    pinned: Mutex<Option<(u64, PinnedPool)>>,
}

/// A slot: whether a session has it, and for each buffer set a token that its outputs hold.
#[derive(Clone, Debug, Default)]
struct SlotState {
    is_taken: bool,
    held: Vec<Arc<()>>,
}

impl Node {
    fn new(number: usize, name: String, (slots, sets): (usize, usize)) -> Self {
        let slot = || SlotState { is_taken: false, held: (0..sets).map(|_| Arc::default()).collect() };
        let slots = (0..slots).map(|_| slot()).collect();
        Self { number, name, slots: Mutex::new(slots), pinned: Mutex::new(None) }
    }

    /// Sets the pinned memory and its generation, or that there is none.
    pub fn set_pinned(&self, pinned: Option<(u64, PinnedPool)>) {
        *self.pinned.lock().unwrap_or_else(PoisonError::into_inner) = pinned;
    }

    /// Whether no session has a slot.
    pub fn is_unused(&self) -> bool {
        !self.slots.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|slot| slot.is_taken)
    }

    /// A slot for a session.
    pub fn take_slot(self: &Arc<Self>) -> Result<SlotLease, BackendError> {
        let generation = self.generation().ok_or_else(context_lost)?;
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let full = || BackendError::Full { graph: self.name.clone(), slots: slots.len() };
        let slot = slots.iter().position(|slot| !slot.is_taken).ok_or_else(full)?;
        slots[slot].is_taken = true;
        let held = slots[slot].held.clone();
        Ok(SlotLease { node: Arc::clone(self), generation, slot, held, next: 0 })
    }

    /// The generation of the context that its memory belongs to.
    pub fn generation(&self) -> Option<u64> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(generation, _)| *generation)
    }

    /// A free pinned buffer, for a slot of that generation.
    pub fn pinned(&self, generation: u64) -> Result<Pinned, BackendError> {
        let pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = pinned.as_ref().filter(|(current, _)| *current == generation).map(|(_, pool)| pool);
        let pool = pool.ok_or_else(context_lost)?;
        pool.take().ok_or(BackendError::Busy { found: "all pinned buffers are in use" })
    }
}

/// A session's slot on a node, free again when dropped, and which of its buffer sets the next step writes.
#[derive(Debug)]
pub struct SlotLease {
    node: Arc<Node>,
    /// The generation of the context that the slot's memory belongs to.
    pub generation: u64,
    slot: usize,
    held: Vec<Arc<()>>,
    next: usize,
}

impl SlotLease {
    /// The buffer set of the next step, with the token that each of its outputs must hold.
    ///
    /// # Errors
    /// If an output of the step before it in this set is still held, or the context was re-created.
    pub fn next_set(&self) -> Result<(SetName, &Arc<()>), BackendError> {
        if self.node.generation() != Some(self.generation) {
            return Err(context_lost());
        }
        let held = &self.held[self.next];
        // The lease and the table of slots hold the token: a third is an output.
        if Arc::strong_count(held) > 2 {
            return Err(BackendError::Busy { found: "the outputs of an earlier step are still held" });
        }
        Ok((SetName { node: self.node.number, slot: self.slot, set: self.next }, held))
    }

    /// The step that writes the set was submitted.
    pub fn advance(&mut self) {
        self.next = (self.next + 1) % self.held.len();
    }
}

impl Drop for SlotLease {
    fn drop(&mut self) {
        self.node.slots.lock().unwrap_or_else(PoisonError::into_inner)[self.slot].is_taken = false;
    }
}

/// A loaded graph.
#[derive(Debug)]
pub struct LoadedGraph {
    pub node: Arc<Node>,
    pub signature: Signature,
    /// The longest and the shortest length of each free axis that the engine takes. Memory is reserved for the longest.
    pub max: Lengths,
    min: Lengths,
    /// The axis along which steps of several sessions are batched: the first of every tensor.
    pub batch_axis: Option<String>,
    /// The most rows of a run that several steps share. One step alone may have more, up to `max`.
    pub shared_rows: usize,
    /// Where each output lies in a buffer set, and how long they are together.
    pub outputs: Layout,
}

impl LoadedGraph {
    pub fn new(
        number: usize,
        (name, slots): (String, usize),
        signature: Signature,
        ranges: &BTreeMap<String, AxisRange>,
        max_batch: usize,
    ) -> Result<Self, BackendError> {
        let batch_axis = batch_axis(&signature);
        let max: Lengths = ranges.iter().map(|(axis, range)| (axis.clone(), range.max)).collect();
        let min = ranges.iter().map(|(axis, range)| (axis.clone(), range.min)).collect();
        let size = |tensor: &TensorInfo| tensor.bytes_for(&max).ok_or_else(|| unbounded(tensor));
        signature.inputs.iter().try_for_each(|input| size(input).map(drop))?;
        let outputs = Layout::of(signature.outputs.iter().map(size).collect::<Result<Vec<_>, _>>()?);
        let longest = batch_axis.as_ref().and_then(|axis| max.get(axis)).copied().unwrap_or(1);
        let (node, shared_rows) =
            (Arc::new(Node::new(number, name, (slots, GRAPH_SETS))), longest.min(max_batch).max(1));
        Ok(Self { node, signature, max, min, batch_axis, shared_rows, outputs })
    }

    /// Bytes of all inputs at their longest, each aligned.
    pub fn input_bytes(&self) -> usize {
        self.signature.inputs.iter().filter_map(|input| input.bytes_for(&self.max)).map(aligned).sum()
    }

    /// How much of the batch axis a step takes; 1 without one.
    pub fn rows(&self, lengths: &Lengths) -> usize {
        self.batch_axis.as_ref().and_then(|axis| lengths.get(axis)).copied().unwrap_or(1)
    }

    /// Whether the graph takes these lengths.
    pub fn check(&self, lengths: &Lengths) -> Result<(), BackendError> {
        for (axis, length) in lengths {
            let (min, max) = (self.min.get(axis).copied().unwrap_or(1), self.max.get(axis).copied().unwrap_or(0));
            if !(min..=max).contains(length) {
                return Err(BackendError::Run { found: format!("wanted {min} to {max} {axis}, found {length}") });
            }
        }
        Ok(())
    }
}

/// The free axis that is the first of every tensor and appears nowhere else: steps may be batched along it.
fn batch_axis(signature: &Signature) -> Option<String> {
    let tensors = || signature.inputs.iter().chain(&signature.outputs);
    let Some(Axis::Free { name, times: 1 }) = signature.inputs.first()?.shape.first() else { return None };
    let is_it = |axis: &Axis| matches!(axis, Axis::Free { name: other, .. } if other == name);
    let leads = |tensor: &TensorInfo| {
        tensor.shape.first() == Some(&Axis::free(name)) && !tensor.shape.iter().skip(1).any(is_it)
    };
    tensors().all(leads).then(|| name.clone())
}

fn unbounded(tensor: &TensorInfo) -> BackendError {
    let found = format!(
        "\"{}\" of the shape {}: every free axis must be an input's, with a profile",
        tensor.name,
        tensor.shape_text()
    );
    BackendError::Load { backend: super::device_status::NAME, found }
}

/// A loaded kernel.
#[derive(Debug)]
pub struct LoadedKernel {
    pub node: Arc<Node>,
    pub spec: KernelSpec,
    /// Where each written buffer lies in a buffer set.
    pub outputs: Layout,
}

impl LoadedKernel {
    pub fn new(number: usize, slots: usize, spec: KernelSpec) -> Self {
        let kernel = spec.largest.kernel();
        let written = kernel.buffers.iter().zip(spec.largest.bytes()).filter(|(buffer, _)| buffer.is_written);
        let outputs = Layout::of(written.map(|(_, bytes)| *bytes).collect());
        let sets = spec.buffer_sets.max(1);
        let node = Arc::new(Node::new(number, kernel.name.to_owned(), (slots, sets)));
        Self { node, spec, outputs }
    }

    /// Bytes of everything that a step may upload, each buffer aligned.
    pub fn input_bytes(&self) -> usize {
        let is_constant = |at: usize| self.spec.constants.iter().any(|(constant, _)| *constant == at);
        let bytes = self.spec.largest.bytes().iter().enumerate();
        bytes.filter(|(at, _)| !is_constant(*at)).map(|(_, bytes)| aligned(*bytes)).sum()
    }
}

/// Where tensors lie behind each other, and how long they are.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    pub at: Vec<usize>,
    pub bytes: usize,
    /// The longest of them.
    pub largest: usize,
}

impl Layout {
    fn of(sizes: Vec<usize>) -> Self {
        let mut end = 0;
        let at = sizes.iter().map(|bytes| {
            let at = end;
            end += aligned(*bytes);
            at
        });
        Self { at: at.collect(), bytes: end, largest: sizes.into_iter().max().unwrap_or(0) }
    }
}

/// The length of a tensor with its padding.
pub fn aligned(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT_BYTES)
}

/// The error for a session of an earlier generation of the context.
pub fn context_lost() -> BackendError {
    BackendError::Device { found: "the session's memory is lost: the context is being re-created, or was".to_owned() }
}
