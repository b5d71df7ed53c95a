//! CUDA graphs: work captured from a stream, replayed by one call.
//!
//! Decides that a capture that was begun is ended. The owner keeps what it refers to.

use std::ptr;
use std::sync::Arc;

use super::device::Context;
use super::driver::check;
use super::error::CudaError;
use super::stream::Stream;
use super::sys::{CUgraph, CUgraphExec, CUstreamCaptureMode};

/// A captured section of a stream. The caller that replays it must keep the memory and engines it refers to.
#[derive(Debug)]
pub struct Graph {
    context: Arc<Context>,
    ready: CUgraphExec,
}

// SAFETY: as for `Stream`.
unsafe impl Send for Graph {}

impl Graph {
    /// Captures what `queue` queues on `stream` instead of executing it.
    ///
    /// # Errors
    /// If `queue` fails, or queues what cannot be captured.
    pub fn capture<E: From<CudaError>>(
        stream: &Stream,
        queue: impl FnOnce(&Stream) -> Result<(), E>,
    ) -> Result<Self, E> {
        let calls = stream.context().living("cuStreamBeginCapture_v2")?;
        // Other threads of the process may call the driver meanwhile.
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream's handle lives as long as `stream`.
        check("cuStreamBeginCapture_v2", unsafe { (calls.cuStreamBeginCapture_v2)(stream.raw(), mode) })?;
        let queued = queue(stream);
        let mut template: CUgraph = ptr::null_mut();
        // SAFETY: as above; the address is that of a handle that outlives the call. The capture is ended also after a failure.
        let status = unsafe { (calls.cuStreamEndCapture)(stream.raw(), &raw mut template) };
        let template = Template { context: Arc::clone(stream.context()), graph: template };
        queued?;
        check("cuStreamEndCapture", status)?;
        Ok(template.ready()?)
    }

    /// Queues all of it on a stream.
    ///
    /// # Errors
    /// The driver's error.
    pub fn replay(&self, stream: &Stream) -> Result<(), CudaError> {
        // SAFETY: both handles live as long as their owners.
        check("cuGraphLaunch", unsafe {
            (self.context.living("cuGraphLaunch")?.cuGraphLaunch)(self.ready, stream.raw())
        })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if self.context.takes_back() {
            // SAFETY: made once, destroyed once.
            unsafe { (self.context.calls().cuGraphExecDestroy)(self.ready) };
        }
    }
}

/// A captured graph before it is instantiated.
struct Template {
    context: Arc<Context>,
    graph: CUgraph,
}

impl Template {
    fn ready(&self) -> Result<Graph, CudaError> {
        let mut ready = ptr::null_mut();
        // SAFETY: the graph is one that was captured; the address is that of a handle that outlives the call.
        let status = unsafe { (self.context.calls().cuGraphInstantiateWithFlags)(&raw mut ready, self.graph, 0) };
        check("cuGraphInstantiateWithFlags", status)?;
        Ok(Graph { context: Arc::clone(&self.context), ready })
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        if !self.graph.is_null() && self.context.takes_back() {
            // SAFETY: captured once, destroyed once; the instantiated graph does not need it.
            unsafe { (self.context.calls().cuGraphDestroy)(self.graph) };
        }
    }
}
