//! The built-in model: a small network moves the mouth, idle motion the rest, a renderer draws the face.

mod folder;
mod front_end;
mod idle_motion;
mod mouth;
mod pack;

use std::sync::Arc;

pub use idle_motion::IdleMotion;
pub use mouth::{Mouth, MouthMoment, MouthNet};
pub use pack::Portrait;

use pack::PortraitModel;

use super::{Animator, Cadence, FramePoll, ModelError};
use crate::face::{Face, Pose, Surface};
use crate::media::{FrameSize, PcmBlock, VideoFrame};
use crate::telemetry::{Marks, Stage};
use crate::time::{Rate, SPEECH_HZ, SampleIndex, Wall};

/// Frames per second.
const FPS: u32 = 25;
/// Samples from one frame to the next. The network's phase is fitted to it: one step of 40 ms for each frame.
const FRAME_SAMPLES: u64 = (SPEECH_HZ / FPS) as u64;

/// One avatar in one session.
struct PortraitAnimator {
    mouth: Mouth,
    cadence: Cadence,
    idle: IdleMotion,
    face: Box<dyn Face>,
    /// Held so that the store knows that it is used.
    _model: Arc<PortraitModel>,
    surface: Surface,
    level: f32,
    /// Time of the first block: an animator that replaces another one starts in the middle of the timeline.
    first_block: Option<SampleIndex>,
}

impl PortraitAnimator {
    fn new(net: &Arc<MouthNet>, model: Arc<PortraitModel>, size: FrameSize, seed: u64) -> Result<Self, ModelError> {
        let rate = Rate::new(FPS, 1).expect("a constant above zero");
        Ok(Self {
            mouth: Mouth::new(Arc::clone(net))?,
            cadence: Cadence::per_frame(rate, net.look_ahead_samples()),
            idle: IdleMotion::new(seed),
            face: model.face(),
            _model: model,
            surface: Surface::new(size),
            level: 0.0,
            first_block: None,
        })
    }
}

impl Animator for PortraitAnimator {
    fn cadence(&self) -> Cadence {
        self.cadence
    }

    fn push_audio(&mut self, block: &PcmBlock, at: SampleIndex) -> Result<(), ModelError> {
        self.first_block.get_or_insert(at);
        let loud = (block.level() * 9.0).min(1.0);
        self.level += (loud - self.level) * if loud > self.level { 0.6 } else { 0.15 };
        self.mouth.push_audio(&block.speech_16k[..])
    }

    fn poll(
        &mut self,
        at: SampleIndex,
        frame: &mut VideoFrame,
        marks: &mut Marks,
        wall: Wall,
    ) -> Result<FramePoll, ModelError> {
        let mouth_at = SampleIndex(at.samples_since(self.first_block.unwrap_or_default()));
        let Some(moment) = self.mouth.poll(mouth_at)? else { return Ok(FramePoll::NotYet) };
        let mut pose = Pose { weights: moment.weights, ..Pose::default() };
        self.idle.advance(at, self.level * moment.voice, &mut pose);
        marks.step = self.mouth.take_times();
        marks.stamp(Stage::Inferred, wall.now());
        self.face.draw(&pose, &mut self.surface);
        self.surface.write_i420(frame);
        marks.stamp(Stage::Rendered, wall.now());
        Ok(FramePoll::Ready)
    }

    fn reset(&mut self) {
        self.mouth.reset();
        self.idle.reset();
        self.level = 0.0;
    }
}
