//! An open device: its streams, the graphs and kernels on it, and the copies in flight.
//!
//! Decides how steps are queued. The dependencies are the table in [`super::streams`].

use std::sync::Arc;

use visage_kernels::cuda::{CudaError, Device, Driver, Engine, EngineError, Pinned, PinnedPool, Transfer};
use visage_kernels::reference::Launch;
use visage_kernels::{Kernels, Piece};

use super::super::{BackendError, Lengths};
use super::buffers::{BufferSet, Buffers, Reservation};
use super::command::{DownloadCommand, InputSource, SetName, StepCommand, Work};
use super::device_status::{DeviceStatus, GpuConfig};
use super::graph_executor::{GraphExecutor, RunKind, batched, can_share};
use super::kernel_executor::{KernelExecutor, launch};
use super::loaded::{GRAPH_SETS, LoadedGraph, LoadedKernel};
use super::nodes::{Executor, Node, Nodes};
use super::streams::Streams;
use super::transfers::Transfers;

/// An open device. Copies in flight are dropped before the memory that they use.
pub struct DeviceContext {
    transfers: Transfers,
    nodes: Nodes,
    kernels: Option<Kernels>,
    streams: Streams,
    device: Device,
    /// Calls that must not happen in the loop, when the last node was set up.
    calls_at_start: u64,
}

impl DeviceContext {
    /// Opens the device.
    pub fn new(config: &GpuConfig) -> Result<Self, BackendError> {
        let failed = |error: &dyn std::fmt::Display| BackendError::Device { found: error.to_string() };
        let driver = Driver::open(&config.driver).map_err(|error| failed(&error))?;
        let device = Device::open(&driver, config.ordinal).map_err(|error| failed(&error))?;
        let streams = Streams::new(&device).map_err(|error| failed(&error))?;
        let (transfers, nodes) = (Transfers::default(), Nodes::default());
        Ok(Self { transfers, nodes, kernels: None, streams, device, calls_at_start: 0 })
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Reserves memory for a graph and captures its runs.
    pub fn add_graph(
        &mut self,
        engine: Box<dyn Engine>,
        loaded: Arc<LoadedGraph>,
        config: &GpuConfig,
    ) -> Result<PinnedPool, EngineError> {
        let wanted = Reservation {
            slots: config.slots,
            sets: GRAPH_SETS,
            input_bytes: loaded.input_bytes(),
            output_bytes: loaded.outputs.bytes,
            pinned_buffers: config.pinned_buffers,
            longest_download: loaded.outputs.largest,
        };
        let (buffers, pool) = Buffers::reserve(&self.device, wanted)?;
        let executor = GraphExecutor::new(&self.device, &self.streams.compute, engine, loaded)?;
        self.add(Node { executor: Executor::Graph(executor), buffers });
        Ok(pool)
    }

    /// Reserves memory for a kernel and uploads its constants. The first one loads all cubins.
    pub fn add_kernel(&mut self, loaded: Arc<LoadedKernel>, config: &GpuConfig) -> Result<PinnedPool, EngineError> {
        let name = loaded.spec.largest.kernel().name;
        let unfit = |found: String| EngineError::Unfit { graph: name.to_owned(), found };
        if self.kernels.is_none() {
            let kernels = Kernels::load(&self.device, &config.cubins).map_err(|error| unfit(error.to_string()))?;
            self.kernels = Some(kernels);
        }
        if !self.kernels.as_ref().is_some_and(|kernels| kernels.has(name)) {
            return Err(unfit("no cubin with it for this GPU; visage kernels build compiles them".to_owned()));
        }
        let transfers = loaded.spec.transfers;
        let wanted = Reservation {
            slots: config.slots,
            sets: loaded.spec.buffer_sets.max(1),
            input_bytes: loaded.input_bytes(),
            output_bytes: loaded.outputs.bytes,
            pinned_buffers: config.slots * transfers,
            longest_download: loaded.outputs.largest,
        };
        let (buffers, pool) = Buffers::reserve(&self.device, wanted)?;
        let executor = KernelExecutor::new(&self.device, &self.streams.upload, loaded)?;
        self.add(Node { executor: Executor::Kernel(executor), buffers });
        Ok(pool)
    }

    fn add(&mut self, node: Node) {
        self.nodes.0.push(node);
        self.calls_at_start = self.device.counts().total();
    }

    /// Calls of the driver since the last node was set up that must not happen in the loop: allocations and waits.
    pub fn calls_in_loop(&self) -> u64 {
        self.device.counts().total().saturating_sub(self.calls_at_start)
    }

    /// Makes the device current on this thread. A lost one reports so with the next call.
    pub fn enter(&self) {
        let _reported_by_the_next_call = self.device.enter();
    }

    /// Whether `next` may share a run with `members`: the same graph, room in the batch, another slot, and no input that a
    /// member writes.
    pub fn shares(&self, members: &[StepCommand], next: &StepCommand) -> bool {
        let Some(first) = members.first() else { return false };
        let Some(graph) = self.nodes.graph(first.set.node) else { return false };
        let (Work::Graph(lengths), Work::Graph(others)) = (&first.work, &next.work) else { return false };
        let is_of_a_member = |name: SetName| members.iter().any(|member| member.set == name);
        next.set.node == first.set.node
            && next.generation == first.generation
            && can_share(&graph.loaded, (lengths, others), members.iter().map(|member| rows(graph, member)).sum())
            && !next.reads().any(is_of_a_member)
            && !members.iter().any(|member| member.set.slot == next.set.slot)
    }

    /// Queues steps that share a run. If it fails, their buffer sets say so.
    pub fn submit(&mut self, mut members: Vec<StepCommand>, status: &DeviceStatus) -> Result<(), EngineError> {
        members.retain(|member| {
            let failed = member.reads().find_map(|set| self.nodes.set(set).failed.clone());
            self.nodes.set_mut(member.set).failed.clone_from(&failed);
            failed.is_none()
        });
        if members.is_empty() {
            return Ok(());
        }
        let queued = self.queue(&mut members, status);
        if let Err(error) = &queued {
            status.count(|work| work.failures += members.len() as u64);
            for member in &members {
                self.nodes.set_mut(member.set).failed = Some(reason(error));
            }
        }
        queued
    }

    /// Queues one run for `members`, on up to two streams.
    ///
    /// For two sessions of one row each, whose states are outputs of their earlier steps, this queues:
    ///
    /// ```text
    /// upload   wait(run that read set a)  x_a -> set a   wait(run that read set b)  x_b -> set b
    /// compute  wait(upload of x_b)  started a, set a -> I/O row 0, state a -> I/O row 0,  started b, ... I/O row 1
    ///          replay of the graph captured for two rows
    ///          wait(downloads from set a)  I/O row 0 -> set a,  wait(downloads from set b)  I/O row 1 -> set b
    ///          finished a, finished b
    /// ```
    ///
    /// One wait covers all uploads, because uploads are in order. `finished` is recorded last for all members: a set is not
    /// reused before the whole run is done.
    fn queue(&mut self, members: &mut [StepCommand], status: &DeviceStatus) -> Result<(), EngineError> {
        for member in members.iter_mut() {
            self.transfers.upload(&mut self.streams, &mut self.nodes, member)?;
        }
        let has_uploads = members.iter().any(|member| member.inputs.iter().flatten().any(is_uploaded));
        if let Some(last) = self.transfers.last_upload().filter(|_| has_uploads) {
            self.streams.order_inputs(last)?;
        }
        let kind = match &members[0].work {
            Work::Graph(lengths) => self.run_graph(members, &lengths.clone())?,
            Work::Kernel(launch) => self.run_kernel(&members[0], launch)?,
        };
        self.streams.next_run();
        for member in members.iter() {
            self.streams.mark_finished(self.nodes.set_mut(member.set))?;
        }
        status.count(|work| {
            work.steps += members.len() as u64;
            work.runs += u64::from(kind.is_some());
            work.replays += u64::from(kind == Some(RunKind::Replayed));
            work.kernels += u64::from(kind.is_none());
        });
        Ok(())
    }

    fn run_graph(&mut self, members: &[StepCommand], first: &Lengths) -> Result<Option<RunKind>, EngineError> {
        let (number, mut row) = (members[0].set.node, 0);
        let graph = self.nodes.graph(number).ok_or_else(|| not_a("graph"))?;
        for member in members {
            self.streams.compute.record(&self.nodes.set(member.set).started)?;
            self.copy_inputs(graph, member, row)?;
            row += rows(graph, member);
        }
        let lengths = batched(&graph.loaded, first, row);
        let graph = self.nodes.graph_mut(number).ok_or_else(|| not_a("graph"))?;
        let kind = graph.run(&self.streams.compute, &lengths)?;
        let graph = self.nodes.graph(number).ok_or_else(|| not_a("graph"))?;
        row = 0;
        for member in members {
            let set = self.nodes.set(member.set);
            self.streams.order_outputs(set)?;
            copy_outputs(&self.streams, (graph, set), member, row)?;
            row += rows(graph, member);
        }
        Ok(Some(kind))
    }

    /// From buffer sets to the graph's I/O buffers.
    fn copy_inputs(&self, graph: &GraphExecutor, member: &StepCommand, row: usize) -> Result<(), EngineError> {
        let Work::Graph(lengths) = &member.work else { return Err(not_a("graph")) };
        for (at, (input, source)) in graph.loaded.signature.inputs.iter().zip(&member.inputs).enumerate() {
            let Some(source) = source else { return Err(EngineError::Run { found: format!("no {}", input.name) }) };
            let bytes = input.bytes_for(lengths).unwrap_or(0);
            let from = self.nodes.memory(member.set, *source);
            self.streams.compute.copy_on_device(from, graph.input(at, lengths, row), bytes)?;
        }
        Ok(())
    }

    /// Queues a launch over the step's buffers: uploaded, left in place by earlier steps, or written now.
    fn run_kernel(&mut self, member: &StepCommand, wanted: &Launch) -> Result<Option<RunKind>, EngineError> {
        let kernel = self.nodes.kernel(member.set.node).ok_or_else(|| not_a("kernel"))?;
        let set = self.nodes.set(member.set);
        self.streams.compute.record(&set.started)?;
        self.streams.order_outputs(set)?;
        let (mut pieces, mut outputs) = (Vec::new(), kernel.loaded.outputs.at.iter());
        for (at, (buffer, bytes)) in wanted.kernel().buffers.iter().zip(wanted.bytes()).enumerate() {
            let source = member.inputs.get(at).copied().flatten().map(|source| self.nodes.memory(member.set, source));
            let written = buffer.is_written.then(|| outputs.next()).flatten();
            let piece = match (written, source) {
                (Some(to), source) => {
                    let to = (&set.outputs, *to);
                    source.map_or(Ok(()), |from| self.streams.compute.copy_on_device(from, to, *bytes))?;
                    Some(Piece { memory: to.0, at: to.1, bytes: *bytes })
                }
                (None, Some((memory, at))) => Some(Piece { memory, at, bytes: *bytes }),
                (None, None) => kernel.constant(at),
            };
            pieces.push(piece.ok_or_else(|| EngineError::Run { found: format!("no {}", buffer.name) })?);
        }
        let kernels = self.kernels.as_ref().ok_or_else(|| not_a("kernel"))?;
        launch(kernels, &self.streams.compute, wanted, &pieces)?;
        Ok(None)
    }

    /// Queues a download.
    pub fn download(&mut self, command: DownloadCommand, status: &DeviceStatus) -> Result<(), CudaError> {
        if let Some(failed) = self.nodes.set(command.set).failed.clone() {
            let _dropped_by_its_session = command.reply.send(Err(failed));
            return Ok(());
        }
        match self.queue_download(command.set, (command.at, command.bytes), command.pinned) {
            Ok(transfer) => {
                self.transfers.push_download(transfer, command.set, command.reply);
                status.count(|work| work.downloads += 1);
                Ok(())
            }
            Err(error) => {
                let _dropped_by_its_session = command.reply.send(Err(reason(&error.clone().into())));
                Err(error)
            }
        }
    }

    fn queue_download(
        &mut self,
        name: SetName,
        (at, bytes): (usize, usize),
        pinned: Pinned,
    ) -> Result<Transfer, CudaError> {
        let set = self.nodes.set_mut(name);
        self.streams.order_download(set)?;
        let transfer = self.streams.download.download(&set.outputs, at, bytes, pinned)?;
        self.streams.mark_downloaded(set)?;
        Ok(transfer)
    }

    /// Replies with the downloads that are done.
    pub fn poll_completions(&mut self) -> Result<(), CudaError> {
        self.transfers.poll(&mut self.nodes)
    }

    /// Whether copies are in flight.
    pub fn is_busy(&self) -> bool {
        self.transfers.is_busy()
    }

    /// Waits for all work, and frees everything.
    pub fn close(self) {
        self.streams.synchronise();
    }

    /// Destroys the context after a fault that ended it; waiting downloads get `found`.
    pub fn abandon(self, found: &str) {
        self.transfers.fail(found);
        // Objects that may still call the driver are dropped first, memory after the reset: the driver has freed it by then.
        let dismantled = self.nodes.dismantle();
        drop(self.kernels);
        let _was_lost_before = self.device.reset();
        drop((self.transfers, dismantled));
    }
}

/// From the graph's I/O buffers to a step's buffer set.
fn copy_outputs(
    streams: &Streams,
    (graph, set): (&GraphExecutor, &BufferSet),
    member: &StepCommand,
    row: usize,
) -> Result<(), EngineError> {
    let Work::Graph(lengths) = &member.work else { return Err(not_a("graph")) };
    for (at, output) in graph.loaded.signature.outputs.iter().enumerate() {
        let target = (&set.outputs, graph.loaded.outputs.at[at]);
        let bytes = output.bytes_for(lengths).unwrap_or(0);
        streams.compute.copy_on_device(graph.output(at, lengths, row), target, bytes)?;
    }
    Ok(())
}

fn rows(graph: &GraphExecutor, member: &StepCommand) -> usize {
    if let Work::Graph(lengths) = &member.work { graph.loaded.rows(lengths) } else { 1 }
}

fn is_uploaded(input: &InputSource) -> bool {
    matches!(input, InputSource::Pinned { .. })
}

/// A step that does not match its node; slots never submit one.
fn not_a(kind: &str) -> EngineError {
    EngineError::Run { found: format!("the node is not a {kind}") }
}

/// The error of an engine as sessions get it.
pub fn reason(error: &EngineError) -> BackendError {
    match error {
        EngineError::Cuda(error) => BackendError::Device { found: format!("{}: {error}", error.kind().name()) },
        other => BackendError::Run { found: other.to_string() },
    }
}
