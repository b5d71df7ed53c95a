//! Packs made runnable.
