//! User code that comes back to the collector from where it must not: a key whose `Drop` submits, an output whose `Clone` does, a
//! processor that waits for its own collector.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    marker::PhantomData,
    mem::needs_drop,
    pin::pin,
    sync::Arc,
};

use crate::panics::{contain, drop_each};

thread_local! {
    /// How many locks of intakes with keys this thread holds.
    static LOCKS: Cell<usize> = const { Cell::new(0) };
    static DROPPED_LATER: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
    static COPYING: Cell<bool> = const { Cell::new(false) };
    /// How many processors this thread is polling, one inside another; their collectors are in `PROCESSING`.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    static PROCESSING: RefCell<Vec<Arc<str>>> = const { RefCell::new(Vec::new()) };
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

/// Runs the future of a processor as that of this collector.
pub(crate) async fn processing<F: Future>(collector: Arc<str>, future: F) -> F::Output {
    struct Left;

    impl Drop for Left {
        fn drop(&mut self) {
            DEPTH.set(DEPTH.get() - 1);
            PROCESSING.with_borrow_mut(|processing| drop(processing.pop()));
        }
    }

    let mut future = pin!(future);
    poll_fn(|cx| {
        DEPTH.set(DEPTH.get() + 1);
        PROCESSING.with_borrow_mut(|processing| processing.push(Arc::clone(&collector)));
        let _left = Left;
        future.as_mut().poll(cx)
    })
    .await
}

/// Whether a processor of this collector is being polled on this thread.
#[inline]
pub(crate) fn is_processing(collector: &Arc<str>) -> bool {
    DEPTH.try_with(Cell::get).unwrap_or(0) > 0
        && PROCESSING.with_borrow(|processing| processing.iter().any(|known| Arc::ptr_eq(known, collector)))
}
