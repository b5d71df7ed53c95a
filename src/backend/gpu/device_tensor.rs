//! Values in device memory, and their download.
//!
//! Decides that a buffer set stays in use while one of its outputs is held.

use std::any::Any;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use visage_kernels::cuda::Pinned;

use super::super::value::{DeviceValue, PendingDownload};
use super::super::{BackendError, DType, Tensor};
use super::command::{DeviceCommand, DownloadCommand, Reply, SetName};
use super::command_queue::{CommandSender, closed};
use super::loaded::Node;
use crate::telemetry::StepTimes;

/// An output in device memory. While it is held, its buffer set is not used for another step.
#[derive(Clone, Debug)]
pub struct DeviceTensor {
    /// The graph or kernel that wrote it, for pinned memory.
    pub node: Arc<Node>,
    pub commands: CommandSender,
    pub generation: u64,
    pub set: SetName,
    /// Where it begins in the set's outputs, in bytes.
    pub at: usize,
    pub _held: Arc<()>,
}

impl DeviceTensor {
    /// Whether it belongs to the device that commands go to.
    pub fn is_on(&self, commands: &CommandSender) -> bool {
        self.commands.is(commands)
    }
}

impl DeviceValue for DeviceTensor {
    /// The set is free once the command is sent: later commands execute after it.
    fn download(&self, dtype: DType, shape: &[usize]) -> Result<Box<dyn PendingDownload>, BackendError> {
        let pinned = self.node.pinned(self.generation)?;
        let bytes = shape.iter().product::<usize>() * dtype.bytes();
        let (reply, arrival) = sync_channel(1);
        let (generation, set, at) = (self.generation, self.set, self.at);
        let command = DownloadCommand { generation, set, at, bytes, pinned, reply };
        self.commands.send(DeviceCommand::Download(command))?;
        Ok(Box::new(Downloading { arrival, arrived: None, dtype, shape: shape.to_vec() }))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// An output being downloaded.
#[derive(Debug)]
struct Downloading {
    arrival: Receiver<Reply<(Pinned, StepTimes)>>,
    arrived: Option<Reply<(Pinned, StepTimes)>>,
    dtype: DType,
    shape: Vec<usize>,
}

impl PendingDownload for Downloading {
    fn is_ready(&mut self) -> bool {
        if self.arrived.is_none() {
            self.arrived = match self.arrival.try_recv() {
                Ok(arrived) => Some(arrived),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => Some(Err(closed())),
            };
        }
        self.arrived.is_some()
    }

    fn take(self: Box<Self>) -> Result<(Tensor, StepTimes), BackendError> {
        let arrived = self.arrived.unwrap_or_else(|| self.arrival.recv().unwrap_or_else(|_ended| Err(closed())));
        let (pinned, times) = arrived?;
        let short = || BackendError::Run { found: format!("fewer bytes than {:?} has", self.shape) };
        Ok((Tensor::from_bytes(self.dtype, &self.shape, &pinned).ok_or_else(short)?, times))
    }
}
