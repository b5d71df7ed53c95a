//! Values: tensors that go into steps and come out of them, on the host or on a device.
//!
//! Decides which operations a placement allows. A backend brings its own placements by [`DeviceValue`] and
//! [`PendingDownload`]; no backend is named here.

use std::any::Any;
use std::fmt;

use visage_kernels::DType;

use super::{BackendError, Tensor};
use crate::telemetry::StepTimes;

/// A tensor in host memory, in device memory, or being downloaded.
#[derive(Debug)]
pub struct Value {
    dtype: DType,
    shape: Vec<usize>,
    placement: Placement,
}

/// Where a value is.
#[derive(Debug)]
pub(super) enum Placement {
    Host(Tensor),
    Device(Box<dyn DeviceValue>),
    Downloading(Box<dyn PendingDownload>),
}

/// A value that a backend keeps in device memory. Dropping it frees its buffer for another step.
pub(super) trait DeviceValue: fmt::Debug + Send + Any {
    /// Queues the copy to the host of a tensor of this type and shape.
    fn download(&self, dtype: DType, shape: &[usize]) -> Result<Box<dyn PendingDownload>, BackendError>;

    /// For the backend that it belongs to.
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "the CPU backend keeps values on the host"))]
    fn as_any(&self) -> &dyn Any;
}

/// A copy to the host that was queued.
pub(super) trait PendingDownload: fmt::Debug + Send {
    /// Whether it is done or has failed.
    fn is_ready(&mut self) -> bool;

    /// The tensor with the times of the step that it comes from; waits if it is not ready.
    fn take(self: Box<Self>) -> Result<(Tensor, StepTimes), BackendError>;
}

impl From<Tensor> for Value {
    fn from(tensor: Tensor) -> Self {
        Self { dtype: tensor.dtype(), shape: tensor.shape().to_vec(), placement: Placement::Host(tensor) }
    }
}

impl Value {
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "the CPU backend keeps values on the host"))]
    pub(super) fn on_device(dtype: DType, shape: Vec<usize>, value: Box<dyn DeviceValue>) -> Self {
        Self { dtype, shape, placement: Placement::Device(value) }
    }

    pub(super) fn placement(&self) -> &Placement {
        &self.placement
    }

    /// The type of its elements.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The length of each axis.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its size in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bytes()
    }

    /// The same elements in another shape; nothing is copied.
    ///
    /// # Errors
    /// If the shape has more or fewer elements, or the value is being downloaded.
    pub fn reshaped(self, shape: &[usize]) -> Result<Self, BackendError> {
        let failed = || BackendError::Run { found: format!("{:?} cannot be reshaped to {shape:?}", self.shape) };
        if shape.iter().product::<usize>() != self.shape.iter().product::<usize>() {
            return Err(failed());
        }
        let placement = match self.placement {
            Placement::Host(tensor) => tensor.reshaped(shape).map(Placement::Host),
            Placement::Downloading(_) => None,
            device @ Placement::Device(_) => Some(device),
        };
        let found = || BackendError::Run { found: format!("a value being downloaded cannot be {shape:?}") };
        Ok(Self { dtype: self.dtype, shape: shape.to_vec(), placement: placement.ok_or_else(found)? })
    }

    /// Queues the download: from now on the value cannot be an input of another step. Poll with [`Value::is_ready`].
    /// On the host it is ready at once.
    ///
    /// # Errors
    /// If there is no room for it now ([`BackendError::Busy`]), or the device failed.
    pub fn download(&mut self) -> Result<(), BackendError> {
        if let Placement::Device(value) = &self.placement {
            self.placement = Placement::Downloading(value.download(self.dtype, &self.shape)?);
        }
        Ok(())
    }

    /// Whether [`Value::take`] returns without waiting. Never for a value in device memory whose download was not queued.
    #[must_use]
    pub fn is_ready(&mut self) -> bool {
        match &mut self.placement {
            Placement::Host(_) => true,
            Placement::Device(_) => false,
            Placement::Downloading(pending) => pending.is_ready(),
        }
    }

    /// The tensor. Waits if it is not ready: for tools and tests; the media path polls [`Value::is_ready`] first.
    ///
    /// # Errors
    /// As for [`Value::download`], and if the step that it comes from failed.
    pub fn take(self) -> Result<Tensor, BackendError> {
        self.take_timed().map(|(tensor, _)| tensor)
    }

    /// The tensor as by [`Value::take`], with the times of its step.
    ///
    /// # Errors
    /// As for [`Value::take`].
    pub fn take_timed(mut self) -> Result<(Tensor, StepTimes), BackendError> {
        self.download()?;
        match self.placement {
            Placement::Host(tensor) => Ok((tensor, StepTimes::default())),
            Placement::Downloading(pending) => pending.take(),
            Placement::Device(_) => Err(BackendError::Run { found: "the download was not queued".to_owned() }),
        }
    }
}
