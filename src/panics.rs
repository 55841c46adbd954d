//! Contains panics of the user's code: of a closure, a `Drop`, a `Clone`, a waker.

use std::{
    any::Any,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Runs `f`; a panic in it ends here.
pub(crate) fn contain(f: impl FnOnce()) {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(discard);
}

/// Runs `f`; `None` if it panicked.
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(f)).map_err(discard).ok()
}

/// Drops the payload of a panic. It is a value of the user's, whose own `Drop` may panic; then it is leaked.
#[cold]
pub(crate) fn discard(panic: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        mem::forget(again);
    }
}

/// Drops the items one by one, so that a panic in one `Drop` is contained: two panicking drops in one `Vec` would abort the process.
pub(crate) fn drop_each<T>(items: &mut Vec<T>) {
    if !mem::needs_drop::<T>() {
        return items.clear();
    }
    for item in items.drain(..) {
        contain(|| drop(item));
    }
}
