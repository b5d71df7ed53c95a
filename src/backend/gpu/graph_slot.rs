//! The sessions' side of a graph on the GPU: names, types and shapes are checked, inputs packed, commands sent.
//!
//! Decides when a step is refused. Calls no driver.

use std::sync::Arc;

use super::super::{BackendError, Graph, Health, Lengths, Signature, Slot, Value};
use super::command::{DeviceCommand, SetName, StepCommand, Work};
use super::command_queue::CommandSender;
use super::device_tensor::{DeviceTensor, Owner};
use super::loaded::{LoadedGraph, context_lost};
use super::packing::Packer;
use crate::backend::cpu::unknown;
use crate::gpu_load::DeviceCounts;

/// A loaded graph, for sessions.
#[derive(Clone, Debug)]
pub struct GpuGraph {
    pub loaded: Arc<LoadedGraph>,
    pub commands: CommandSender,
}

impl Graph for GpuGraph {
    fn signature(&self) -> &Signature {
        &self.loaded.signature
    }

    fn health(&self) -> Health {
        self.commands.status.health()
    }

    fn work(&self) -> Option<DeviceCounts> {
        Some(self.commands.status.work())
    }

    fn slot(&self) -> Result<Box<dyn Slot>, BackendError> {
        accepts_sessions(&self.commands)?;
        let generation = self.loaded.node.generation().ok_or_else(context_lost)?;
        let (slot, held) = self.loaded.node.take_slot()?;
        Ok(Box::new(GpuSlot { graph: self.clone(), generation, slot, held, next: 0 }))
    }
}

/// Fails with the reason if the device does not accept sessions now.
pub fn accepts_sessions(commands: &CommandSender) -> Result<(), BackendError> {
    match commands.status.health() {
        Health::Ready => Ok(()),
        Health::Recovering { found } | Health::Lost { found } => Err(BackendError::Device { found }),
    }
}

/// One session's slot.
struct GpuSlot {
    graph: GpuGraph,
    generation: u64,
    slot: usize,
    held: Vec<Arc<()>>,
    /// The buffer set of the next step.
    next: usize,
}

impl Drop for GpuSlot {
    fn drop(&mut self) {
        self.graph.loaded.node.release_slot(self.slot);
    }
}

impl Slot for GpuSlot {
    fn submit(&mut self, inputs: &[(&str, &Value)], outputs: &[&str]) -> Result<Vec<Value>, BackendError> {
        let (loaded, commands) = (&self.graph.loaded, &self.graph.commands);
        let wanted = outputs.iter().map(|name| self.output(name)).collect::<Result<Vec<_>, _>>()?;
        let lengths = self.lengths(inputs)?;
        if loaded.node.generation() != Some(self.generation) {
            return Err(context_lost());
        }
        check_free(&self.held[self.next])?;
        let set = SetName { node: loaded.node.number, slot: self.slot, set: self.next };
        let ordered = loaded.signature.inputs.iter().map(|input| {
            let given = inputs.iter().find(|(name, _)| *name == input.name);
            given.map(|(_, value)| *value)
        });
        let packer = Packer { node: &loaded.node, commands, generation: self.generation };
        let packed = packer.pack(&ordered.collect::<Vec<_>>())?;
        let values = wanted.into_iter().map(|at| self.value(set, at, &lengths)).collect();
        let (work, inputs, upload) = (Work::Graph(lengths), packed.sources, packed.upload);
        let command = StepCommand { generation: self.generation, set, work, inputs, upload };
        commands.send(DeviceCommand::Step(command))?;
        self.next = (self.next + 1) % self.held.len();
        values
    }
}

/// Whether no output of a buffer set is held. The slot and the table of slots hold its token: a third is an output.
pub fn check_free(held: &Arc<()>) -> Result<(), BackendError> {
    if Arc::strong_count(held) > 2 {
        return Err(BackendError::Busy { found: "the outputs of an earlier step are still held" });
    }
    Ok(())
}

impl GpuSlot {
    fn output(&self, name: &str) -> Result<usize, BackendError> {
        let outputs = &self.graph.loaded.signature.outputs;
        let found = outputs.iter().position(|output| output.name == name);
        found.ok_or_else(|| unknown(name, outputs.iter().map(|output| output.name.as_str())))
    }

    /// The lengths of the free axes, if the inputs fit the graph and its limits.
    fn lengths(&self, inputs: &[(&str, &Value)]) -> Result<Lengths, BackendError> {
        let loaded = &self.graph.loaded;
        let is_known = |name: &str| loaded.signature.inputs.iter().any(|input| input.name == name);
        if let Some((name, _)) = inputs.iter().find(|(name, _)| !is_known(name)) {
            return Err(unknown(name, loaded.signature.inputs.iter().map(|input| input.name.as_str())));
        }
        let given: Vec<_> = inputs.iter().map(|(name, value)| (*name, value.dtype(), value.shape())).collect();
        let failed = |error: visage_engines::onnx::SignatureError| BackendError::Run { found: error.to_string() };
        let lengths = loaded.signature.lengths(&given).map_err(failed)?;
        loaded.check(&lengths)?;
        Ok(lengths)
    }

    fn value(&self, set: SetName, at: usize, lengths: &Lengths) -> Result<Value, BackendError> {
        let output = &self.graph.loaded.signature.outputs[at];
        let unknown_axis = || BackendError::Run { found: format!("an axis of \"{}\" is unknown", output.name) };
        let shape = output.shape_for(lengths).ok_or_else(unknown_axis)?;
        let tensor = DeviceTensor {
            owner: Owner::Graph(self.graph.clone()),
            generation: self.generation,
            set,
            at: self.graph.loaded.outputs.at[at],
            _held: Arc::clone(&self.held[set.set]),
        };
        Ok(Value::on_device(output.dtype, shape, Box::new(tensor)))
    }
}
