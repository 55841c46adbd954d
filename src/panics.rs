//! Contains panics of user code: of closures, of `Drop` and `Clone`, and of wakers.

use std::{
    any::Any,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Runs `f` and contains its panic.
pub(crate) fn contain(f: impl FnOnce()) {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(discard);
}

/// Runs `f`. Returns `None` if it panics.
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(f)).map_err(discard).ok()
}

/// Drops the payload of a panic. The payload is a value of the user's. If its own `Drop` panics, the second payload is leaked.
#[cold]
pub(crate) fn discard(panic: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        mem::forget(again);
    }
}

/// Drops the items one by one and contains each panic. Two panicking drops in one `Vec` would abort the process.
pub(crate) fn drop_each<T>(items: &mut Vec<T>) {
    if !mem::needs_drop::<T>() {
        return items.clear();
    }
    let mut items = items.drain(..);
    // One catch for all of them, which none of them has to be moved through, and another one after each panic.
    while items.len() > 0 {
        contain(|| items.by_ref().for_each(drop));
    }
}
