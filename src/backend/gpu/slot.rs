//! The session's side: names and shapes are checked, inputs written to locked memory, orders handed over.
//!
//! Decides when a step is not begun. Calls no driver.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use visage_kernels::cuda::{Pinned, Side};

use super::super::value::Held;
use super::super::{BackendError, Graph, Health, Slot, Tensor, Value};
use super::command::{DeviceCommand, FetchCommand, InputSource, Reply, SetName, StepCommand};
use super::command_queue::{CommandSender, closed};
use super::loaded_graph::{LoadedGraph, NUMBER_BYTES, SETS, gone};
use crate::gpu_load::DeviceCounts;
use crate::telemetry::StepTimes;

/// Where each input of a step comes from, and what goes up for it.
type Packed = (Vec<InputSource>, Option<(Pinned, usize)>);

/// The graph as sessions have it.
pub struct GpuGraph {
    desk: Arc<LoadedGraph>,
    counter: CommandSender,
}

impl GpuGraph {
    pub fn new(desk: Arc<LoadedGraph>, counter: CommandSender) -> Self {
        Self { desk, counter }
    }
}

impl Graph for GpuGraph {
    fn health(&self) -> Health {
        self.counter.board.health()
    }

    fn work(&self) -> Option<DeviceCounts> {
        Some(self.counter.board.work())
    }

    fn slot(&self) -> Result<Box<dyn Slot>, BackendError> {
        if let Health::Recovering { found } | Health::Lost { found } = self.health() {
            return Err(BackendError::Device { found });
        }
        let opening = self.desk.opening().ok_or_else(gone)?;
        let (slot, held) = self.desk.take_slot()?;
        let (desk, counter) = (Arc::clone(&self.desk), self.counter.clone());
        Ok(Box::new(CardSlot { desk, counter, opening, slot, held, next: 0 }))
    }
}

/// One session's slot.
struct CardSlot {
    desk: Arc<LoadedGraph>,
    counter: CommandSender,
    opening: u64,
    slot: usize,
    held: [Arc<()>; SETS],
    /// The set of the next step.
    next: usize,
}

impl Drop for CardSlot {
    fn drop(&mut self) {
        self.desk.leave(self.slot);
    }
}

impl Slot for CardSlot {
    fn step(&mut self, inputs: &[(&str, &Value)], outputs: &[&str]) -> Result<Vec<Value>, BackendError> {
        let wanted: Vec<usize> =
            outputs.iter().map(|name| self.desk.port(Side::Output, name)).collect::<Result<_, _>>()?;
        let given = self.given(inputs)?;
        let rows = self.rows(&given)?;
        if self.opening != self.desk.opening().unwrap_or(0) {
            return Err(gone());
        }
        // The table of places and the slot itself hold it, so a third holder is somebody with an output.
        if Arc::strong_count(&self.held[self.next]) > 2 {
            return Err(BackendError::Busy { found: "the outputs of the step before last are still held" });
        }
        let set = SetName { graph: self.desk.graph, slot: self.slot, set: self.next };
        let (feeds, block) = self.pack(&given)?;
        self.counter.hand_over(DeviceCommand::Step(StepCommand { opening: self.opening, set, rows, feeds, block }))?;
        let outputs = wanted.into_iter().map(|port| self.resident(set, port, rows)).collect();
        self.next = (self.next + 1) % SETS;
        Ok(outputs)
    }
}

impl CardSlot {
    /// What is given for each input, in the order of ports.
    fn given<'a>(&self, inputs: &[(&str, &'a Value)]) -> Result<Vec<(usize, &'a Value)>, BackendError> {
        let mut given = inputs
            .iter()
            .map(|(name, value)| Ok((self.desk.port(Side::Input, name)?, *value)))
            .collect::<Result<Vec<_>, BackendError>>()?;
        given.sort_unstable_by_key(|(port, _)| *port);
        let wanted = self.desk.side(Side::Input);
        if !wanted.map(|(number, _)| number).eq(given.iter().map(|(number, _)| *number)) {
            let names: Vec<&str> = self.desk.side(Side::Input).map(|(_, port)| port.name.as_str()).collect();
            return Err(run_failed(format!("wanted each of {} once", names.join(", "))));
        }
        Ok(given)
    }

    /// How many rows a step has: what the free axes say, all the same.
    fn rows(&self, given: &[(usize, &Value)]) -> Result<usize, BackendError> {
        let mut rows = None;
        for (number, value) in given {
            let (port, shape) = (&self.desk.ports[*number], value.shape());
            let fits = |(axis, length): (&Option<usize>, &usize)| axis.is_none_or(|wanted| wanted == *length);
            let free = port.shape.first().is_some_and(Option::is_none).then(|| shape.first().copied()).flatten();
            let is_whole = match &value.0 {
                Held::Here(tensor) => tensor.values.len() == shape.iter().product::<usize>(),
                _ => true,
            };
            let agrees = free.is_none_or(|free| *rows.get_or_insert(free) == free);
            if shape.len() != port.shape.len() || !port.shape.iter().zip(shape).all(fits) || !is_whole || !agrees {
                return Err(run_failed(format!(
                    "input \"{}\" has the shape {shape:?}, {:?} fits",
                    port.name, port.shape
                )));
            }
        }
        let rows = rows.unwrap_or(1);
        if rows == 0 || rows > self.desk.most_rows {
            return Err(run_failed(format!("{rows} rows, 1 to {} fit", self.desk.most_rows)));
        }
        Ok(rows)
    }

    /// Writes what is here into a block, one behind the other; says where each input comes from.
    fn pack(&self, given: &[(usize, &Value)]) -> Result<Packed, BackendError> {
        let mut block: Option<(Pinned, usize)> = None;
        let mut feeds = Vec::with_capacity(given.len());
        for (_, value) in given {
            let feed = match &value.0 {
                Held::Here(tensor) => {
                    let (bytes, end) = match &mut block {
                        Some((bytes, end)) => (bytes, end),
                        none => {
                            let (bytes, end) = none.insert((self.desk.block(self.opening)?, 0));
                            (bytes, end)
                        }
                    };
                    let at = *end;
                    *end += tensor.values.len() * NUMBER_BYTES;
                    write(&tensor.values, &mut bytes[at..*end]);
                    InputSource::Block { at }
                }
                Held::There(resident) if !resident.counter.is(&self.counter) => {
                    return Err(run_failed("an input is on another card".to_owned()));
                }
                Held::There(resident) if resident.opening == self.opening => {
                    InputSource::Device { set: resident.set, port: resident.port }
                }
                Held::There(_) => return Err(gone()),
                Held::Downloading(_) => {
                    return Err(run_failed("an input was asked for and is on its way back".to_owned()));
                }
            };
            feeds.push(feed);
        }
        Ok((feeds, block))
    }

    fn resident(&self, set: SetName, port: usize, rows: usize) -> Value {
        let shape = self.desk.ports[port].shape.iter().map(|axis| axis.unwrap_or(rows)).collect();
        let (desk, counter) = (Arc::clone(&self.desk), self.counter.clone());
        let held = Arc::clone(&self.held[set.set]);
        Value(Held::There(DeviceTensor { desk, counter, opening: self.opening, set, port, shape, _held: held }))
    }
}

/// An output that is on the card. While it is, its set of buffers takes no other step.
#[derive(Debug)]
pub struct DeviceTensor {
    desk: Arc<LoadedGraph>,
    counter: CommandSender,
    opening: u64,
    set: SetName,
    port: usize,
    shape: Vec<usize>,
    _held: Arc<()>,
}

impl DeviceTensor {
    pub(in super::super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Orders it to be brought back. Its set is free from then on: orders are begun in order.
    pub(in super::super) fn ask(&self) -> Result<Downloading, BackendError> {
        let block = self.desk.block(self.opening)?;
        let bytes = self.shape.iter().product::<usize>() * NUMBER_BYTES;
        let (reply, arrival) = sync_channel(1);
        let order = FetchCommand { opening: self.opening, set: self.set, port: self.port, bytes, block, reply };
        self.counter.hand_over(DeviceCommand::Fetch(order))?;
        Ok(Downloading { arrival, arrived: None, shape: self.shape.clone() })
    }
}

/// An output on its way back.
#[derive(Debug)]
pub struct Downloading {
    arrival: Receiver<Reply<(Pinned, StepTimes)>>,
    arrived: Option<Reply<(Pinned, StepTimes)>>,
    shape: Vec<usize>,
}

impl Downloading {
    pub(in super::super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub(in super::super) fn is_here(&mut self) -> bool {
        if self.arrived.is_none() {
            self.arrived = match self.arrival.try_recv() {
                Ok(arrived) => Some(arrived),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => Some(Err(closed())),
            };
        }
        self.arrived.is_some()
    }

    pub(in super::super) fn take(self) -> Result<(Tensor, StepTimes), BackendError> {
        let arrived = self.arrived.unwrap_or_else(|| self.arrival.recv().unwrap_or_else(|_ended| Err(closed())));
        let (block, times) = arrived?;
        let count = self.shape.iter().product();
        Ok((Tensor { shape: self.shape, values: read(&block, count) }, times))
    }
}

fn write(values: &[f32], bytes: &mut [u8]) {
    bytes.chunks_exact_mut(NUMBER_BYTES).zip(values).for_each(|(bytes, value)| {
        bytes.copy_from_slice(&value.to_le_bytes());
    });
}

fn read(bytes: &[u8], count: usize) -> Vec<f32> {
    let numbers = bytes.chunks_exact(NUMBER_BYTES).take(count);
    numbers.map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect()
}

fn run_failed(found: String) -> BackendError {
    BackendError::Run { found }
}
