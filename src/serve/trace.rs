//! The file of `--trace`: a thread that writes frames as they are sent.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::thread::{self, JoinHandle};

use visage_engines::output_file::OutputFile;

use crate::telemetry::{ChromeTrace, Trace, Traced};
use crate::time::Wall;

/// A trace being written. It gets its name, as complete JSON, by [`TraceFile::finish`]. A process that dies leaves it
/// beside that path with the extension `.unfinished`, which the viewers of Chrome and Perfetto read as well.
#[derive(Debug)]
pub struct TraceFile {
    trace: Trace,
    writer: JoinHandle<io::Result<u64>>,
}

/// The result of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceReport {
    /// Frames written.
    pub frames: u64,
    /// Frames dropped because writing was too slow.
    pub lost: u64,
}

impl TraceFile {
    /// Begins the file; times in it count from now.
    ///
    /// # Errors
    /// If the file cannot be written, or no thread started.
    pub fn create(path: &Path, wall: Wall) -> io::Result<Self> {
        let file = OutputFile::create(path)?;
        let (trace, frames) = Trace::new();
        let (chrome, counted) = (ChromeTrace::new(wall.now()), trace.clone());
        let writer = thread::Builder::new().name("trace".to_owned());
        let writer = writer.spawn(move || write(file, &frames, chrome, &counted))?;
        Ok(Self { trace, writer })
    }

    /// Where sent frames are reported.
    #[must_use]
    pub fn trace(&self) -> Trace {
        self.trace.clone()
    }

    /// Writes queued frames and closes the file.
    ///
    /// # Errors
    /// If not everything could be written, such as on a full disk.
    pub fn finish(self) -> io::Result<TraceReport> {
        self.trace.end();
        let lost = self.trace.lost();
        let frames =
            self.writer.join().map_err(|_our_bug| io::Error::other("the writer of the trace broke down"))??;
        Ok(TraceReport { frames, lost })
    }
}

fn write(output: OutputFile, frames: &Receiver<Traced>, mut chrome: ChromeTrace, counted: &Trace) -> io::Result<u64> {
    let mut file = BufWriter::new(output.handle()?);
    let (mut text, mut written) = (String::new(), 0);
    while let Ok(Traced::Frame(session, marks)) = frames.recv() {
        chrome.frame(session, &marks, &mut text);
        file.write_all(text.as_bytes())?;
        text.clear();
        written += 1;
    }
    chrome.finish(counted.lost(), &mut text);
    file.write_all(text.as_bytes())?;
    file.flush()?;
    output.commit()?;
    Ok(written)
}
