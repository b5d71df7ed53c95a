//! The three streams of a device, and their dependencies.
//!
//! Decides the order. Copies in both directions and computation overlap, except where one needs the other:
//!
//! | work | stream | waits for |
//! |---|---|---|
//! | upload of a step's inputs into its buffer set | upload | the run that last read that set |
//! | inputs to the executor, the run, outputs to the buffer set | compute | that upload; downloads queued from that set |
//! | download of an output from its buffer set | download | the run that wrote it |
//!
//! Everything a run reads in place (outputs of earlier steps) was written on the compute stream before it: no wait.

use visage_kernels::cuda::{CudaError, Device, Stream, Transfer};

use super::buffers::BufferSet;

/// The streams, and how far each has waited for the others.
///
/// Streams execute in order, and so do waits: a stream that has waited for run 7 has also waited for runs 1 to 6. Runs and
/// downloads are numbered, so that redundant waits are omitted.
pub struct Streams {
    pub upload: Stream,
    pub compute: Stream,
    pub download: Stream,
    runs: u64,
    downloads: u64,
    runs_awaited_by_upload: u64,
    runs_awaited_by_download: u64,
    downloads_awaited_by_compute: u64,
}

impl Streams {
    pub fn new(device: &Device) -> Result<Self, CudaError> {
        Ok(Self {
            upload: Stream::new(device)?,
            compute: Stream::new(device)?,
            download: Stream::new(device)?,
            runs: 0,
            downloads: 0,
            runs_awaited_by_upload: 0,
            runs_awaited_by_download: 0,
            downloads_awaited_by_compute: 0,
        })
    }

    /// Uploads into a buffer set wait for the run that last read it.
    pub fn order_upload(&mut self, set: &BufferSet) -> Result<(), CudaError> {
        if set.last_run > self.runs_awaited_by_upload {
            self.upload.wait(&set.finished)?;
            self.runs_awaited_by_upload = set.last_run;
        }
        Ok(())
    }

    /// Runs wait for the last upload of their inputs.
    pub fn order_inputs(&self, upload: &Transfer) -> Result<(), CudaError> {
        self.compute.wait_for(upload)
    }

    /// Writes into a buffer set wait for the downloads that read it.
    pub fn order_outputs(&mut self, set: &BufferSet) -> Result<(), CudaError> {
        if set.last_download > self.downloads_awaited_by_compute {
            self.compute.wait(&set.downloaded)?;
            self.downloads_awaited_by_compute = set.last_download;
        }
        Ok(())
    }

    /// Downloads from a buffer set wait for the run that wrote it.
    pub fn order_download(&mut self, set: &BufferSet) -> Result<(), CudaError> {
        if set.last_run > self.runs_awaited_by_download {
            self.download.wait(&set.finished)?;
            self.runs_awaited_by_download = set.last_run;
        }
        Ok(())
    }

    /// Numbers the next run; [`Streams::mark_finished`] records it for each of its buffer sets.
    pub fn next_run(&mut self) {
        self.runs += 1;
    }

    pub fn mark_finished(&self, set: &mut BufferSet) -> Result<(), CudaError> {
        self.compute.record(&set.finished)?;
        set.last_run = self.runs;
        Ok(())
    }

    pub fn mark_downloaded(&mut self, set: &mut BufferSet) -> Result<(), CudaError> {
        self.download.record(&set.downloaded)?;
        self.downloads += 1;
        set.last_download = self.downloads;
        Ok(())
    }

    /// Waits for all queued work: for closing, not in the loop.
    pub fn synchronise(&self) {
        for stream in [&self.upload, &self.compute, &self.download] {
            let _closes_all_the_same = stream.synchronise();
        }
    }
}
