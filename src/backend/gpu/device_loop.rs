//! The thread that owns the device: takes orders, feeds the streams, hands out what arrives, and outlives a fault.
//!
//! Decides what follows from a fault: which sessions hear of it, when the device is opened anew, and that it is once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use visage_kernels::cuda::{CudaError, Engine, EngineError, EngineSource, FaultKind};

use super::super::{BackendError, Health};
use super::command::{DeviceCommand, LoadCommand, StepCommand, StoredOnnx};
use super::command_queue::ORDERS;
use super::device_context::{DeviceContext, reason};
use super::device_status::{DeviceStatus, GpuConfig, NAME};
use super::graph_executor::most_rows;
use super::loaded_graph::LoadedGraph;

/// How often it is looked whether something has arrived, while something is under way.
const LOOK: Duration = Duration::from_micros(100);

/// What is left to do about a device that is lost for good.
const RESTART: &str = "start visage again, after visage doctor --for gpu";

/// Owns the device. Whoever starts threads runs it on one: [`DeviceLoop::run`].
pub struct DeviceLoop {
    config: GpuConfig,
    source: Box<dyn EngineSource>,
    board: Arc<DeviceStatus>,
    orders: Receiver<DeviceCommand>,
    queue: VecDeque<DeviceCommand>,
    open: Option<DeviceContext>,
    /// Counts openings of the device, so that what belonged to an earlier one is known.
    opening: u64,
    /// What was loaded, in order.
    loaded: Vec<(Arc<LoadedGraph>, StoredOnnx)>,
    state: State,
}

/// How the device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Well,
    /// A step had no memory; the next that has, or a time without sessions, ends it.
    Short,
    /// Lost, to be opened anew with the next turn.
    Fallen,
    /// Lost for good.
    Over,
}

impl DeviceLoop {
    pub(super) fn new(
        config: GpuConfig,
        source: Box<dyn EngineSource>,
        board: Arc<DeviceStatus>,
        orders: Receiver<DeviceCommand>,
    ) -> Self {
        let (queue, loaded) = (VecDeque::new(), Vec::new());
        Self { config, source, board, orders, queue, open: None, opening: 0, loaded, state: State::Well }
    }

    /// Works until nobody can give an order any more. `tell` hears whenever the device begins or ceases to take sessions.
    pub fn run(mut self, mut tell: impl FnMut(&Health)) {
        let mut told = self.state;
        loop {
            let order = if self.is_busy() {
                self.orders.recv_timeout(LOOK)
            } else {
                self.orders.recv().map_err(|_ended| RecvTimeoutError::Disconnected)
            };
            match order {
                Ok(order) => self.queue.push_back(order),
                Err(RecvTimeoutError::Timeout) => (),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.turn();
            if told != self.state {
                told = self.state;
                tell(&self.board.health());
            }
        }
    }

    /// Does what can be done without waiting: begins all orders that there are, hands out what has arrived.
    pub fn turn(&mut self) {
        if self.state == State::Fallen {
            self.open_anew();
        }
        self.open.iter().for_each(DeviceContext::enter);
        self.queue.extend(self.orders.try_iter().take(ORDERS));
        while let Some(order) = self.queue.pop_front() {
            match order {
                DeviceCommand::Load(order) => self.load(order),
                DeviceCommand::Step(order) => self.step(order),
                DeviceCommand::Fetch(order) => {
                    let Some(open) = self.open.as_mut().filter(|_| order.opening == self.opening) else {
                        let _nobody_waits = order.reply.send(Err(self.lost()));
                        continue;
                    };
                    let fetched = open.fetch(order, &self.board);
                    self.judge(fetched.map_err(EngineError::from));
                }
            }
        }
        if let Some(open) = &mut self.open {
            self.board.count(|work| work.asked_in_loop = open.asked_in_loop());
            let landed = open.poll();
            self.judge(landed.map_err(EngineError::from));
        }
        self.breathe();
    }

    /// Whether there is something to look after.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.open.as_ref().is_some_and(DeviceContext::is_busy) || matches!(self.state, State::Short | State::Fallen)
    }

    /// Begins a step, and with it those behind it that may share its run.
    fn step(&mut self, order: StepCommand) {
        let Some(open) = self.open.as_mut().filter(|_| order.opening == self.opening) else { return };
        let members = gather(open, &mut self.queue, order);
        let begun = open.begin(members, &self.board);
        if begun.is_ok() && self.state == State::Short {
            self.recover();
        }
        self.judge(begun);
    }

    fn load(&mut self, order: LoadCommand) {
        let loaded = self.try_load(&order.name, &order.onnx);
        if let Ok(desk) = &loaded {
            self.loaded.push((Arc::clone(desk), order.onnx));
        }
        let _nobody_waits = order.reply.send(loaded);
    }

    fn try_load(&mut self, name: &str, onnx: &StoredOnnx) -> Result<Arc<LoadedGraph>, BackendError> {
        if self.state == State::Over {
            return Err(self.lost());
        }
        if self.open.is_none() {
            let open = DeviceContext::new(&self.config)?;
            // It stays where it is; one that does not tell is known by its number.
            open.device().bus_address().into_iter().for_each(|place| drop(self.board.bus_address.set(place)));
            self.open = Some(open);
            self.opening += 1;
        }
        let engine = self.engine(name, onnx)?;
        let (ports, slots) = (engine.ports().to_vec(), self.config.slots);
        let most = most_rows(&*engine, &self.config);
        let desk = Arc::new(LoadedGraph::new(self.loaded.len(), name.to_owned(), ports, (slots, most)));
        self.set_up(engine, &desk)?;
        Ok(desk)
    }

    fn engine(&mut self, name: &str, onnx: &StoredOnnx) -> Result<Box<dyn Engine>, BackendError> {
        let open = self.open.as_ref().ok_or_else(|| BackendError::Device { found: "it is not open".to_owned() })?;
        let engine = self.source.engine(open.device(), name, onnx.lent());
        engine.map_err(|error| BackendError::Load { backend: NAME, found: error.to_string() })
    }

    fn set_up(&mut self, engine: Box<dyn Engine>, desk: &Arc<LoadedGraph>) -> Result<(), BackendError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let pool = open.set_up(engine, Arc::clone(desk), &self.config).map_err(|error| reason(&error))?;
        desk.supply(Some((self.opening, pool)));
        Ok(())
    }

    /// Draws the consequence of a failed call.
    fn judge(&mut self, outcome: Result<(), EngineError>) {
        let Err(EngineError::Cuda(error)) = outcome else { return };
        match error.kind() {
            kind if kind.ends_the_context() => self.fall(&error),
            FaultKind::OutOfMemory if self.state == State::Well => {
                self.state = State::Short;
                self.board.say(Health::Recovering { found: describe(&error) });
            }
            _ => (),
        }
    }

    /// The device is lost: every session on it hears so, nobody is admitted, and if it is the first time, it is opened anew
    /// with the next turn.
    fn fall(&mut self, error: &CudaError) {
        let Some(open) = self.open.take() else { return };
        let found = describe(error);
        let is_first = self.board.work().reopenings == 0;
        self.state = if is_first { State::Fallen } else { State::Over };
        self.board.say(match self.state {
            State::Fallen => Health::Recovering { found: found.clone() },
            _ => Health::Lost { found: format!("{found}; it was opened anew before, which is done once: {RESTART}") },
        });
        self.loaded.iter().for_each(|(desk, _)| desk.supply(None));
        open.abandon(&found);
    }

    fn open_anew(&mut self) {
        self.board.count(|work| work.reopenings += 1);
        self.opening += 1;
        match self.try_open_anew() {
            Ok(()) => self.recover(),
            Err(error) => {
                self.state = State::Over;
                self.board.say(Health::Lost { found: format!("{error}; it could not be opened anew: {RESTART}") });
                self.loaded.iter().for_each(|(desk, _)| desk.supply(None));
                self.open.take().into_iter().for_each(|open| open.abandon(&error.to_string()));
            }
        }
    }

    fn try_open_anew(&mut self) -> Result<(), BackendError> {
        self.open = Some(DeviceContext::new(&self.config)?);
        for (desk, onnx) in self.loaded.clone() {
            let engine = self.engine(&desk.name, &onnx)?;
            if engine.ports() != desk.ports {
                return Err(BackendError::Load { backend: NAME, found: "another graph than before".to_owned() });
            }
            self.set_up(engine, &desk)?;
        }
        Ok(())
    }

    /// Where a step had no memory: with no session left there is room again.
    fn breathe(&mut self) {
        if self.state == State::Short && self.loaded.iter().all(|(desk, _)| desk.is_empty()) {
            self.recover();
        }
    }

    fn recover(&mut self) {
        self.state = State::Well;
        self.board.say(Health::Ready);
    }

    fn lost(&self) -> BackendError {
        let found = match self.board.health() {
            Health::Ready => "what was on it is gone: it was opened anew".to_owned(),
            Health::Recovering { found } | Health::Lost { found } => found,
        };
        BackendError::Device { found }
    }
}

impl Drop for DeviceLoop {
    fn drop(&mut self) {
        // Also where a bug of ours ends the thread.
        self.board.say(Health::Lost { found: "the thread that owns it has ended".to_owned() });
        self.loaded.iter().for_each(|(desk, _)| desk.supply(None));
        self.open.take().into_iter().for_each(DeviceContext::close);
    }
}

/// `first` and the steps behind it that may share its run. They may overtake fetches, but for those of their own set.
fn gather(open: &DeviceContext, queue: &mut VecDeque<DeviceCommand>, first: StepCommand) -> Vec<StepCommand> {
    let (mut members, mut passed, mut at) = (vec![first], Vec::new(), 0);
    while let Some(order) = queue.get(at) {
        match order {
            DeviceCommand::Fetch(fetch) => {
                passed.push(fetch.set);
                at += 1;
            }
            DeviceCommand::Step(next) if open.shares(&members, next) && !passed.contains(&next.set) => {
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
