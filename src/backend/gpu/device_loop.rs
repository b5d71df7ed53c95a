//! The device thread: executes commands, polls completions, and recovers from faults.
//!
//! Decides the consequences of a fault: which sessions end, and that the context is re-created at most once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use visage_kernels::cuda::{CudaError, Engine, EngineError, EngineSource, FaultKind, PinnedPool};

use super::super::{BackendError, Health, KernelSpec};
use super::command::{DeviceCommand, LoadGraph, LoadKernel, StepCommand, StoredOnnx};
use super::command_queue::MAX_COMMANDS;
use super::device_context::{DeviceContext, reason};
use super::device_status::{DeviceStatus, GpuConfig, NAME};
use super::loaded::{LoadedGraph, LoadedKernel, Node};

/// How often completions are polled while copies are under way.
const POLL_INTERVAL: Duration = Duration::from_micros(100);

/// The hint after a device was lost permanently.
const RESTART: &str = "start visage again, after visage doctor --for gpu";

/// Owns the device. [`DeviceLoop::run`] runs it on a thread.
pub struct DeviceLoop {
    config: GpuConfig,
    source: Box<dyn EngineSource>,
    status: Arc<DeviceStatus>,
    commands: Receiver<DeviceCommand>,
    queue: VecDeque<DeviceCommand>,
    context: Option<DeviceContext>,
    /// Counts contexts of the device, so that handles of an earlier one are recognised.
    generation: u64,
    /// The loaded nodes, in order.
    loaded: Vec<Loaded>,
    state: State,
}

/// A graph or kernel, with what is needed to load it into another context.
#[derive(Clone)]
enum Loaded {
    Graph(Arc<LoadedGraph>, StoredOnnx),
    Kernel(Arc<LoadedKernel>),
}

impl Loaded {
    fn node(&self) -> &Node {
        match self {
            Self::Graph(graph, _) => &graph.node,
            Self::Kernel(kernel) => &kernel.node,
        }
    }
}

/// The state of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    /// A step ran out of memory. Ends with the next step that succeeds, or when no session is left.
    OutOfMemory,
    /// The context is lost; the next iteration re-creates it.
    Recovering,
    /// Lost permanently.
    Lost,
}

impl DeviceLoop {
    pub(super) fn new(
        config: GpuConfig,
        source: Box<dyn EngineSource>,
        status: Arc<DeviceStatus>,
        commands: Receiver<DeviceCommand>,
    ) -> Self {
        let (queue, loaded) = (VecDeque::new(), Vec::new());
        Self { config, source, status, commands, queue, context: None, generation: 0, loaded, state: State::Ready }
    }

    /// Executes commands until every sender is dropped. `report` is called whenever the device starts or stops accepting
    /// sessions.
    pub fn run(mut self, mut report: impl FnMut(&Health)) {
        let mut reported = self.state;
        loop {
            let command = if self.is_busy() {
                self.commands.recv_timeout(POLL_INTERVAL)
            } else {
                self.commands.recv().map_err(|_ended| RecvTimeoutError::Disconnected)
            };
            match command {
                Ok(command) => self.queue.push_back(command),
                Err(RecvTimeoutError::Timeout) => (),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.turn();
            if reported != self.state {
                reported = self.state;
                report(&self.status.health());
            }
        }
    }

    /// Does everything that needs no waiting: queues all commands that were sent, and replies with completed downloads.
    pub fn turn(&mut self) {
        if self.state == State::Recovering {
            self.recreate();
        }
        self.context.iter().for_each(DeviceContext::enter);
        self.queue.extend(self.commands.try_iter().take(MAX_COMMANDS));
        while let Some(command) = self.queue.pop_front() {
            self.execute(command);
        }
        if let Some(context) = &mut self.context {
            self.status.count(|work| work.loop_stalls = context.calls_in_loop());
            let polled = context.poll_completions();
            self.on_result(polled.map_err(EngineError::from));
        }
        self.recover_when_unused();
    }

    fn execute(&mut self, command: DeviceCommand) {
        match command {
            DeviceCommand::LoadGraph(command) => self.load_graph(command),
            DeviceCommand::LoadKernel(command) => self.load_kernel(command),
            DeviceCommand::Step(command) => self.step(command),
            DeviceCommand::Download(command) => {
                let Some(context) = self.context.as_mut().filter(|_| command.generation == self.generation) else {
                    let _dropped_by_its_session = command.reply.send(Err(self.lost()));
                    return;
                };
                let queued = context.download(command, &self.status);
                self.on_result(queued.map_err(EngineError::from));
            }
        }
    }

    /// Whether there is something to poll.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        let is_unsettled = matches!(self.state, State::OutOfMemory | State::Recovering);
        self.context.as_ref().is_some_and(DeviceContext::is_busy) || is_unsettled
    }

    /// Queues a step, together with later ones that may share its run.
    fn step(&mut self, command: StepCommand) {
        let Some(context) = self.context.as_mut().filter(|_| command.generation == self.generation) else { return };
        let members = gather(context, &mut self.queue, command);
        let queued = context.submit(members, &self.status);
        if queued.is_ok() && self.state == State::OutOfMemory {
            self.recovered();
        }
        self.on_result(queued);
    }

    fn load_graph(&mut self, command: LoadGraph) {
        let loaded = self.try_load_graph(&command.name, &command.onnx);
        if let Ok(graph) = &loaded {
            self.loaded.push(Loaded::Graph(Arc::clone(graph), command.onnx));
        }
        let _dropped_by_its_model = command.reply.send(loaded);
    }

    fn load_kernel(&mut self, command: LoadKernel) {
        let loaded = self.try_load_kernel(command.spec);
        if let Ok(kernel) = &loaded {
            self.loaded.push(Loaded::Kernel(Arc::clone(kernel)));
        }
        let _dropped_by_its_model = command.reply.send(loaded);
    }

    /// Opens the device if it is not open.
    fn open(&mut self) -> Result<(), BackendError> {
        if self.state == State::Lost {
            return Err(self.lost());
        }
        if self.context.is_none() {
            let context = DeviceContext::new(&self.config)?;
            // A device that does not report its address is identified by its number.
            context.device().bus_address().into_iter().for_each(|address| drop(self.status.bus_address.set(address)));
            self.context = Some(context);
            self.generation += 1;
        }
        Ok(())
    }

    fn try_load_graph(&mut self, name: &str, onnx: &StoredOnnx) -> Result<Arc<LoadedGraph>, BackendError> {
        self.open()?;
        let engine = self.engine(name, onnx)?;
        let (signature, slot) = (engine.signature().clone(), (name.to_owned(), self.config.slots));
        let (ranges, max_batch) = (engine.ranges(), self.config.max_batch);
        let loaded = Arc::new(LoadedGraph::new(self.loaded.len(), slot, signature, ranges, max_batch)?);
        self.add_graph(engine, &loaded)?;
        Ok(loaded)
    }

    fn try_load_kernel(&mut self, spec: KernelSpec) -> Result<Arc<LoadedKernel>, BackendError> {
        self.open()?;
        let loaded = Arc::new(LoadedKernel::new(self.loaded.len(), self.config.slots, spec));
        self.add_kernel(&loaded)?;
        Ok(loaded)
    }

    fn engine(&mut self, name: &str, onnx: &StoredOnnx) -> Result<Box<dyn Engine>, BackendError> {
        let not_open = || BackendError::Device { found: "it is not open".to_owned() };
        let context = self.context.as_ref().ok_or_else(not_open)?;
        let engine = self.source.engine(context.device(), name, onnx.borrowed());
        engine.map_err(|error| BackendError::Load { backend: NAME, found: error.to_string() })
    }

    fn add_graph(&mut self, engine: Box<dyn Engine>, loaded: &Arc<LoadedGraph>) -> Result<(), BackendError> {
        let Some(context) = &mut self.context else { return Ok(()) };
        let pool = context.add_graph(engine, Arc::clone(loaded), &self.config);
        self.supply(&loaded.node, pool)
    }

    fn add_kernel(&mut self, loaded: &Arc<LoadedKernel>) -> Result<(), BackendError> {
        let Some(context) = &mut self.context else { return Ok(()) };
        let pool = context.add_kernel(Arc::clone(loaded), &self.config);
        self.supply(&loaded.node, pool)
    }

    fn supply(&self, node: &Node, pool: Result<PinnedPool, EngineError>) -> Result<(), BackendError> {
        let failed = |error: EngineError| match &error {
            EngineError::Unfit { .. } => BackendError::Load { backend: NAME, found: error.to_string() },
            other => reason(other),
        };
        node.set_pinned(Some((self.generation, pool.map_err(failed)?)));
        Ok(())
    }

    /// Applies the consequences of a failed call.
    fn on_result(&mut self, result: Result<(), EngineError>) {
        let Err(EngineError::Cuda(error)) = result else { return };
        match error.kind() {
            kind if kind.ends_the_context() => self.on_device_lost(&error),
            FaultKind::OutOfMemory if self.state == State::Ready => {
                self.state = State::OutOfMemory;
                self.status.set_health(Health::Recovering { found: describe(&error) });
            }
            _ => (),
        }
    }

    /// The context is lost: every session on it ends, none is admitted, and the first time it is re-created in the next
    /// iteration.
    fn on_device_lost(&mut self, error: &CudaError) {
        let Some(context) = self.context.take() else { return };
        let found = describe(error);
        let is_first = self.status.work().context_resets == 0;
        self.state = if is_first { State::Recovering } else { State::Lost };
        self.status.set_health(match self.state {
            State::Recovering => Health::Recovering { found: found.clone() },
            _ => Health::Lost {
                found: format!("{found}; its context was re-created before, which is done once: {RESTART}"),
            },
        });
        self.withdraw_pinned();
        context.abandon(&found);
    }

    fn withdraw_pinned(&self) {
        self.loaded.iter().for_each(|loaded| loaded.node().set_pinned(None));
    }

    fn recreate(&mut self) {
        self.status.count(|work| work.context_resets += 1);
        self.generation += 1;
        match self.try_recreate() {
            Ok(()) => self.recovered(),
            Err(error) => {
                self.state = State::Lost;
                let found = format!("{error}; its context could not be re-created: {RESTART}");
                self.status.set_health(Health::Lost { found });
                self.withdraw_pinned();
                self.context.take().into_iter().for_each(|context| context.abandon(&error.to_string()));
            }
        }
    }

    fn try_recreate(&mut self) -> Result<(), BackendError> {
        self.context = Some(DeviceContext::new(&self.config)?);
        for loaded in self.loaded.clone() {
            match loaded {
                Loaded::Graph(graph, onnx) => {
                    let engine = self.engine(&graph.node.name, &onnx)?;
                    if *engine.signature() != graph.signature {
                        return Err(BackendError::Load {
                            backend: NAME,
                            found: "another graph than before".to_owned(),
                        });
                    }
                    self.add_graph(engine, &graph)?;
                }
                Loaded::Kernel(kernel) => self.add_kernel(&kernel)?,
            }
        }
        Ok(())
    }

    /// After a step ran out of memory: without any session memory counts as free again.
    fn recover_when_unused(&mut self) {
        if self.state == State::OutOfMemory && self.loaded.iter().all(|loaded| loaded.node().is_unused()) {
            self.recovered();
        }
    }

    fn recovered(&mut self) {
        self.state = State::Ready;
        self.status.set_health(Health::Ready);
    }

    fn lost(&self) -> BackendError {
        let found = match self.status.health() {
            Health::Ready => "the session's memory is lost: the context was re-created".to_owned(),
            Health::Recovering { found } | Health::Lost { found } => found,
        };
        BackendError::Device { found }
    }
}

impl Drop for DeviceLoop {
    fn drop(&mut self) {
        // Also if a bug ends the thread.
        self.status.set_health(Health::Lost { found: "the device thread has ended".to_owned() });
        self.withdraw_pinned();
        self.context.take().into_iter().for_each(DeviceContext::close);
    }
}

/// `first` and the steps behind it that may share its run. They may overtake downloads, except from their own buffer set, and
/// no other command: order between steps is kept.
fn gather(context: &DeviceContext, queue: &mut VecDeque<DeviceCommand>, first: StepCommand) -> Vec<StepCommand> {
    let (mut members, mut deferred, mut at) = (vec![first], Vec::new(), 0);
    while let Some(command) = queue.get(at) {
        match command {
            DeviceCommand::Download(download) => {
                deferred.push(download.set);
                at += 1;
            }
            DeviceCommand::Step(next) if context.shares(&members, next) && !deferred.contains(&next.set) => {
                if let Some(DeviceCommand::Step(next)) = queue.remove(at) {
                    members.push(next);
                }
            }
            _ => break,
        }
    }
    members
}

fn describe(error: &CudaError) -> String {
    format!("{}: {error}", error.kind().name())
}
