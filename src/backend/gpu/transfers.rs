//! Copies between host and device in flight.
//!
//! Decides when a copy is done and who gets it. Copies in one direction complete in the order they were queued.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;

use visage_kernels::cuda::{CudaError, Pinned, Transfer};

use super::super::BackendError;
use super::buffers::BufferSet;
use super::command::{Reply, SetName, StepCommand};
use super::device_context::reason;
use super::nodes::Nodes;
use super::streams::Streams;
use crate::telemetry::StepTimes;

/// The receiver of a download.
pub type Waiter = SyncSender<Reply<(Pinned, StepTimes)>>;

/// The copies in flight.
#[derive(Default)]
pub struct Transfers {
    uploads: VecDeque<(Transfer, SetName)>,
    downloads: VecDeque<(Transfer, SetName, Waiter)>,
}

impl Transfers {
    /// Whether there are any.
    pub fn is_busy(&self) -> bool {
        !self.uploads.is_empty() || !self.downloads.is_empty()
    }

    /// The upload queued last.
    pub fn last_upload(&self) -> Option<&Transfer> {
        self.uploads.back().map(|(transfer, _)| transfer)
    }

    /// Queues the upload of a step's inputs, behind the run that last read its buffer set.
    pub fn upload(
        &mut self,
        streams: &mut Streams,
        nodes: &mut Nodes,
        member: &mut StepCommand,
    ) -> Result<(), CudaError> {
        let set = nodes.set_mut(member.set);
        // The time of an earlier step must not be reported for this one.
        set.upload_time = None;
        let Some((pinned, bytes)) = member.upload.take() else { return Ok(()) };
        streams.order_upload(set)?;
        let transfer = streams.upload.upload(pinned, &set.inputs, bytes)?;
        self.uploads.push_back((transfer, member.set));
        Ok(())
    }

    /// Records the receiver of a queued download.
    pub fn push_download(&mut self, transfer: Transfer, set: SetName, waiter: Waiter) {
        self.downloads.push_back((transfer, set, waiter));
    }

    /// Replies with completed downloads, up to the first that is not done.
    pub fn poll(&mut self, nodes: &mut Nodes) -> Result<(), CudaError> {
        self.poll_uploads(nodes)?;
        while let Some((transfer, set, waiter)) = self.downloads.pop_front() {
            let polled = transfer.poll().and_then(|polled| {
                // Its step's upload was done before it ran, but perhaps not yet when uploads were polled above.
                if polled.is_ok() {
                    self.poll_uploads(nodes)?;
                }
                Ok(polled)
            });
            match polled {
                Ok(Ok((pinned, took))) => {
                    let BufferSet { started, finished, upload_time, .. } = nodes.set(set);
                    let times = StepTimes { up: *upload_time, run: finished.since(started).ok(), down: Some(took) };
                    let _dropped_by_its_session = waiter.send(Ok((pinned, times)));
                }
                Ok(Err(transfer)) => {
                    self.downloads.push_front((transfer, set, waiter));
                    break;
                }
                Err(error) => {
                    let _dropped_by_its_session = waiter.send(Err(reason(&error.clone().into())));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn poll_uploads(&mut self, nodes: &mut Nodes) -> Result<(), CudaError> {
        while let Some((transfer, set)) = self.uploads.pop_front() {
            match transfer.poll()? {
                Ok((_pinned, took)) => nodes.set_mut(set).upload_time = Some(took),
                Err(transfer) => {
                    self.uploads.push_front((transfer, set));
                    break;
                }
            }
        }
        Ok(())
    }

    /// Notifies every waiter that the device is lost.
    pub fn fail(&self, found: &str) {
        for (_, _, waiter) in &self.downloads {
            let _dropped_by_its_session = waiter.send(Err(BackendError::Device { found: found.to_owned() }));
        }
    }
}
