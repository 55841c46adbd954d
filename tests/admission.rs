//! Admission: at most `max_pending` jobs, in the order of arrival; and what becomes of jobs whose callers have gone.
#![cfg(feature = "test-util")]

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicUsize, Ordering},
};

use actix_batch::{
    DeadLetter,
    prelude::*,
    test_util::{Ledger, Recorded, Script},
};
use futures_util::{FutureExt, future::join_all};
use tokio::time::sleep;

use self::support::{Desk, Tenfold, balanced, guarded, ms, paused, quiet, real_time, tenfold, wait};

mod support;

type Reply = Recorded<JobResult<Tenfold>>;

/// A full collector: `max_size` and `max_pending` are 1, and its one worker holds job 0.
async fn full() -> (Collector<Tenfold>, Desk<Tenfold>, Ledger<Tenfold>) {
    let (desk, factory) = Desk::new();
    let jobs = Collector::builder(factory).workers(Workers::local(1)).max_size(1).max_pending(1).start().unwrap();
    quiet().await;
    let ledger = Ledger::new(&jobs);
    (jobs, desk, ledger)
}

#[test]
fn a_collector_never_holds_more_than_max_pending_of_100_000_jobs_and_answers_all() {
    paused(async || {
        let script = Script::new(tenfold);
        let jobs = Collector::builder(script.factory()).max_pending(1_000).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies = join_all((0..100_000).map(|number| ledger.submit(Tenfold(number)))).await;
        assert!((0..).zip(replies).all(|(number, reply)| reply.unwrap() == number * 10));
        let balance = balanced(&ledger, &jobs).await;
        assert_eq!((balance.succeeded, balance.most_pending, balance.most_waiting), (100_000, 1_000, 99_000));
    });
}

#[test]
fn a_collector_never_holds_more_than_max_pending_jobs_from_four_threads_and_answers_all() {
    static HELD: AtomicUsize = AtomicUsize::new(0);
    /// Counts the jobs that the processors hold: a lower bound of what the collector holds, counted independently of it.
    struct Counting;
    impl BatchProcessor for Counting {
        type Job = Tenfold;

        async fn process(&mut self, batch: &Batch<Tenfold>) -> Result<Outcomes<Tenfold>, support::Broken> {
            assert!(HELD.fetch_add(batch.len(), Ordering::SeqCst) + batch.len() <= 200);
            tokio::task::yield_now().await;
            HELD.fetch_sub(batch.len(), Ordering::SeqCst);
            Ok(Outcomes::each(batch.iter().map(tenfold)))
        }
    }
    real_time(async || {
        let jobs = Collector::builder(|| Counting)
            .workers(Workers::threads(2))
            .max_size(50)
            .max_pending(200)
            .interval(ms(1))
            .start()
            .unwrap();
        let ledger = Ledger::new(&jobs);
        let callers: Vec<_> = (0..4)
            .map(|caller| {
                let ledger = ledger.clone();
                tokio::task::spawn_blocking(move || {
                    let answered = |(number, reply): (u64, Reply)| assert_eq!(wait(reply).unwrap(), number * 10);
                    let mut replies = VecDeque::new();
                    for number in caller * 5_000..(caller + 1) * 5_000 {
                        replies.push_back((number, ledger.submit(Tenfold(number))));
                        if replies.len() == 400 {
                            answered(replies.pop_front().unwrap());
                        }
                    }
                    replies.into_iter().for_each(answered);
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
        assert_eq!(balanced(&ledger, &jobs).await.succeeded, 20_000);
    });
}

#[test]
fn try_submit_hands_the_job_back_while_the_collector_is_full() {
    paused(async || {
        let (jobs, mut desk, ledger) = full().await;
        let first = ledger.try_submit(Tenfold(0)).unwrap();
        let refused = ledger.try_submit(Tenfold(1)).unwrap_err();
        assert_eq!((refused.job, refused.reason), (Tenfold(1), actix_batch::RejectReason::Overloaded));
        desk.next().await.complete();
        first.await.unwrap();
        let second = ledger.try_submit(Tenfold(2)).unwrap();
        desk.next().await.complete();
        second.await.unwrap();
        assert_eq!(balanced(&ledger, &jobs).await.handed_back, 1);
    });
}

#[test]
fn the_message_door_answers_overloaded_at_once() {
    paused(async || {
        let (jobs, mut desk, ledger) = full().await;
        let first = ledger.submit(Tenfold(0));
        let held = desk.next().await;
        let refused = ledger.send(&jobs.recipient().unwrap(), Tenfold(1)).await.unwrap();
        assert!(matches!(refused, Err(JobError::Overloaded)), "{refused:?}");
        assert!(refused.unwrap_err().is_retryable());
        held.complete();
        first.await.unwrap();
        assert_eq!(balanced(&ledger, &jobs).await.overloaded, 1);
    });
}

#[test]
fn freed_room_goes_to_waiting_jobs_in_their_order_before_messages() {
    paused(async || {
        let (jobs, mut desk, ledger) = full().await;
        let mut waiting: VecDeque<_> = (0..5).map(|number| ledger.submit(Tenfold(number))).collect();
        for number in 0..4 {
            let held = desk.next().await;
            assert_eq!(held.numbers(), [number]);
            // Freed room goes to the wait queue at once: neither a message nor a `try_submit` finds room.
            let overtaking = ledger.send(&jobs.recipient().unwrap(), Tenfold(100));
            held.complete();
            assert_eq!(waiting.pop_front().unwrap().await.unwrap(), number * 10);
            assert!(ledger.try_submit(Tenfold(101)).is_err());
            assert!(matches!(overtaking.await.unwrap(), Err(JobError::Overloaded)));
        }
        desk.next().await.complete();
        assert_eq!(waiting.pop_front().unwrap().await.unwrap(), 40);
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_caller_that_gives_up_leaves_the_wait_queue() {
    paused(async || {
        let (jobs, mut desk, ledger) = full().await;
        let first = ledger.submit(Tenfold(0));
        let mut waiting: Vec<_> = (1..=5).map(|number| ledger.submit(Tenfold(number))).collect();
        assert_eq!(jobs.stats().await.unwrap().intake.waiting, 5);
        // One from the middle of the queue, the first, and the last.
        drop(waiting.remove(2));
        drop(waiting.remove(0));
        drop(waiting.pop());
        assert_eq!(jobs.stats().await.unwrap().intake.waiting, 2);
        for number in [0, 2, 4] {
            let held = desk.next().await;
            assert_eq!(held.numbers(), [number]);
            held.complete();
        }
        first.await.unwrap();
        assert!(join_all(waiting).await.iter().all(Result::is_ok));
        let balance = balanced(&ledger, &jobs).await;
        assert_eq!((balance.submitted, balance.gone), (6, 3));
        let stats = jobs.stats().await.unwrap();
        assert_eq!(
            (stats.intake.accepted, stats.intake.rejected.total(), stats.failed.abandoned),
            (3, 0, 0),
            "they were never accepted"
        );
    });
}

#[test]
fn a_job_that_reuses_the_slot_of_an_abandoned_one_gets_its_own_reply() {
    paused(async || {
        let (jobs, mut desk, ledger) = full().await;
        let first = ledger.submit(Tenfold(0));
        // These jobs leave the wait queue. Later jobs use their slots again.
        for number in 0..100 {
            drop(ledger.submit(Tenfold(number)));
        }
        desk.next().await.complete();
        first.await.unwrap();
        for number in 0..2_000 {
            let reply = tokio::task::spawn_local(ledger.submit(Tenfold(number)));
            quiet().await;
            assert!(!reply.is_finished(), "job {number} was answered before it was processed");
            desk.next().await.complete();
            assert_eq!(reply.await.unwrap().unwrap(), number * 10);
        }
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_job_abandoned_before_its_batch_starts_is_skipped_and_counted() {
    paused(async || {
        let script = Script::new(tenfold).keep_jobs();
        let jobs = Collector::builder(script.factory()).interval(ms(5)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let mut replies: Vec<_> = (0..5).map(|number| ledger.submit(Tenfold(number))).collect();
        drop(replies.remove(3));
        drop(replies.remove(0));
        for (number, reply) in [1, 2, 4].into_iter().zip(replies) {
            assert_eq!(reply.await.unwrap(), number * 10);
        }
        assert_eq!(script.seen()[0].jobs, [Tenfold(1), Tenfold(2), Tenfold(4)]);
        let balance = balanced(&ledger, &jobs).await;
        let stats = jobs.stats().await.unwrap();
        assert_eq!((balance.gone, stats.failed.abandoned), (2, 2));
    });
}

#[test]
fn a_batch_whose_callers_have_all_gone_never_reaches_a_processor() {
    paused(async || {
        let script = Script::new(tenfold);
        let jobs = Collector::builder(script.factory()).interval(ms(5)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        (0..3).for_each(|number| drop(ledger.submit(Tenfold(number))));
        sleep(ms(10)).await;
        assert!(script.sizes().is_empty());
        balanced(&ledger, &jobs).await;
        assert_eq!(jobs.stats().await.unwrap().failed.abandoned, 3);
    });
}

#[test]
fn a_job_abandoned_while_it_waits_for_a_worker_is_skipped_too() {
    paused(async || {
        let (mut desk, factory) = Desk::<Tenfold>::new();
        let jobs = Collector::builder(factory).workers(Workers::local(1)).max_size(1).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let [first, second, third] = [0, 1, 2].map(|number| ledger.submit(Tenfold(number)));
        let held = desk.next().await;
        drop(second);
        held.complete();
        let held = desk.next().await;
        assert_eq!(held.numbers(), [2]);
        held.complete();
        assert_eq!((first.await.unwrap(), third.await.unwrap()), (0, 20));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_caller_that_goes_while_its_job_is_processed_disturbs_no_other() {
    paused(async || {
        let (mut desk, factory) = Desk::<Tenfold>::new();
        let jobs = Collector::builder(factory).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let [first, mut second, third] = [0, 1, 2].map(|number| ledger.submit(Tenfold(number)));
        assert!((&mut second).now_or_never().is_none(), "it has been polled, and waits");
        let held = desk.next().await;
        drop(second);
        held.complete();
        assert_eq!((first.await.unwrap(), third.await.unwrap()), (0, 20));
        let balance = balanced(&ledger, &jobs).await;
        let stats = jobs.stats().await.unwrap();
        assert_eq!((balance.gone, stats.succeeded, stats.failed.total()), (1, 3, 0), "its result is dropped");
    });
}

#[test]
fn a_caller_that_goes_after_its_reply_harms_no_other_job() {
    paused(async || {
        let script = Script::new(tenfold);
        let jobs = Collector::builder(script.factory()).max_size(1).start().unwrap();
        let ledger = Ledger::new(&jobs);
        for number in 0..1_000 {
            let unread = ledger.submit(Tenfold(number));
            quiet().await;
            drop(unread);
        }
        assert_eq!(ledger.submit(Tenfold(7)).await.unwrap(), 70);
        balanced(&ledger, &jobs).await;
        assert_eq!(jobs.stats().await.unwrap().succeeded, 1_001);
    });
}

#[test]
fn a_job_sent_by_do_send_is_processed_and_not_counted_as_abandoned() {
    paused(async || {
        let script = Script::new(tenfold).keep_jobs();
        let jobs = Collector::builder(script.factory()).interval(ms(5)).start().unwrap();
        quiet().await;
        let ledger = Ledger::new(&jobs);
        ledger.do_send(&jobs.recipient().unwrap(), Tenfold(1));
        quiet().await;
        // An abandoned neighbour makes dispatch look for abandoned jobs. The `do_send` must not count as one.
        drop(ledger.submit(Tenfold(2)));
        ledger.do_send(&jobs.recipient().unwrap(), Tenfold(3));
        sleep(ms(10)).await;
        assert_eq!(script.seen()[0].jobs, [Tenfold(1), Tenfold(3)]);
        balanced(&ledger, &jobs).await;
        let stats = jobs.stats().await.unwrap();
        assert_eq!((stats.succeeded, stats.failed.abandoned), (2, 1));
    });
}

#[test]
fn a_job_is_accepted_before_the_actor_is_started() {
    paused(async || {
        let script = Script::new(tenfold);
        let actor = Collector::builder(script.factory()).max_size(2).max_pending(3).build().unwrap();
        let jobs = actor.handle();
        let ledger = Ledger::new(&jobs);
        // Two jobs fill a batch, one more fills the collector, and one waits in the wait queue.
        let replies: Vec<_> = (0..4).map(|number| ledger.submit(Tenfold(number))).collect();
        assert!(ledger.try_submit(Tenfold(4)).is_err());
        quiet().await;
        actor.start();
        for (number, reply) in (0..).zip(replies) {
            assert_eq!(reply.await.unwrap(), number * 10);
        }
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn dropping_an_actor_that_was_never_started_answers_its_accepted_jobs() {
    guarded(|| {
        let script = Script::new(tenfold);
        let actor = Collector::builder(script.factory()).max_size(2).max_pending(3).build().unwrap();
        let jobs = actor.handle();
        let ledger = Ledger::new(&jobs);
        let replies: Vec<_> = (0..4).map(|number| ledger.submit(Tenfold(number))).collect();
        drop(actor);
        for reply in replies {
            assert!(matches!(reply.now_or_never(), Some(Err(JobError::ShutDown))));
        }
        assert!(matches!(ledger.submit(Tenfold(5)).now_or_never(), Some(Err(JobError::ShutDown))));
        support::balanced_at_the_end(&ledger);
    });
}

#[test]
fn a_rejected_do_send_is_counted_and_goes_to_the_dead_letters() {
    paused(async || {
        let (dead, letters) = std::sync::mpsc::channel();
        let (mut desk, factory) = Desk::new();
        let jobs = Collector::builder(factory)
            .workers(Workers::local(1))
            .max_size(1)
            .max_pending(1)
            .dead_letters(move |letter: DeadLetter<Tenfold>| {
                dead.send((letter.job.0, letter.attempts, letter.error.to_string())).unwrap();
            })
            .start()
            .unwrap();
        let reply = jobs.submit(Tenfold(0));
        quiet().await;
        let recipient = jobs.recipient().unwrap();
        recipient.do_send(SubmitJob::new(Tenfold(1)));
        recipient.do_send(SubmitJob::new(Tenfold(2)).priority(Priority::High));
        quiet().await;
        let full = "the collector is full: try again later, or raise `max_pending`".to_owned();
        assert_eq!(letters.try_iter().collect::<Vec<_>>(), [(1, 0, full.clone()), (2, 0, full)]);
        let stats = jobs.stats().await.unwrap();
        assert_eq!((stats.intake.rejected_sends, stats.intake.rejected.total()), (2, 2));
        desk.next().await.complete();
        assert_eq!(reply.await.unwrap(), 0);
    });
}

#[test]
fn the_room_of_abandoned_jobs_is_given_to_waiting_jobs() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = Collector::builder(factory).workers(Workers::local(1)).max_size(1).max_pending(10).start().unwrap();
        let first = jobs.submit(Tenfold(0));
        let held = desk.next().await;
        let dead: Vec<_> = (1..10).map(|number| jobs.submit(Tenfold(number))).collect();
        quiet().await;
        assert!(jobs.try_submit(Tenfold(10)).is_err());
        let waiting = jobs.submit(Tenfold(11));
        drop(dead);
        quiet().await;
        // The waiting job was admitted, and there is room for eight more.
        let more: Vec<_> = (12..20).map(|number| jobs.try_submit(Tenfold(number)).unwrap()).collect();
        assert!(jobs.try_submit(Tenfold(20)).is_err());
        held.complete();
        for _ in 0..9 {
            desk.next().await.complete();
        }
        assert_eq!((first.await.unwrap(), waiting.await.unwrap()), (0, 110));
        assert!(join_all(more).await.iter().all(Result::is_ok));
        assert_eq!(jobs.stats().await.unwrap().failed.abandoned, 9);
    });
}

#[test]
fn a_processor_knows_its_jobs_by_number_and_which_callers_have_gone() {
    paused(async || {
        struct Curious(tokio::sync::mpsc::UnboundedSender<(Vec<u64>, Vec<bool>)>);
        impl BatchProcessor for Curious {
            type Job = Tenfold;
            async fn process(&mut self, batch: &Batch<Tenfold>) -> Result<Outcomes<Tenfold>, support::Broken> {
                sleep(ms(10)).await;
                let ids = batch.ids().iter().map(actix_batch::JobId::get).collect();
                let gone = (0..batch.len()).map(|position| batch.is_abandoned(position)).collect();
                self.0.send((ids, gone)).unwrap();
                batch.all_abandoned().await;
                Ok(Outcomes::each(batch.iter().map(tenfold)))
            }
        }
        let (told, mut notes) = tokio::sync::mpsc::unbounded_channel();
        let jobs = Collector::builder(move || Curious(told.clone())).max_size(3).start().unwrap();
        let mut callers: Vec<_> = (0..3).map(|number| jobs.submit(Tenfold(number))).collect();
        sleep(ms(5)).await;
        drop(callers.remove(1));
        assert_eq!(notes.recv().await.unwrap(), (vec![0, 1, 2], vec![false, true, false]));
        sleep(ms(1_000)).await;
        assert_eq!(jobs.stats().await.unwrap().in_flight, 1, "two callers are still there");
        callers.clear();
        quiet().await;
        assert_eq!(jobs.stats().await.unwrap().in_flight, 0);
    });
}
