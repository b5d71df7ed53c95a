//! When things are due.
