//! What the hand-off between threads is made of. The model checker in `loom/` compiles [`bell`](crate::bell) against its own.

pub(crate) use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use futures_util::task::AtomicWaker;
