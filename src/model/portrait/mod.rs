//! The built-in model: a small network moves the mouth, a life of its own the rest, a renderer draws the face.

mod idle_motion;
mod mouth;
mod pack;

use std::sync::Arc;

pub use idle_motion::IdleMotion;
pub use mouth::{Mouth, MouthMoment, MouthNet};
pub use pack::Portrait;

use super::{Animator, ModelError};
use crate::face::{Face, Pose, Surface};
use crate::media::{FrameSize, PcmBlock, VideoFrame};
use crate::telemetry::{Marks, Stage};
use crate::time::{SampleIndex, Wall};

/// One face at work.
struct PortraitAnimator {
    mouth: Mouth,
    look_ahead_samples: u64,
    life: IdleMotion,
    face: Box<dyn Face>,
    surface: Surface,
    level: f32,
    hears_from: SampleIndex,
    heard_blocks: u64,
}

impl PortraitAnimator {
    fn new(net: &Arc<MouthNet>, face: Box<dyn Face>, size: FrameSize, seed: u64) -> Result<Self, ModelError> {
        Ok(Self {
            mouth: Mouth::new(Arc::clone(net))?,
            look_ahead_samples: net.look_ahead_samples(),
            life: IdleMotion::new(seed),
            face,
            surface: Surface::new(size),
            level: 0.0,
            hears_from: SampleIndex::ZERO,
            heard_blocks: 0,
        })
    }
}

impl Animator for PortraitAnimator {
    fn look_ahead_samples(&self) -> u64 {
        self.look_ahead_samples
    }

    fn hear(&mut self, block: &PcmBlock, at: SampleIndex) -> Result<(), ModelError> {
        if self.heard_blocks == 0 {
            // An actor who takes over in the middle of a line counts from the first block it hears.
            self.hears_from = at;
        }
        self.heard_blocks += 1;
        let loud = (block.level() * 9.0).min(1.0);
        self.level += (loud - self.level) * if loud > self.level { 0.6 } else { 0.15 };
        self.mouth.hear(&block.line[..])
    }

    fn show(&mut self, at: SampleIndex, picture: &mut VideoFrame, marks: &mut Marks, wall: Wall) {
        let moment = self.mouth.at(SampleIndex(at.samples_since(self.hears_from)));
        let mut pose = Pose { weights: moment.weights, ..Pose::default() };
        self.life.live(at, self.level * moment.voice, &mut pose);
        marks.step = self.mouth.take_times();
        marks.stamp(Stage::Modelled, wall.now());
        self.face.draw(&pose, &mut self.surface);
        self.surface.write_i420(picture);
        marks.stamp(Stage::Drawn, wall.now());
    }

    fn hush(&mut self) {
        self.mouth.hush();
        self.life.hush();
        self.level = 0.0;
    }
}
