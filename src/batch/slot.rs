//! One caller's reply, and the caller's waker.
//!
//! Pure: the lock is the block's, around it. What must not be dropped or run under that lock – wakers, replies – is handed out.

use std::{
    mem,
    task::{Context, Poll, Waker},
};

/// Reply and waker lie side by side, and not in one enum: either is written without moving the other out of its way first.
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
    /// The reply, not yet fetched. Once it has left, the slot is open again.
    Settled(T),
}

impl<T> Slot<T> {
    /// A slot that waits for its reply.
    pub(crate) const fn open() -> Self {
        Self { state: State::Open, waker: None }
    }

    /// The caller asks. `Ready(None)`: there is nothing to wait for. A waker that is displaced is to be dropped without the lock.
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

    /// The caller has gone. Hands out what was there.
    pub(crate) fn abandon(&mut self) -> Self {
        let state = if let State::Open = self.state { State::Abandoned } else { State::Open };
        mem::replace(self, Self { state, waker: None })
    }

    /// The reply has come. The waker, or a reply that will not be fetched, is handed out for when the lock is free.
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

    /// Whether the reply has not come yet and the caller still waits for it.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Whether the caller has gone before the reply came.
    pub(crate) fn is_abandoned(&self) -> bool {
        matches!(self.state, State::Abandoned)
    }
}
