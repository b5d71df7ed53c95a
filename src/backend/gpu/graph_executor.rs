//! One graph on the device: its engine at a workbench of memory, captured graphs of it, and each slot's sets of buffers.
//!
//! Decides what a run reads and writes. All runs of a graph are at one bench, so that each number of rows is captured once,
//! whoever's rows they are; what goes on and off the bench is copied on the device.

use std::sync::Arc;
use std::time::Duration;

use visage_kernels::cuda::{
    CudaError, Device, Engine, EngineError, Event, Graph, Memory, PinnedPool, Port, Side, Stream,
};

use super::super::BackendError;
use super::device_status::GpuConfig;
use super::loaded_graph::{LoadedGraph, SETS, bytes_of};

/// Where outputs begin in a set: at multiples of what a card reads at once.
const ALIGNMENT_BYTES: usize = 256;

/// A set of buffers of a slot, with the marks that order its use.
pub struct Set {
    pub inputs: Memory,
    pub outputs: Memory,
    /// The run begins to read it.
    pub began: Event,
    /// The run has read `inputs` and written `outputs`.
    pub ran: Event,
    /// All that was asked of `outputs` is copied back.
    pub fetched: Event,
    /// How long its inputs took to go up.
    pub up: Option<Duration>,
    /// Why there is nothing of use in `outputs`.
    pub failed: Option<BackendError>,
    /// Which run and which fetch the marks stand for, counted from one; zero before the first.
    pub last_run: u64,
    pub last_fetch: u64,
}

/// A graph on the device.
pub struct GraphExecutor {
    /// Captured runs by rows less one; none where the engine cannot be captured.
    captured: Vec<Option<Graph>>,
    engine: Box<dyn Engine>,
    /// Memory of each port, for as many rows as a run may have.
    memory: Vec<Memory>,
    /// Where each port's outputs begin in a set; zero for inputs.
    pub output_at: Vec<usize>,
    pub sets: Vec<[Set; SETS]>,
    pub desk: Arc<LoadedGraph>,
}

/// How a run was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    Replayed,
    Queued,
}

/// Rows that one run of an engine takes at most.
pub fn most_rows(engine: &dyn Engine, config: &GpuConfig) -> usize {
    if engine.ports().iter().any(has_rows) { config.rows.min(engine.most_rows()).max(1) } else { 1 }
}

fn has_rows(port: &Port) -> bool {
    port.shape.first().is_some_and(Option::is_none)
}

impl GraphExecutor {
    /// Takes all memory that the graph will need, and captures what will be replayed.
    pub fn set_up(
        device: &Device,
        run: &Stream,
        mut engine: Box<dyn Engine>,
        desk: Arc<LoadedGraph>,
        config: &GpuConfig,
    ) -> Result<(Self, PinnedPool), EngineError> {
        let (ports, rows) = (desk.ports.clone(), desk.most_rows);
        let memory: Vec<Memory> =
            ports.iter().map(|port| Memory::take(device, bytes_of(port, rows))).collect::<Result<_, _>>()?;
        let inputs: usize = desk.side(Side::Input).map(|(_, port)| bytes_of(port, rows)).sum();
        let (output_at, outputs) = outputs_in_a_set(&ports, rows);
        let set = || new_set(device, inputs, outputs);
        let sets = (0..config.slots).map(|_| Ok([set()?, set()?])).collect::<Result<Vec<_>, CudaError>>()?;
        let largest = desk.side(Side::Output).map(|(_, port)| bytes_of(port, rows)).max().unwrap_or(0);
        let pool = PinnedPool::reserve(device, config.blocks, inputs.max(largest))?;
        let addresses: Vec<u64> = memory.iter().map(Memory::address).collect();
        let captured =
            (1..=rows).map(|rows| warm_up(engine.as_mut(), run, rows, &addresses)).collect::<Result<_, _>>()?;
        engine.keep();
        Ok((Self { captured, engine, memory, output_at, sets, desk }, pool))
    }

    /// Whether one run may serve several sessions: every tensor has rows, and none is shared by them.
    pub fn is_shared(&self) -> bool {
        self.desk.ports.iter().all(has_rows)
    }

    /// Queues one run over `rows` rows.
    pub fn run(&mut self, stream: &Stream, rows: usize) -> Result<Run, EngineError> {
        if let Some(Some(graph)) = self.captured.get(rows - 1) {
            graph.replay(stream)?;
            return Ok(Run::Replayed);
        }
        let addresses: Vec<u64> = self.memory.iter().map(Memory::address).collect();
        self.engine.enqueue(stream, rows, &addresses)?;
        Ok(Run::Queued)
    }

    /// The bench's memory of a port, and where rows from `row` on begin in it.
    pub fn place(&self, port: usize, row: usize) -> (&Memory, usize) {
        let shape = &self.desk.ports[port];
        (&self.memory[port], if has_rows(shape) { bytes_of(shape, row) } else { 0 })
    }

    /// Lets go of what runs, which may still call the driver, and keeps the rest for after the context is thrown away.
    pub fn dismantle(self) -> impl Sized {
        drop(self.captured);
        drop(self.engine);
        (self.memory, self.sets)
    }
}

/// Where each port's outputs begin in a set, and how long they are together.
fn outputs_in_a_set(ports: &[Port], rows: usize) -> (Vec<usize>, usize) {
    let mut end = 0;
    let places = ports.iter().map(|port| {
        if port.side == Side::Input {
            return 0;
        }
        let at = end;
        end += bytes_of(port, rows).next_multiple_of(ALIGNMENT_BYTES);
        at
    });
    (places.collect(), end)
}

fn new_set(device: &Device, inputs: usize, outputs: usize) -> Result<Set, CudaError> {
    Ok(Set {
        inputs: Memory::take(device, inputs)?,
        outputs: Memory::take(device, outputs)?,
        began: Event::new(device)?,
        ran: Event::new(device)?,
        fetched: Event::new(device)?,
        up: None,
        failed: None,
        last_run: 0,
        last_fetch: 0,
    })
}

/// Runs once, since engines do at their first run what cannot be captured, then captures, and replays once, since drivers take
/// memory for a graph when it is first replayed.
fn warm_up(
    engine: &mut dyn Engine,
    run: &Stream,
    rows: usize,
    addresses: &[u64],
) -> Result<Option<Graph>, EngineError> {
    engine.enqueue(run, rows, addresses)?;
    run.synchronise()?;
    match Graph::capture(run, |stream| engine.enqueue(stream, rows, addresses)) {
        Ok(graph) => {
            graph.replay(run)?;
            run.synchronise()?;
            Ok(Some(graph))
        }
        Err(error) if is_about_capture(&error) => {
            // It runs all the same, or says now why it does not; the counts show runs that were no replays.
            engine.enqueue(run, rows, addresses)?;
            run.synchronise()?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Whether an engine that has just run may have failed for being captured: TensorRT says no more than that it failed.
fn is_about_capture(error: &EngineError) -> bool {
    match error {
        EngineError::Cuda(error) => error.is_about_capture(),
        EngineError::Run { .. } => true,
        EngineError::Unfit { .. } => false,
    }
}
