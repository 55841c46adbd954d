//! The primitives of the hand-off between threads. The model checker in `loom/` compiles [`bell`](crate::bell) with its own
//! versions.

pub(crate) use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use futures_util::task::AtomicWaker;
