//! The sessions' side of a graph on the GPU: names, types and shapes are checked, inputs packed, commands sent.
//!
//! Decides when a step is refused. Calls no driver.

use std::sync::Arc;

use super::super::{BackendError, Graph, Health, Lengths, Signature, Slot, Value};
use super::command::{DeviceCommand, SetName, StepCommand, Work};
use super::command_queue::CommandSender;
use super::device_tensor::DeviceTensor;
use super::loaded::{LoadedGraph, SlotLease};
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
        self.commands.status.check_ready()?;
        Ok(Box::new(GpuSlot { graph: self.clone(), lease: self.loaded.node.take_slot()? }))
    }
}

/// One session's slot.
struct GpuSlot {
    graph: GpuGraph,
    lease: SlotLease,
}

impl Slot for GpuSlot {
    fn submit(&mut self, inputs: &[(&str, &Value)], outputs: &[&str]) -> Result<Vec<Value>, BackendError> {
        let (loaded, commands) = (&self.graph.loaded, &self.graph.commands);
        let wanted = outputs.iter().map(|name| self.output(name)).collect::<Result<Vec<_>, _>>()?;
        let lengths = self.lengths(inputs)?;
        let (set, held) = self.lease.next_set()?;
        let ordered = loaded.signature.inputs.iter().map(|input| {
            let given = inputs.iter().find(|(name, _)| *name == input.name);
            given.map(|(_, value)| *value)
        });
        let generation = self.lease.generation;
        let packer = Packer { node: &loaded.node, commands, generation };
        let packed = packer.pack(&ordered.collect::<Vec<_>>())?;
        let values = wanted.into_iter().map(|at| self.value((set, held), at, &lengths)).collect();
        let (work, inputs, upload) = (Work::Graph(lengths), packed.sources, packed.upload);
        let command = StepCommand { generation, set, work, inputs, upload };
        commands.send(DeviceCommand::Step(command))?;
        self.lease.advance();
        values
    }
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

    fn value(&self, (set, held): (SetName, &Arc<()>), at: usize, lengths: &Lengths) -> Result<Value, BackendError> {
        let output = &self.graph.loaded.signature.outputs[at];
        let unknown_axis = || BackendError::Run { found: format!("an axis of \"{}\" is unknown", output.name) };
        let shape = output.shape_for(lengths).ok_or_else(unknown_axis)?;
        let tensor = DeviceTensor {
            node: Arc::clone(&self.graph.loaded.node),
            commands: self.graph.commands.clone(),
            generation: self.lease.generation,
            set,
            at: self.graph.loaded.outputs.at[at],
            _held: Arc::clone(held),
        };
        Ok(Value::on_device(output.dtype, shape, Box::new(tensor)))
    }
}
