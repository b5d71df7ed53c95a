//! What only unsafe or foreign code can ask: graphics cards, and raw options of codec libraries.
//!
//! The only package that may hold unsafe code; what it gives away is safe.

#![warn(missing_docs)]

mod cards;
pub mod h264;

pub use cards::{Card, find_cards};
