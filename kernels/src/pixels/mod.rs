//! Pixel arithmetic: blending, sampling and conversion, several channels or pixels at a time.
//!
//! Decides the arithmetic and the instructions. Does not decide what is drawn.

pub mod i420;
pub mod pairs;
pub mod runs;
pub mod words;
