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

impl<T> Slot<T> {
    /// The caller asks. `Ready(None)`: there is nothing to wait for. A waker that is displaced is to be dropped without the lock.
    #[inline]
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, displaced: &mut Option<Waker>) -> Poll<Option<T>> {
        match self {
            Self::Polled(waker) if waker.will_wake(cx.waker()) => Poll::Pending,
            Self::Open => {
                *self = Self::Polled(cx.waker().clone());
                Poll::Pending
            }
            Self::Polled(waker) => {
                *displaced = Some(mem::replace(waker, cx.waker().clone()));
                Poll::Pending
            }
            Self::Abandoned | Self::Settled(_) => match mem::replace(self, Self::Open) {
                Self::Settled(reply) => Poll::Ready(Some(reply)),
                _ => Poll::Ready(None),
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

    /// The reply has come. Whom to wake, and a reply that nobody will fetch, are for when the lock is free.
    #[inline]
    pub(crate) fn fill(&mut self, reply: T, wakers: &mut Vec<Waker>, unheeded: &mut Vec<T>) {
        if let Self::Abandoned = self {
            *self = Self::Open;
            unheeded.push(reply);
        } else if let Self::Polled(waker) = mem::replace(self, Self::Settled(reply)) {
            wakers.push(waker);
        }
    }
}
