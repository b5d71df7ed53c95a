//! A graph on the device: its engine, the I/O buffers that all runs share, and captured CUDA graphs.
//!
//! Decides what a run reads and writes. All runs of a graph use the same I/O buffers, so that each batch size is captured
//! once, whichever sessions' rows it holds; rows are copied between I/O buffers and buffer sets on the device.

use std::collections::BTreeMap;
use std::sync::Arc;

use visage_kernels::cuda::{AxisRange, CudaError, Device, Engine, EngineError, Graph, Memory, PinnedPool, Stream};

use super::super::{Lengths, TensorInfo};
use super::loaded::LoadedGraph;

/// A graph on the device.
pub struct GraphExecutor {
    /// Captured runs by their lengths; `None` where the engine cannot be captured.
    captured: BTreeMap<Lengths, Option<Graph>>,
    engine: Box<dyn Engine>,
    /// Memory of each tensor at its longest, in the order of the engine's addresses.
    io: Vec<Memory>,
    pub loaded: Arc<LoadedGraph>,
}

/// How a run was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunKind {
    /// A captured graph was replayed.
    Replayed,
    /// Its kernels were queued one by one.
    Queued,
}

impl GraphExecutor {
    /// Reserves the I/O buffers, and captures the runs that will be replayed: every batch size up to the largest that sessions
    /// share, and the one that the engine is optimised for; other free axes have the length that it is optimised for.
    pub fn new(
        device: &Device,
        compute: &Stream,
        mut engine: Box<dyn Engine>,
        loaded: Arc<LoadedGraph>,
    ) -> Result<Self, EngineError> {
        let bytes = |tensor: &&TensorInfo| tensor.bytes_for(&loaded.max).unwrap_or(0);
        let sizes: Vec<usize> = engine.tensors().iter().map(bytes).collect();
        let io = sizes.into_iter().map(|bytes| Memory::take(device, bytes)).collect::<Result<Vec<_>, _>>()?;
        let captured = zero(device, compute, &io[..loaded.signature.inputs.len()])
            .map_err(EngineError::from)
            .and_then(|()| capture_all(engine.as_mut(), compute, &loaded, &io))
            // Work that is queued uses the I/O buffers, which are freed next.
            .inspect_err(|_| drop(compute.synchronise()))?;
        engine.warmed_up();
        Ok(Self { captured, engine, io, loaded })
    }

    /// Queues one run.
    pub fn run(&mut self, stream: &Stream, lengths: &Lengths) -> Result<RunKind, EngineError> {
        if let Some(Some(graph)) = self.captured.get(lengths) {
            graph.replay(stream)?;
            return Ok(RunKind::Replayed);
        }
        let addresses: Vec<u64> = self.io.iter().map(Memory::address).collect();
        self.engine.enqueue(stream, lengths, &addresses)?;
        Ok(RunKind::Queued)
    }

    /// The I/O buffer of an input, and where a step's rows begin in it.
    pub fn input(&self, input: usize, lengths: &Lengths, row: usize) -> (&Memory, usize) {
        (&self.io[input], self.row_at(&self.loaded.signature.inputs[input], lengths, row))
    }

    /// The I/O buffer of an output, and where a step's rows begin in it.
    pub fn output(&self, output: usize, lengths: &Lengths, row: usize) -> (&Memory, usize) {
        let inputs = self.loaded.signature.inputs.len();
        (&self.io[inputs + output], self.row_at(&self.loaded.signature.outputs[output], lengths, row))
    }

    fn row_at(&self, tensor: &TensorInfo, lengths: &Lengths, row: usize) -> usize {
        let Some(axis) = self.loaded.batch_axis.as_ref() else { return 0 };
        let mut above = lengths.clone();
        above.insert(axis.clone(), row);
        tensor.bytes_for(&above).unwrap_or(0)
    }

    /// Drops everything that may still call the driver, and returns the rest for after the context is destroyed.
    pub fn dismantle(self) -> Vec<Memory> {
        drop(self.captured);
        drop(self.engine);
        self.io
    }
}

/// The lengths of runs that are captured.
fn lengths_to_capture(loaded: &LoadedGraph, ranges: &BTreeMap<String, AxisRange>) -> Vec<Lengths> {
    let optimal: Lengths = ranges.iter().map(|(axis, range)| (axis.clone(), range.opt)).collect();
    let Some(axis) = &loaded.batch_axis else { return vec![optimal] };
    let with_rows = |rows| {
        let mut lengths = optimal.clone();
        lengths.insert(axis.clone(), rows);
        lengths
    };
    let rows = (1..=loaded.shared_rows).chain((optimal[axis] > loaded.shared_rows).then_some(optimal[axis]));
    rows.map(with_rows).collect()
}

/// Fills inputs with zeros: warm-up runs read them, and any other index may be out of bounds.
fn zero(device: &Device, stream: &Stream, inputs: &[Memory]) -> Result<(), CudaError> {
    let longest = inputs.iter().map(Memory::bytes).max().unwrap_or(0);
    // Pinned memory is zero at first.
    let pool = PinnedPool::reserve(device, 1, longest)?;
    for memory in inputs {
        let pinned = pool.take().ok_or(CudaError { call: "PinnedPool::take", status: 2 })?;
        // Dropping the transfer waits for it.
        drop(stream.upload(pinned, memory, memory.bytes())?);
    }
    Ok(())
}

fn capture_all(
    engine: &mut dyn Engine,
    compute: &Stream,
    loaded: &LoadedGraph,
    io: &[Memory],
) -> Result<BTreeMap<Lengths, Option<Graph>>, EngineError> {
    let addresses: Vec<u64> = io.iter().map(Memory::address).collect();
    let wanted = lengths_to_capture(loaded, engine.ranges());
    let mut capture = |lengths: Lengths| {
        let graph = warm_up(engine, compute, &lengths, &addresses)?;
        Ok((lengths, graph))
    };
    wanted.into_iter().map(&mut capture).collect()
}

/// Runs once, because engines do at their first run what cannot be captured; captures; and replays once, because drivers allocate
/// memory for a graph at its first launch.
fn warm_up(
    engine: &mut dyn Engine,
    compute: &Stream,
    lengths: &Lengths,
    addresses: &[u64],
) -> Result<Option<Graph>, EngineError> {
    engine.enqueue(compute, lengths, addresses)?;
    compute.synchronise()?;
    match Graph::capture(compute, |stream| engine.enqueue(stream, lengths, addresses)) {
        Ok(graph) => {
            graph.replay(compute)?;
            compute.synchronise()?;
            Ok(Some(graph))
        }
        Err(error) if is_about_capture(&error) => {
            // It runs without capture, or returns its error now. The counters show runs that were not replays.
            engine.enqueue(compute, lengths, addresses)?;
            compute.synchronise()?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Whether an engine that has just run may have failed because of the capture: TensorRT only says that it failed.
fn is_about_capture(error: &EngineError) -> bool {
    match error {
        EngineError::Cuda(error) => error.is_about_capture(),
        EngineError::Run { .. } => true,
        EngineError::Unfit { .. } => false,
    }
}

/// Whether a step may share a run with others of the same graph: they differ at most in how many rows they have.
pub fn can_share(loaded: &LoadedGraph, (first, next): (&Lengths, &Lengths), rows: usize) -> bool {
    let Some(axis) = &loaded.batch_axis else { return false };
    let fits = rows + loaded.rows(next) <= loaded.shared_rows;
    fits && first.iter().zip(next).all(|(a, b)| a.0 == b.0 && (a.0 == axis || a.1 == b.1))
}

/// The lengths of a run over `rows` rows of steps like `first`.
pub fn batched(loaded: &LoadedGraph, first: &Lengths, rows: usize) -> Lengths {
    let mut lengths = first.clone();
    if let Some(axis) = &loaded.batch_axis {
        lengths.insert(axis.clone(), rows);
    }
    lengths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Axis, DType, Signature};

    fn loaded() -> LoadedGraph {
        let axes = |names: &[&str]| names.iter().map(|name| Axis::free(name)).collect::<Vec<_>>();
        let info = |name: &str, shape| TensorInfo { name: name.to_owned(), dtype: DType::F16, shape };
        let signature = Signature {
            inputs: vec![info("x", axes(&["batch", "height"]))],
            outputs: vec![info("y", axes(&["batch", "height"]))],
        };
        let range = |min, opt, max| AxisRange { min, opt, max };
        let ranges = [("batch".to_owned(), range(1, 6, 9)), ("height".to_owned(), range(2, 4, 8))].into();
        let loaded = LoadedGraph::new(0, ("g".to_owned(), 3), signature, &ranges, 3).expect("bounded");
        assert_eq!(lengths_to_capture(&loaded, &ranges), [1, 2, 3, 6].map(|rows| lengths(rows, 4)));
        loaded
    }

    fn lengths(batch: usize, height: usize) -> Lengths {
        [("batch".to_owned(), batch), ("height".to_owned(), height)].into()
    }

    #[test]
    fn steps_share_a_run_if_they_differ_in_rows_only_and_fit_the_largest_batch() {
        let loaded = loaded();
        assert_eq!((loaded.batch_axis.as_deref(), loaded.input_bytes()), (Some("batch"), 256));
        assert!(can_share(&loaded, (&lengths(1, 4), &lengths(2, 4)), 1));
        assert!(!can_share(&loaded, (&lengths(1, 4), &lengths(3, 4)), 1), "four rows, three are shared");
        assert!(!can_share(&loaded, (&lengths(1, 4), &lengths(1, 5)), 1), "another height");
        assert_eq!(batched(&loaded, &lengths(1, 4), 3), lengths(3, 4));
        for (batch, height, fits) in [(1, 2, true), (9, 8, true), (10, 8, false), (1, 1, false), (1, 9, false)] {
            assert_eq!(loaded.check(&lengths(batch, height)).is_ok(), fits, "{batch} {height}");
        }
    }
}
