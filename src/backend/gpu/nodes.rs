//! The graphs and kernels on an open device, by their numbers.
//!
//! Decides nothing: finds executors, buffer sets and memory.

use visage_kernels::cuda::Memory;

use super::buffers::{BufferSet, Buffers};
use super::command::{InputSource, SetName};
use super::graph_executor::GraphExecutor;
use super::kernel_executor::KernelExecutor;

/// A graph or kernel on the device, and its slots' buffers.
pub struct Node {
    pub executor: Executor,
    pub buffers: Buffers,
}

pub enum Executor {
    Graph(GraphExecutor),
    Kernel(KernelExecutor),
}

/// All of them, in the order they were loaded.
#[derive(Default)]
pub struct Nodes(pub Vec<Node>);

impl Nodes {
    pub fn graph(&self, number: usize) -> Option<&GraphExecutor> {
        if let Executor::Graph(graph) = &self.0[number].executor { Some(graph) } else { None }
    }

    pub fn graph_mut(&mut self, number: usize) -> Option<&mut GraphExecutor> {
        if let Executor::Graph(graph) = &mut self.0[number].executor { Some(graph) } else { None }
    }

    pub fn kernel(&self, number: usize) -> Option<&KernelExecutor> {
        if let Executor::Kernel(kernel) = &self.0[number].executor { Some(kernel) } else { None }
    }

    pub fn set(&self, name: SetName) -> &BufferSet {
        self.0[name.node].buffers.set(name)
    }

    pub fn set_mut(&mut self, name: SetName) -> &mut BufferSet {
        self.0[name.node].buffers.set_mut(name)
    }

    /// The memory of an input of the step in `own`, and where it begins in it.
    pub fn memory(&self, own: SetName, source: InputSource) -> (&Memory, usize) {
        match source {
            InputSource::Pinned { at } => (&self.set(own).inputs, at),
            InputSource::Device { set, at } => (&self.set(set).outputs, at),
        }
    }

    /// Drops what may still call the driver, and returns the rest for after the context is destroyed.
    pub fn dismantle(self) -> impl Sized {
        let memory = |executor| match executor {
            Executor::Graph(graph) => graph.dismantle(),
            Executor::Kernel(kernel) => kernel.constants.into_iter().map(|(_, memory)| memory).collect(),
        };
        self.0.into_iter().map(|node| (memory(node.executor), node.buffers)).collect::<Vec<_>>()
    }
}
