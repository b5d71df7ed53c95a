//! The only unsafe code of visage: what the graphics card is asked.

pub mod h264;
