//! Reports that run on a submitter's stack: the log events and the hooks that belong to one submitted job.
//!
//! A subscriber that ships log lines through a collector submits while it receives the event of a submit. If that inner submit
//! were logged too, the subscriber would submit again, without end. The same holds for a hook that submits.

use std::{cell::Cell, thread::LocalKey};

thread_local! {
    static LOGGING: Cell<bool> = const { Cell::new(false) };
    static NOTIFYING: Cell<bool> = const { Cell::new(false) };
}

/// Logs an event of a submit, unless this thread is already inside one.
#[cold]
pub(crate) fn log_submit(log: impl FnOnce()) {
    unless_inside(&LOGGING, log);
}

/// Calls the hooks for a submit, unless this thread is already inside such a hook.
#[cold]
pub(crate) fn notify_submit(notify: impl FnOnce()) {
    unless_inside(&NOTIFYING, notify);
}

fn unless_inside(inside: &'static LocalKey<Cell<bool>>, report: impl FnOnce()) {
    // The flag is gone while the thread ends. Then nothing is reported.
    if inside.try_with(|inside| inside.replace(true)).unwrap_or(true) {
        return;
    }
    let _leave = Leave(inside);
    report();
}

/// Clears the flag, also after a panic.
struct Leave(&'static LocalKey<Cell<bool>>);

impl Drop for Leave {
    fn drop(&mut self) {
        let _ = self.0.try_with(|inside| inside.set(false));
    }
}
