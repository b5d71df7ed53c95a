//! Packing of a step's inputs: host tensors are packed into one pinned buffer, device tensors stay in place.
//!
//! Decides which inputs are refused: those of another device, of an earlier context, or being downloaded.

use visage_kernels::cuda::Pinned;

use super::super::value::Placement;
use super::super::{BackendError, Tensor, Value};
use super::command::InputSource;
use super::command_queue::CommandSender;
use super::device_tensor::DeviceTensor;
use super::loaded::{Node, aligned, context_lost};

/// The inputs of a step: where each comes from, and what is uploaded for it with its length in bytes.
#[derive(Debug)]
pub struct Packed {
    pub sources: Vec<Option<InputSource>>,
    pub upload: Option<(Pinned, usize)>,
}

/// A session's place on the device, as far as packing needs it.
pub struct Packer<'a> {
    pub node: &'a Node,
    pub commands: &'a CommandSender,
    pub generation: u64,
}

impl Packer<'_> {
    /// Packs the inputs of a step.
    ///
    /// Host tensors go into one pinned buffer, one behind the other, each aligned: one upload for each step, whatever the
    /// number of its inputs. For inputs of 12 bytes on the host, on the device and of 8 bytes on the host, the sources are
    /// `Pinned { at: 0 }`, `Device { .. }`, `Pinned { at: 256 }`, and 264 bytes are uploaded. No pinned buffer is taken if
    /// nothing is on the host.
    ///
    /// # Errors
    /// If an input is not usable, or all pinned buffers are in use.
    pub fn pack<'v>(&self, values: &[Option<&'v Value>]) -> Result<Packed, BackendError> {
        let mut end = 0;
        let mut tensors: Vec<(usize, &'v Tensor)> = Vec::new();
        let mut source = |value: &'v Value| {
            Ok(match value.placement() {
                Placement::Host(tensor) => {
                    let at = aligned(end);
                    end = at + tensor.bytes();
                    tensors.push((at, tensor));
                    InputSource::Pinned { at }
                }
                Placement::Device(value) => self.in_place(value.as_any().downcast_ref())?,
                Placement::Downloading(_) => return Err(refused("an input is being downloaded")),
            })
        };
        let sources = values.iter().map(|value| value.map(&mut source).transpose()).collect::<Result<_, _>>()?;
        let upload = (!tensors.is_empty()).then(|| self.write(&tensors)).transpose()?;
        Ok(Packed { sources, upload: upload.map(|pinned| (pinned, end)) })
    }

    fn in_place(&self, tensor: Option<&DeviceTensor>) -> Result<InputSource, BackendError> {
        match tensor {
            Some(tensor) if !tensor.is_on(self.commands) => Err(refused("an input is on another GPU")),
            Some(tensor) if tensor.generation == self.generation => {
                Ok(InputSource::Device { set: tensor.set, at: tensor.at })
            }
            Some(_) => Err(context_lost()),
            None => Err(refused("an input belongs to another backend")),
        }
    }

    fn write(&self, tensors: &[(usize, &Tensor)]) -> Result<Pinned, BackendError> {
        let mut pinned = self.node.pinned(self.generation)?;
        for (at, tensor) in tensors {
            let too_long = || refused("the inputs are longer than the reserved memory");
            tensor.write_to(pinned.get_mut(*at..at + tensor.bytes()).ok_or_else(too_long)?);
        }
        Ok(pinned)
    }
}

fn refused(found: &str) -> BackendError {
    BackendError::Run { found: found.to_owned() }
}
