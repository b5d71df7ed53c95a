//! The stub driver: NVIDIA's driver API as far as visage uses it, over host memory, for tests.
//!
//! Streams are queues that execute as early or as late as a seed decides, in any interleaving that events allow; copies read
//! and write when they execute, not when they are queued; new memory holds poison. What a missing wait breaks on a GPU breaks
//! here. Every call is counted. It is loaded by the same code as the real driver, from a copy of the library for each test.

mod calls;
mod control;
mod order;
mod sim;
mod work;
