//! User code that comes back to the collector from where it must not run: a key whose `Drop` submits, an output whose `Clone` does.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    marker::PhantomData,
    mem::needs_drop,
};

use crate::panics::{contain, drop_each};

thread_local! {
    /// How many locks of intakes with keys this thread holds.
    static LOCKS: Cell<usize> = const { Cell::new(0) };
    static DROPPED_LATER: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
    static COPYING: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, values that are dropped by [`drop_unlocked`] on this thread are kept. The last one drops them.
///
/// Keep it longer than the guard of the lock.
pub(crate) struct DropsKept(PhantomData<*const ()>);

impl DropsKept {
    pub(crate) fn new() -> Self {
        LOCKS.set(LOCKS.get() + 1);
        Self(PhantomData)
    }
}

impl Drop for DropsKept {
    fn drop(&mut self) {
        LOCKS.set(LOCKS.get() - 1);
        if LOCKS.get() == 0 {
            let mut dropped = DROPPED_LATER.try_with(RefCell::take).unwrap_or_default();
            drop_each(&mut dropped);
        }
    }
}

/// Drops a value of the user's, once this thread holds no lock that its `Drop` could want.
pub(crate) fn drop_unlocked<T: 'static>(value: T) {
    // A thread that ends has no such locks.
    if needs_drop::<T>() && LOCKS.try_with(Cell::get).unwrap_or(0) > 0 {
        let kept = Box::new(value) as Box<dyn Any>;
        let _ = DROPPED_LATER.try_with(|later| later.borrow_mut().push(kept));
    } else {
        contain(|| drop(value));
    }
}

/// Copies a value of the user's. `None` if a copy is being made on this thread already: a `Clone` that submits would otherwise wait for
/// itself, or never end.
pub(crate) fn copy_once<R>(copy: impl FnOnce() -> R) -> Option<R> {
    struct Ended;

    impl Drop for Ended {
        fn drop(&mut self) {
            COPYING.set(false);
        }
    }

    if COPYING.replace(true) {
        return None;
    }
    let ended = Ended;
    let copy = copy();
    drop(ended);
    Some(copy)
}
