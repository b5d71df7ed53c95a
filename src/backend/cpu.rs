//! rten.
/// To be written.
pub struct Cpu;
