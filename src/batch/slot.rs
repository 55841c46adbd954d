//! A reply slot: one caller's reply, and the caller's waker.
//!
//! A slot is used under its block's lock. It returns the wakers and replies that must not be woken or dropped under that lock.

use std::{
    mem,
    task::{Context, Poll, Waker},
};

/// The reply and the waker are two fields, and not one enum, so that writing one does not move the other.
pub(crate) struct Slot<T> {
    state: State<T>,
    /// The waker of the caller's task; set only while the slot is open.
    waker: Option<Waker>,
}

enum State<T> {
    /// No reply yet.
    Open,
    /// The caller has gone.
    Abandoned,
    /// The reply has come, and the caller has not fetched it. Once it is fetched, the slot is open again.
    Settled(T),
}

impl<T> Slot<T> {
    /// A slot that waits for its reply.
    pub(crate) const fn open() -> Self {
        Self { state: State::Open, waker: None }
    }

    /// Fetches the reply, or registers the caller's waker. `Ready(None)` means that no reply will come. Drop the `displaced`
    /// waker once the lock is free.
    #[inline]
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, displaced: &mut Option<Waker>) -> Poll<Option<T>> {
        if let State::Open = self.state {
            if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                *displaced = self.waker.replace(cx.waker().clone());
            }
            return Poll::Pending;
        }
        match mem::replace(&mut self.state, State::Open) {
            State::Settled(reply) => Poll::Ready(Some(reply)),
            State::Open | State::Abandoned => Poll::Ready(None),
        }
    }

    /// Marks the slot as abandoned. Returns the previous slot, to be dropped once the lock is free.
    pub(crate) fn abandon(&mut self) -> Self {
        let state = if let State::Open = self.state { State::Abandoned } else { State::Open };
        mem::replace(self, Self { state, waker: None })
    }

    /// Stores the reply. Adds the caller's waker to `wakers`, or the reply to `undelivered` if the caller has gone, for when
    /// the lock is free.
    #[inline]
    pub(crate) fn fill(&mut self, reply: T, wakers: &mut Vec<Waker>, undelivered: &mut Vec<T>) {
        if let State::Abandoned = self.state {
            self.state = State::Open;
            undelivered.push(reply);
            return;
        }
        self.state = State::Settled(reply);
        wakers.extend(self.waker.take());
    }

    /// Whether the caller waits and the reply has not come.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Whether the caller has gone before its reply came.
    pub(crate) fn is_abandoned(&self) -> bool {
        matches!(self.state, State::Abandoned)
    }
}
