//! One caller's reply, and who waits for it.
//!
//! Pure: the lock is the block's, around it. What must not be dropped or run under that lock – wakers, replies – is handed out.

use std::{
    mem,
    task::{Context, Poll, Waker},
};

pub(crate) enum Slot<T> {
    /// Nobody has asked yet.
    Open,
    /// A caller waits.
    Polled(Waker),
    /// The caller has gone.
    Abandoned,
    /// The reply, not yet fetched. Once it has left, the slot is open again.
    Settled(T),
}

/// What is to be done about a reply, once the lock is free.
pub(crate) enum Filled<T> {
    /// It waits for its caller.
    Kept,
    /// So does it, and the caller is to be woken.
    Wake(Waker),
    /// Nobody will fetch it: it is to be dropped.
    Unheeded(T),
}

impl<T> Slot<T> {
    /// The caller asks. `Ready(None)`: there is nothing to wait for. A waker that is displaced comes along, to be dropped.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> (Poll<Option<T>>, Option<Waker>) {
        match self {
            Self::Polled(waker) if waker.will_wake(cx.waker()) => (Poll::Pending, None),
            Self::Open | Self::Polled(_) => match mem::replace(self, Self::Polled(cx.waker().clone())) {
                Self::Polled(displaced) => (Poll::Pending, Some(displaced)),
                _ => (Poll::Pending, None),
            },
            Self::Abandoned | Self::Settled(_) => match mem::replace(self, Self::Open) {
                Self::Settled(reply) => (Poll::Ready(Some(reply)), None),
                _ => (Poll::Ready(None), None),
            },
        }
    }

    /// The caller has gone. Hands out what was there.
    pub(crate) fn abandon(&mut self) -> Self {
        let next = match self {
            Self::Open | Self::Polled(_) => Self::Abandoned,
            Self::Abandoned | Self::Settled(_) => Self::Open,
        };
        mem::replace(self, next)
    }

    /// The reply has come.
    pub(crate) fn fill(&mut self, reply: T) -> Filled<T> {
        if let Self::Abandoned = self {
            *self = Self::Open;
            return Filled::Unheeded(reply);
        }
        match mem::replace(self, Self::Settled(reply)) {
            Self::Polled(waker) => Filled::Wake(waker),
            _ => Filled::Kept,
        }
    }
}
