//! The sessions' side of a kernel on the GPU.
//!
//! Decides when a launch is refused. Calls no driver.

use std::sync::Arc;

use super::super::{BackendError, Kernel, KernelSlot, Launch, Value, check_launch};
use super::command::{DeviceCommand, SetName, StepCommand, Work};
use super::command_queue::CommandSender;
use super::device_tensor::DeviceTensor;
use super::loaded::{LoadedKernel, SlotLease};
use super::packing::Packer;

/// A loaded kernel, for sessions.
#[derive(Clone, Debug)]
pub struct GpuKernel {
    pub loaded: Arc<LoadedKernel>,
    pub commands: CommandSender,
}

impl Kernel for GpuKernel {
    fn slot(&self) -> Result<Box<dyn KernelSlot>, BackendError> {
        self.commands.status.check_ready()?;
        Ok(Box::new(GpuKernelSlot { kernel: self.clone(), lease: self.loaded.node.take_slot()? }))
    }
}

/// One session's slot.
struct GpuKernelSlot {
    kernel: GpuKernel,
    lease: SlotLease,
}

impl KernelSlot for GpuKernelSlot {
    fn submit(&mut self, launch: &Launch, buffers: &[Option<&Value>]) -> Result<Vec<Value>, BackendError> {
        let (loaded, commands) = (&self.kernel.loaded, &self.kernel.commands);
        check_launch(&loaded.spec, launch, buffers)?;
        let (set, held) = self.lease.next_set()?;
        let generation = self.lease.generation;
        let packer = Packer { node: &loaded.node, commands, generation };
        let packed = packer.pack(buffers)?;
        let (work, inputs, upload) = (Work::Kernel(launch.clone()), packed.sources, packed.upload);
        let command = StepCommand { generation, set, work, inputs, upload };
        let values = self.values((set, held), launch);
        commands.send(DeviceCommand::Step(command))?;
        self.lease.advance();
        Ok(values)
    }
}

impl GpuKernelSlot {
    /// The written buffers, as vectors.
    fn values(&self, (set, held): (SetName, &Arc<()>), launch: &Launch) -> Vec<Value> {
        let buffers = launch.kernel().buffers.iter().zip(launch.bytes());
        let written = buffers.filter(|(buffer, _)| buffer.is_written).zip(&self.kernel.loaded.outputs.at);
        let value = |((buffer, bytes), at): ((&visage_kernels::reference::KernelBuffer, &usize), &usize)| {
            let tensor = DeviceTensor {
                node: Arc::clone(&self.kernel.loaded.node),
                commands: self.kernel.commands.clone(),
                generation: self.lease.generation,
                set,
                at: *at,
                _held: Arc::clone(held),
            };
            Value::on_device(buffer.dtype, vec![bytes / buffer.dtype.bytes()], Box::new(tensor))
        };
        written.map(value).collect()
    }
}
