//! An open device: three streams, the graphs on it, and what is under way.
//!
//! Decides what waits for what. Copies up, runs, and copies down go on beside each other:
//!
//! | what | where | waits for |
//! |---|---|---|
//! | a step's inputs, to its set | up | the run that last read that set |
//! | inputs from set to bench, the run, outputs from bench to set | run | those inputs; what was asked of that set before |
//! | an output, from its set to locked memory | down | the run that wrote it |

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use visage_kernels::cuda::{CudaError, Device, Driver, Engine, EngineError, Transfer, Pinned, PinnedPool, Side, Stream};

use super::super::BackendError;
use super::command::{FetchCommand, InputSource, Reply, SetName, StepCommand};
use super::device_status::{DeviceStatus, GpuConfig};
use super::graph_executor::{GraphExecutor, Run, Set};
use super::loaded_graph::{LoadedGraph, bytes_of};
use crate::telemetry::StepTimes;

/// Who waits for an output.
type Waiter = SyncSender<Reply<(Pinned, StepTimes)>>;

/// An open device. What is under way is dropped before what it uses.
pub struct DeviceContext {
    ups: VecDeque<(Transfer, SetName)>,
    downs: VecDeque<(Transfer, SetName, Waiter)>,
    benches: Vec<GraphExecutor>,
    up: Stream,
    run: Stream,
    down: Stream,
    device: Device,
    seen: Seen,
    /// What had been asked of the driver when the last graph was set up.
    asked_at_start: u64,
}

/// How far runs and fetches have come, and how far each stream has waited for them. Streams are in order: who has waited for
/// a later one need not wait for an earlier.
#[derive(Debug, Default)]
struct Seen {
    runs: u64,
    fetches: u64,
    runs_by_up: u64,
    runs_by_down: u64,
    fetches_by_run: u64,
}

impl DeviceContext {
    /// Opens the device.
    pub fn new(config: &GpuConfig) -> Result<Self, BackendError> {
        let failed = |error: &dyn std::fmt::Display| BackendError::Device { found: error.to_string() };
        let driver = Driver::open(&config.driver).map_err(|error| failed(&error))?;
        let device = Device::open(&driver, config.ordinal).map_err(|error| failed(&error))?;
        let stream = || Stream::new(&device).map_err(|error| failed(&error));
        let (up, run, down) = (stream()?, stream()?, stream()?);
        let (ups, downs, benches) = (VecDeque::new(), VecDeque::new(), Vec::new());
        Ok(Self { ups, downs, benches, up, run, down, device, seen: Seen::default(), asked_at_start: 0 })
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Sets up a graph; its number is that of graphs before it.
    pub fn set_up(
        &mut self,
        engine: Box<dyn Engine>,
        desk: Arc<LoadedGraph>,
        config: &GpuConfig,
    ) -> Result<PinnedPool, EngineError> {
        let (bench, pool) = GraphExecutor::set_up(&self.device, &self.run, engine, desk, config)?;
        self.benches.push(bench);
        self.asked_at_start = self.device.counts().total();
        Ok(pool)
    }

    /// What was asked of the driver since the last graph was set up and must not be asked in the loop.
    pub fn asked_in_loop(&self) -> u64 {
        self.device.counts().total().saturating_sub(self.asked_at_start)
    }

    /// Makes the device this thread's. A lost one says so with the next call.
    pub fn enter(&self) {
        let _said_by_the_next_call = self.device.enter();
    }

    /// Whether `next` may share a run with `members`: the same graph, room for its rows, and nothing of theirs among its
    /// inputs.
    pub fn shares(&self, members: &[StepCommand], next: &StepCommand) -> bool {
        let Some(first) = members.first() else { return false };
        let bench = &self.benches[first.set.graph];
        let rows: usize = members.iter().map(|member| member.rows).sum();
        let is_of_a_member = |name: SetName| members.iter().any(|member| member.set == name);
        let needs_a_member =
            next.feeds.iter().any(|feed| matches!(feed, InputSource::Device { set, .. } if is_of_a_member(*set)));
        let same_slot = members.iter().any(|member| member.set.slot == next.set.slot);
        next.set.graph == first.set.graph
            && next.opening == first.opening
            && bench.is_shared()
            && rows + next.rows <= bench.desk.most_rows
            && !needs_a_member
            && !same_slot
    }

    /// Begins steps that share a run. Where it fails, their sets say so.
    pub fn begin(&mut self, mut members: Vec<StepCommand>, board: &DeviceStatus) -> Result<(), EngineError> {
        members.retain(|member| {
            let failed = self.failed_feed(member);
            let set = self.set_mut(member.set);
            set.failed.clone_from(&failed);
            failed.is_none()
        });
        if members.is_empty() {
            return Ok(());
        }
        let begun = self.try_begin(&mut members, board);
        if let Err(error) = &begun {
            board.count(|work| work.failures += members.len() as u64);
            for member in &members {
                self.set_mut(member.set).failed = Some(reason(error));
            }
        }
        begun
    }

    fn try_begin(&mut self, members: &mut [StepCommand], board: &DeviceStatus) -> Result<(), EngineError> {
        for member in members.iter_mut() {
            self.send_up(member)?;
        }
        if let Some((last, _)) = self.ups.back().filter(|_| members.iter().any(goes_up)) {
            self.run.wait_for(last)?;
        }
        let mut rows = 0;
        for member in members.iter() {
            self.run.record(&self.set(member.set).began)?;
            self.lay_out(member, rows)?;
            rows += member.rows;
        }
        let run = self.benches[members[0].set.graph].run(&self.run, rows)?;
        let mut row = 0;
        for member in members.iter() {
            self.take_off(member, row)?;
            row += member.rows;
        }
        self.seen.runs += 1;
        for member in members.iter() {
            self.run.record(&self.set(member.set).ran)?;
            self.set_mut(member.set).last_run = self.seen.runs;
        }
        board.count(|work| {
            work.steps += members.len() as u64;
            work.runs += 1;
            work.replays += u64::from(run == Run::Replayed);
        });
        Ok(())
    }

    /// What goes up of a step, behind the run that last read its set.
    fn send_up(&mut self, member: &mut StepCommand) -> Result<(), CudaError> {
        // The time of the step before would be taken for this one's.
        self.set_mut(member.set).up = None;
        let Some((block, bytes)) = member.block.take() else { return Ok(()) };
        let set = &self.benches[member.set.graph].sets[member.set.slot][member.set.set];
        if set.last_run > self.seen.runs_by_up {
            self.up.wait(&set.ran)?;
            self.seen.runs_by_up = set.last_run;
        }
        let transfer = self.up.upload(block, &set.inputs, bytes)?;
        self.ups.push_back((transfer, member.set));
        Ok(())
    }

    /// From the set, or the sets of earlier steps, to the bench.
    fn lay_out(&self, member: &StepCommand, row: usize) -> Result<(), CudaError> {
        let (bench, set) = (&self.benches[member.set.graph], self.set(member.set));
        for ((number, port), feed) in bench.desk.side(Side::Input).zip(&member.feeds) {
            let (target, bytes) = (bench.place(number, row), bytes_of(port, member.rows));
            match feed {
                InputSource::Block { at } => self.run.copy_on_device((&set.inputs, *at), target, bytes)?,
                InputSource::Device { set, port } => {
                    let at = self.benches[set.graph].output_at[*port];
                    self.run.copy_on_device((&self.set(*set).outputs, at), target, bytes)?;
                }
            }
        }
        Ok(())
    }

    /// From the bench to the set, behind what was asked of it before.
    fn take_off(&mut self, member: &StepCommand, row: usize) -> Result<(), CudaError> {
        let bench = &self.benches[member.set.graph];
        let set = &bench.sets[member.set.slot][member.set.set];
        if set.last_fetch > self.seen.fetches_by_run {
            self.run.wait(&set.fetched)?;
            self.seen.fetches_by_run = set.last_fetch;
        }
        for (number, port) in bench.desk.side(Side::Output) {
            let target = (&set.outputs, bench.output_at[number]);
            self.run.copy_on_device(bench.place(number, row), target, bytes_of(port, member.rows))?;
        }
        Ok(())
    }

    /// Begins to bring an output back.
    pub fn fetch(&mut self, order: FetchCommand, board: &DeviceStatus) -> Result<(), CudaError> {
        if let Some(failed) = self.set(order.set).failed.clone() {
            let _nobody_waits = order.reply.send(Err(failed));
            return Ok(());
        }
        match self.try_fetch(order.set, order.port, order.bytes, order.block) {
            Ok(transfer) => {
                self.downs.push_back((transfer, order.set, order.reply));
                board.count(|work| work.fetches += 1);
                Ok(())
            }
            Err(error) => {
                let _nobody_waits = order.reply.send(Err(reason(&error.clone().into())));
                Err(error)
            }
        }
    }

    fn try_fetch(&mut self, name: SetName, port: usize, bytes: usize, block: Pinned) -> Result<Transfer, CudaError> {
        let bench = &mut self.benches[name.graph];
        let (set, at) = (&mut bench.sets[name.slot][name.set], bench.output_at[port]);
        if set.last_run > self.seen.runs_by_down {
            self.down.wait(&set.ran)?;
            self.seen.runs_by_down = set.last_run;
        }
        let transfer = self.down.download(&set.outputs, at, bytes, block)?;
        self.down.record(&set.fetched)?;
        self.seen.fetches += 1;
        set.last_fetch = self.seen.fetches;
        Ok(transfer)
    }

    /// Gives away what has arrived. Both ways are in order, so the first that has not is the end.
    pub fn poll(&mut self) -> Result<(), CudaError> {
        self.land_ups()?;
        while let Some((transfer, set, reply)) = self.downs.pop_front() {
            let landed = transfer.poll().and_then(|landed| {
                // What went up for it was there before it ran, but perhaps not yet when the ups were looked at.
                if landed.is_ok() {
                    self.land_ups()?;
                }
                Ok(landed)
            });
            match landed {
                Ok(Ok((block, took))) => {
                    let Set { began, ran, up, .. } = self.set(set);
                    let times = StepTimes { up: *up, run: ran.since(began).ok(), down: Some(took) };
                    let _nobody_waits = reply.send(Ok((block, times)));
                }
                Ok(Err(transfer)) => {
                    self.downs.push_front((transfer, set, reply));
                    break;
                }
                Err(error) => {
                    let _nobody_waits = reply.send(Err(reason(&error.clone().into())));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn land_ups(&mut self) -> Result<(), CudaError> {
        while let Some((transfer, set)) = self.ups.pop_front() {
            match transfer.poll()? {
                Ok((_block, took)) => self.set_mut(set).up = Some(took),
                Err(transfer) => {
                    self.ups.push_front((transfer, set));
                    break;
                }
            }
        }
        Ok(())
    }

    /// Whether something is under way.
    pub fn is_busy(&self) -> bool {
        !self.ups.is_empty() || !self.downs.is_empty()
    }

    /// Waits for what is under way, and lets go of everything.
    pub fn close(self) {
        for stream in [&self.up, &self.run, &self.down] {
            let _closes_all_the_same = stream.synchronise();
        }
    }

    /// Throws the context away after a fault that ended it; whoever waits for something is told `found`.
    pub fn abandon(self, found: &str) {
        for (_, _, reply) in &self.downs {
            let _nobody_waits = reply.send(Err(BackendError::Device { found: found.to_owned() }));
        }
        let rests: Vec<_> = self.benches.into_iter().map(GraphExecutor::dismantle).collect();
        let _was_lost_before = self.device.reset();
        // From here on nothing is given back to the driver, which has forgotten it.
        drop((self.ups, self.downs, rests));
    }

    fn set(&self, name: SetName) -> &Set {
        &self.benches[name.graph].sets[name.slot][name.set]
    }

    fn set_mut(&mut self, name: SetName) -> &mut Set {
        &mut self.benches[name.graph].sets[name.slot][name.set]
    }

    /// Why an input of a step is of no use.
    fn failed_feed(&self, member: &StepCommand) -> Option<BackendError> {
        member.feeds.iter().find_map(|feed| match feed {
            InputSource::Device { set, .. } => self.set(*set).failed.clone(),
            InputSource::Block { .. } => None,
        })
    }
}

fn goes_up(member: &StepCommand) -> bool {
    member.feeds.iter().any(|feed| matches!(feed, InputSource::Block { .. }))
}

/// What a session is told of an engine's error.
pub fn reason(error: &EngineError) -> BackendError {
    match error {
        EngineError::Cuda(error) => BackendError::Device { found: format!("{}: {error}", error.kind().name()) },
        other => BackendError::Run { found: other.to_string() },
    }
}
