//! The sessions' side of a kernel on the GPU.
//!
//! Decides when a launch is refused. Calls no driver.

use std::sync::Arc;

use super::super::{BackendError, Kernel, KernelSlot, Launch, Value, check_launch};
use super::command::{DeviceCommand, SetName, StepCommand, Work};
use super::command_queue::CommandSender;
use super::device_tensor::{DeviceTensor, Owner};
use super::graph_slot::{accepts_sessions, check_free};
use super::loaded::{LoadedKernel, context_lost};
use super::packing::Packer;

/// A loaded kernel, for sessions.
#[derive(Clone, Debug)]
pub struct GpuKernel {
    pub loaded: Arc<LoadedKernel>,
    pub commands: CommandSender,
}

impl Kernel for GpuKernel {
    fn slot(&self) -> Result<Box<dyn KernelSlot>, BackendError> {
        accepts_sessions(&self.commands)?;
        let generation = self.loaded.node.generation().ok_or_else(context_lost)?;
        let (slot, held) = self.loaded.node.take_slot()?;
        Ok(Box::new(GpuKernelSlot { kernel: self.clone(), generation, slot, held, next: 0 }))
    }
}

/// One session's slot.
struct GpuKernelSlot {
    kernel: GpuKernel,
    generation: u64,
    slot: usize,
    held: Vec<Arc<()>>,
    /// The buffer set of the next launch.
    next: usize,
}

impl Drop for GpuKernelSlot {
    fn drop(&mut self) {
        self.kernel.loaded.node.release_slot(self.slot);
    }
}

impl KernelSlot for GpuKernelSlot {
    fn submit(&mut self, launch: &Launch, buffers: &[Option<&Value>]) -> Result<Vec<Value>, BackendError> {
        let (loaded, commands) = (&self.kernel.loaded, &self.kernel.commands);
        check_launch(&loaded.spec, launch, buffers)?;
        if loaded.node.generation() != Some(self.generation) {
            return Err(context_lost());
        }
        check_free(&self.held[self.next])?;
        let set = SetName { node: loaded.node.number, slot: self.slot, set: self.next };
        let packer = Packer { node: &loaded.node, commands, generation: self.generation };
        let packed = packer.pack(buffers)?;
        let (work, inputs, upload) = (Work::Kernel(launch.clone()), packed.sources, packed.upload);
        let command = StepCommand { generation: self.generation, set, work, inputs, upload };
        commands.send(DeviceCommand::Step(command))?;
        self.next = (self.next + 1) % self.held.len();
        Ok(self.values(set, launch))
    }
}

impl GpuKernelSlot {
    /// The written buffers, as vectors.
    fn values(&self, set: SetName, launch: &Launch) -> Vec<Value> {
        let buffers = launch.kernel().buffers.iter().zip(launch.bytes());
        let written = buffers.filter(|(buffer, _)| buffer.is_written).zip(&self.kernel.loaded.outputs.at);
        let value = |((buffer, bytes), at): ((&visage_kernels::reference::KernelBuffer, &usize), &usize)| {
            let tensor = DeviceTensor {
                owner: Owner::Kernel(self.kernel.clone()),
                generation: self.generation,
                set,
                at: *at,
                _held: Arc::clone(&self.held[set.set]),
            };
            Value::on_device(buffer.dtype, vec![bytes / buffer.dtype.bytes()], Box::new(tensor))
        };
        written.map(value).collect()
    }
}
