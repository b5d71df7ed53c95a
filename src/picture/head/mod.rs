//! Rendered heads: a mesh textured from key poses.

use std::sync::Arc;

use crate::picture::{Face, Pose, Surface};

/// To come.
#[derive(Debug)]
pub struct HeadModel;
/// To come.
pub struct HeadFace;

impl HeadModel {
    /// To come.
    ///
    /// # Errors
    /// Always.
    pub fn load<'a>(_files: &dyn Fn(&str) -> Option<&'a [u8]>, _side_px: u32) -> Result<Self, String> {
        Err("heads are to come".to_owned())
    }
}

impl HeadFace {
    /// To come.
    #[must_use]
    pub fn new(_model: Arc<HeadModel>) -> Self {
        Self
    }
}

impl Face for HeadFace {
    fn draw(&mut self, _pose: &Pose, _surface: &mut Surface) {}
}
