//! Keeps a panic of the user's code – a closure, a `Drop`, a `Clone`, a waker – from spreading.

use std::{
    any::Any,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Runs `f`; a panic in it ends here.
pub(crate) fn contain(f: impl FnOnce()) {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(discard);
}

/// Drops what a panic carries. That is the user's too, and may panic in its own `Drop`; then it is leaked.
#[cold]
pub(crate) fn discard(panic: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        mem::forget(again);
    }
}

/// Drops every item by itself, so that a panic in one `Drop` stays there: of two in one `Vec` the second aborts the process.
pub(crate) fn drop_each<T>(items: &mut Vec<T>) {
    if !mem::needs_drop::<T>() {
        return items.clear();
    }
    for item in items.drain(..) {
        contain(|| drop(item));
    }
}
