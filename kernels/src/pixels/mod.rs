//! Pixels in numbers: blending, sampling and conversion, several channels or pixels at a time.
//!
//! Decides the arithmetic and which instructions do it. Does not decide what is drawn.

pub mod i420;
pub mod pairs;
pub mod runs;
pub mod words;
