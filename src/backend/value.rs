//! Tensors, and values that may be elsewhere.

use super::BackendError;
#[cfg(feature = "cuda")]
use super::gpu::{DeviceTensor, Downloading};
use crate::telemetry::StepTimes;

/// A dense tensor of `f32`, row major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// As many values as the lengths multiply to.
    pub values: Vec<f32>,
}

impl Tensor {
    /// Zeros.
    #[must_use]
    pub fn zeros(shape: &[usize]) -> Self {
        Self { shape: shape.to_vec(), values: vec![0.0; shape.iter().product()] }
    }
}

/// What goes into steps and comes out of them: here, or where the engine reckons.
#[derive(Debug)]
pub struct Value(pub(super) Held);

/// Where a value is.
#[derive(Debug)]
pub(super) enum Held {
    /// In this program's memory.
    Here(Tensor),
    /// On the card.
    #[cfg(feature = "cuda")]
    There(DeviceTensor),
    /// On its way from the card.
    #[cfg(feature = "cuda")]
    Downloading(Downloading),
}

impl From<Tensor> for Value {
    fn from(tensor: Tensor) -> Self {
        Self(Held::Here(tensor))
    }
}

impl Value {
    /// Length of each axis.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        match &self.0 {
            Held::Here(tensor) => &tensor.shape,
            #[cfg(feature = "cuda")]
            Held::There(resident) => resident.shape(),
            #[cfg(feature = "cuda")]
            Held::Downloading(coming) => coming.shape(),
        }
    }

    /// Asks for it: from now on it is on its way here, and no input for another step.
    ///
    /// # Errors
    /// If there is no room for it now; or if the device failed.
    pub fn ask(&mut self) -> Result<(), BackendError> {
        #[cfg(feature = "cuda")]
        if let Held::There(resident) = &self.0 {
            self.0 = Held::Downloading(resident.ask()?);
        }
        Ok(())
    }

    /// Whether [`Value::take`] would not wait.
    #[must_use]
    pub fn is_here(&mut self) -> bool {
        match &mut self.0 {
            Held::Here(_) => true,
            #[cfg(feature = "cuda")]
            Held::There(_) => false,
            #[cfg(feature = "cuda")]
            Held::Downloading(coming) => coming.is_here(),
        }
    }

    /// The tensor, waited for if need be.
    ///
    /// # Errors
    /// As for [`Value::ask`], and if the step it comes from failed.
    pub fn take(self) -> Result<Tensor, BackendError> {
        self.take_timed().map(|(tensor, _)| tensor)
    }

    /// The tensor as by [`Value::take`], with the times of its step.
    ///
    /// # Errors
    /// As for [`Value::take`].
    pub fn take_timed(self) -> Result<(Tensor, StepTimes), BackendError> {
        match self.0 {
            Held::Here(tensor) => Ok((tensor, StepTimes::default())),
            #[cfg(feature = "cuda")]
            Held::There(resident) => {
                let coming = resident.ask()?;
                drop(resident);
                coming.take()
            }
            #[cfg(feature = "cuda")]
            Held::Downloading(coming) => coming.take(),
        }
    }
}
