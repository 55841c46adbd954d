//! Model checks of the hand-off between submitters, the actor and callers, in every order that two or three threads can take.
//!
//! The library's own `bell.rs` and `slot.rs` are compiled here with loom's atomics, locks and wakers. The models fill batches,
//! wake the actor, close the intake, and settle slots that are being polled. This is a separate member because `--cfg loom`
//! removes tokio's `net`, which actix needs. Run it with `cargo test -p actix-batch-loom --release`.

#[allow(dead_code, unreachable_pub, reason = "each model uses a part of it")]
#[path = "../../src/bell.rs"]
mod bell;
#[allow(dead_code, unreachable_pub, reason = "each model uses a part of it")]
#[path = "../../src/batch/slot.rs"]
mod slot;

/// Stands in for the library's `src/sync.rs`.
mod sync {
    use std::task::Waker;

    pub(crate) use loom::sync::atomic::{AtomicBool, Ordering};

    #[derive(Default)]
    pub(crate) struct AtomicWaker(loom::future::AtomicWaker);

    impl AtomicWaker {
        pub(crate) fn register(&self, waker: &Waker) {
            self.0.register_by_ref(waker);
        }

        pub(crate) fn wake(&self) {
            self.0.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{Future, poll_fn},
        task::{Poll, Waker},
    };

    use loom::{
        future::block_on,
        sync::{Arc, Mutex},
        thread,
    };

    use crate::{bell::Bell, slot::Slot};

    /// A small intake, with two jobs to a batch.
    #[derive(Default)]
    struct Intake {
        open: Vec<u8>,
        sealed: Vec<Vec<u8>>,
        closed: bool,
    }

    impl Intake {
        const SIZE: usize = 2;

        /// Returns whether the job was accepted, and whether the actor has to be woken.
        fn join(&mut self, job: u8) -> (bool, bool) {
            if self.closed {
                return (false, false);
            }
            self.open.push(job);
            let full = self.open.len() == Self::SIZE;
            if full {
                self.seal();
            }
            (true, full)
        }

        fn seal(&mut self) {
            if !self.open.is_empty() {
                self.sealed.push(std::mem::take(&mut self.open));
            }
        }
    }

    #[derive(Default)]
    struct Shared {
        intake: Mutex<Intake>,
        bell: Bell,
    }

    impl Shared {
        fn submit(&self, job: u8) -> bool {
            let (accepted, wake) = self.intake.lock().unwrap().join(job);
            if wake {
                self.bell.ring();
            }
            accepted
        }

        /// The actor: it looks whenever the bell rings, until it has `jobs` jobs.
        fn collect(&self, jobs: usize) -> impl Future<Output = Vec<u8>> + '_ {
            let mut taken = Vec::new();
            poll_fn(move |cx| {
                self.bell.listen(cx.waker());
                self.bell.answer();
                let sealed = std::mem::take(&mut self.intake.lock().unwrap().sealed);
                taken.extend(sealed.into_iter().flatten());
                if taken.len() >= jobs { Poll::Ready(std::mem::take(&mut taken)) } else { Poll::Pending }
            })
        }
    }

    #[test]
    fn the_submitter_that_fills_the_batch_wakes_the_actor() {
        loom::model(|| {
            let shared = Arc::new(Shared::default());
            let submitters: Vec<_> = [1, 2]
                .map(|job| {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || assert!(shared.submit(job)))
                })
                .into();
            let mut taken = block_on(shared.collect(2));
            taken.sort_unstable();
            assert_eq!(taken, [1, 2]);
            for submitter in submitters {
                submitter.join().unwrap();
            }
        });
    }

    #[test]
    fn a_ring_while_the_actor_looks_makes_it_look_again() {
        // All orders with up to three preemptions. Without that bound the check takes most of a minute.
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let shared = Arc::new(Shared::default());
            let submitter = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || (1..=4).for_each(|job| assert!(shared.submit(job))))
            };
            assert_eq!(block_on(shared.collect(4)), [1, 2, 3, 4]);
            submitter.join().unwrap();
        });
    }

    #[test]
    fn closing_while_jobs_come_in_rejects_or_takes_each_of_them() {
        loom::model(|| {
            let shared = Arc::new(Shared::default());
            let submitter = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    [1, 2, 3].map(|job| shared.submit(job)).into_iter().filter(|accepted| *accepted).count()
                })
            };
            {
                let mut intake = shared.intake.lock().unwrap();
                intake.closed = true;
                intake.seal();
            }
            let accepted = submitter.join().unwrap();
            let taken: usize = shared.intake.lock().unwrap().sealed.iter().map(Vec::len).sum();
            assert_eq!(taken, accepted);
        });
    }

    /// A caller that polls its slot, as `SlotRef` does.
    fn reply(slot: &Mutex<Slot<u8>>) -> impl Future<Output = Option<u8>> + '_ {
        poll_fn(|cx| {
            let mut displaced = None;
            slot.lock().unwrap().poll(cx, &mut displaced)
        })
    }

    /// Settles the slot, as `Replies` does. Returns whether the reply was undelivered.
    fn settle(slot: &Mutex<Slot<u8>>, reply: u8) -> bool {
        let (mut wakers, mut undelivered) = (Vec::new(), Vec::new());
        slot.lock().unwrap().fill(reply, &mut wakers, &mut undelivered);
        wakers.into_iter().for_each(Waker::wake);
        !undelivered.is_empty()
    }

    #[test]
    fn a_slot_that_is_settled_while_it_is_polled_wakes_its_caller() {
        loom::model(|| {
            let slot = Arc::new(Mutex::new(Slot::open()));
            let settler = {
                let slot = Arc::clone(&slot);
                thread::spawn(move || assert!(!settle(&slot, 7)))
            };
            assert_eq!(block_on(reply(&slot)), Some(7));
            settler.join().unwrap();
        });
    }

    #[test]
    fn a_caller_that_leaves_while_its_slot_is_settled_leaves_the_slot_open() {
        loom::model(|| {
            let slot = Arc::new(Mutex::new(Slot::open()));
            let settler = {
                let slot = Arc::clone(&slot);
                thread::spawn(move || settle(&slot, 7))
            };
            let previous = slot.lock().unwrap().abandon();
            let undelivered = settler.join().unwrap();
            // Either the reply had come and left with the caller, or the caller had gone and the reply is undelivered.
            assert_eq!(undelivered, previous.is_open());
            assert!(slot.lock().unwrap().is_open());
        });
    }
}
