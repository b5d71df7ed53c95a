//! Stands in for NVIDIA's driver in tests: the calls that visage uses, over host memory.
//!
//! Streams are queues that run as late or as early as a seed says, in any order that events allow; copies read and write when
//! they run, not when they are queued; new memory holds poison. What a missing wait would break on a card breaks here.
//! Everything is counted. Loaded by the same code as the real driver, from a file of its own for each test.

mod calls;
mod control;
mod order;
mod sim;
mod work;
