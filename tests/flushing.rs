//! When a batch leaves: by size, by time, when the collector is full, when asked; stale timers and floods change nothing.
#![cfg(feature = "test-util")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use actix_batch::{
    Flush, Strategy, Trigger,
    prelude::*,
    test_util::{Ledger, Script, Seen},
};
use futures_util::future::join_all;
use tokio::{
    sync::mpsc,
    time::{Instant, advance, sleep},
};

use self::support::{Broken, Desk, Tenfold, balanced, ms, paused, quiet, real_time, tenfold};

mod support;

/// Which jobs shared a batch, and why it left.
fn batches(seen: &[Seen<Tenfold>]) -> Vec<(Vec<u64>, Trigger)> {
    seen.iter().map(|seen| (seen.jobs.iter().map(|job| job.0).collect(), seen.trigger)).collect()
}

#[test]
fn size_5_and_10_jobs_give_two_fives_whatever_stale_timers_do() {
    // The first batch fills at 4 ms, so its timer, due at 5 ms, finds the second one open.
    for early in 0..5 {
        paused(async move || {
            let script = Script::new(tenfold).keep_jobs();
            let jobs = Collector::builder(script.factory()).max_size(5).interval(ms(5)).start().unwrap();
            let ledger = Ledger::new(&jobs);
            let mut replies: Vec<_> = (0..4).map(|number| ledger.submit(Tenfold(number))).collect();
            sleep(ms(4)).await;
            replies.extend((4..=5 + early).map(|number| ledger.submit(Tenfold(number))));
            sleep(ms(2)).await;
            assert_eq!(script.sizes(), if early == 4 { vec![5, 5] } else { vec![5] }, "the stale timer sends nothing");
            replies.extend((6 + early..10).map(|number| ledger.submit(Tenfold(number))));
            join_all(replies).await;
            let fives = [(vec![0, 1, 2, 3, 4], Trigger::Size), (vec![5, 6, 7, 8, 9], Trigger::Size)];
            assert_eq!(batches(&script.seen()), fives);
            balanced(&ledger, &jobs).await;
        });
    }
}

#[test]
fn the_interval_counts_from_the_first_job_and_later_jobs_never_push_it_back() {
    paused(async || {
        let script = Script::new(tenfold).keep_jobs();
        let jobs = Collector::builder(script.factory()).interval(ms(5)).start().unwrap();
        let (ledger, start) = (Ledger::new(&jobs), Instant::now());
        let mut replies = Vec::new();
        for number in 0..5 {
            replies.push(ledger.submit(Tenfold(number)));
            sleep(ms(1)).await;
        }
        for reply in replies {
            assert!(reply.await.is_ok());
        }
        assert_eq!(start.elapsed(), ms(5));
        assert_eq!(batches(&script.seen()), [(vec![0, 1, 2, 3, 4], Trigger::Interval)]);
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn each_batch_has_an_interval_of_its_own_from_its_own_first_job() {
    paused(async || {
        let script = Script::new(tenfold).keep_jobs();
        let jobs = Collector::builder(script.factory()).max_size(2).interval(ms(5)).start().unwrap();
        let (ledger, start) = (Ledger::new(&jobs), Instant::now());
        let full = [ledger.submit(Tenfold(0)), ledger.submit(Tenfold(1))];
        sleep(ms(3)).await;
        let late = ledger.submit(Tenfold(2));
        late.await.unwrap();
        assert_eq!(start.elapsed(), ms(8), "not at the first batch's 5 ms, and not at a grid's 10");
        join_all(full).await;
        sleep(ms(100)).await;
        ledger.submit(Tenfold(3)).await.unwrap();
        assert_eq!(start.elapsed(), ms(113), "an idle collector's interval starts with the job");
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_batch_by_message_has_the_same_interval() {
    paused(async || {
        let script = Script::new(tenfold);
        let jobs = Collector::builder(script.factory()).interval(ms(5)).start().unwrap();
        quiet().await;
        let (ledger, start) = (Ledger::new(&jobs), Instant::now());
        assert_eq!(ledger.send(&jobs.recipient().unwrap(), Tenfold(1)).await.unwrap().unwrap(), 10);
        assert_eq!(start.elapsed(), ms(5));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn without_an_interval_only_size_flush_and_the_end_send_a_batch() {
    paused(async || {
        let script = Script::new(tenfold).keep_jobs();
        let jobs = Collector::builder(script.factory()).strategy(Strategy::Capacity).max_size(2).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let mut replies: Vec<_> = (0..3).map(|number| ledger.submit(Tenfold(number))).collect();
        sleep(ms(1_000_000)).await;
        assert_eq!(batches(&script.seen()), [(vec![0, 1], Trigger::Size)]);
        assert_eq!(jobs.flush().await, Ok(1));
        replies.push(ledger.submit(Tenfold(3)));
        jobs.shutdown(Shutdown::drain()).await.unwrap();
        assert_eq!(batches(&script.seen())[1..], [(vec![2], Trigger::Manual), (vec![3], Trigger::Drain)]);
        assert!(join_all(replies).await.iter().all(Result::is_ok));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn flush_sends_the_open_batch_and_says_how_many_jobs_it_had() {
    paused(async || {
        let script = Script::new(tenfold).keep_jobs();
        let actor = Collector::builder(script.factory()).build().unwrap();
        let (jobs, addr) = (actor.handle(), actor.start());
        let ledger = Ledger::new(&jobs);
        let replies: Vec<_> = (0..3).map(|number| ledger.submit(Tenfold(number))).collect();
        assert_eq!(jobs.flush().await, Ok(3));
        assert_eq!(jobs.flush().await, Ok(0), "there is nothing more to send");
        let more = ledger.submit(Tenfold(3));
        assert_eq!(addr.send(Flush).await.unwrap(), 1, "the message does the same");
        assert!(join_all(replies).await.iter().all(Result::is_ok));
        more.await.unwrap();
        assert_eq!(batches(&script.seen()), [(vec![0, 1, 2], Trigger::Manual), (vec![3], Trigger::Manual)]);
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_full_collector_sends_what_it_has() {
    paused(async || {
        let (mut desk, factory) = Desk::<Tenfold>::new();
        let jobs = Collector::builder(factory).max_size(6).max_pending(10).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies: Vec<_> = (0..10).map(|number| ledger.submit(Tenfold(number))).collect();
        quiet().await;
        let (six, four) = (desk.next().await, desk.next().await);
        assert_eq!((six.numbers().len(), six.trigger), (6, Trigger::Size));
        assert_eq!((four.numbers().len(), four.trigger), (4, Trigger::Full), "nothing more could have joined");
        six.complete();
        four.complete();
        assert!(join_all(replies).await.iter().all(Result::is_ok));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn no_batch_is_larger_than_max_size_also_when_waiting_jobs_are_admitted() {
    paused(async || {
        let script = Script::new(tenfold);
        let jobs = Collector::builder(script.factory()).max_size(4).max_pending(10).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies = join_all((0..500).map(|number| ledger.submit(Tenfold(number)))).await;
        assert!(replies.iter().all(Result::is_ok));
        assert!(script.sizes().iter().all(|size| (1..=4).contains(size)), "{:?}", script.sizes());
        assert_eq!(balanced(&ledger, &jobs).await.most_pending, 10);
    });
}

#[test]
fn jobs_enter_batches_in_the_order_in_which_they_were_accepted() {
    paused(async || {
        let script = Script::new(tenfold).keep_jobs();
        let jobs = Collector::builder(script.factory())
            .max_size(7)
            .max_pending(21)
            .workers(Workers::local(1))
            .start()
            .unwrap();
        let ledger = Ledger::new(&jobs);
        join_all((0..200).map(|number| ledger.submit(Tenfold(number)))).await;
        let order: Vec<_> = script.seen().into_iter().flat_map(|seen| seen.jobs).map(|job| job.0).collect();
        assert_eq!(order, (0..200).collect::<Vec<_>>());
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_paused_collector_accepts_but_hands_out_nothing_until_it_resumes() {
    paused(async || {
        let (mut desk, factory) = Desk::<Tenfold>::new();
        let jobs = Collector::builder(factory).max_size(2).interval(ms(5)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let begun = [ledger.submit(Tenfold(0)), ledger.submit(Tenfold(1))];
        let with_worker = desk.next().await;
        jobs.pause().await.unwrap();
        let waiting: Vec<_> = (2..7).map(|number| ledger.submit(Tenfold(number))).collect();
        advance(ms(100)).await;
        quiet().await;
        with_worker.complete();
        assert!(join_all(begun).await.iter().all(Result::is_ok), "what workers have is finished");
        assert!(desk.try_next().is_none());
        let stats = jobs.stats().await.unwrap();
        assert_eq!((stats.paused, stats.intake.pending, stats.ready, stats.in_flight), (true, 5, 3, 0));

        jobs.resume().await.unwrap();
        for numbers in [vec![2, 3], vec![4, 5], vec![6]] {
            let held = desk.next().await;
            assert_eq!(held.numbers(), numbers);
            held.complete();
        }
        assert!(join_all(waiting).await.iter().all(Result::is_ok));
        balanced(&ledger, &jobs).await;
    });
}

/// A job that is counted while it exists.
struct Counted(Arc<AtomicU64>);

impl Counted {
    fn new(existing: &Arc<AtomicU64>) -> Self {
        existing.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(existing))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Job for Counted {
    type Output = ();
    type Error = Broken;
}

/// So many messages take many times the interval and many turns of the arbiter.
const FLOOD: usize = 200_000;

/// Another thread fills the mailbox; nothing on this arbiter runs meanwhile. actix empties a mailbox before it does anything
/// else, so from now on everything else has to make its way through the flood. Returns what counts the unread jobs, where
/// those that are read are refused.
fn flood(door: Recipient<SubmitJob<Counted>>) -> Arc<AtomicU64> {
    let unread = Arc::new(AtomicU64::new(0));
    let existing = Arc::clone(&unread);
    let flooding = thread::spawn(move || {
        (0..FLOOD).for_each(|_| door.do_send(SubmitJob::new(Counted::new(&existing))));
    });
    flooding.join().unwrap();
    unread
}

/// Tells how many jobs each batch had, and takes several turns for it.
struct Slow(mpsc::UnboundedSender<(usize, Trigger)>);

impl BatchProcessor for Slow {
    type Job = Counted;

    async fn process(&mut self, batch: &Batch<Counted>) -> Result<Outcomes<Counted>, Broken> {
        self.0.send((batch.len(), batch.trigger())).unwrap();
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        Ok(Outcomes::all(()))
    }
}

#[test]
fn an_interval_flush_happens_during_a_flood_of_messages_from_another_thread() {
    real_time(async || {
        let (tell, mut told) = mpsc::unbounded_channel();
        let jobs = Collector::builder(move || Slow(tell.clone()))
            .max_size(2 * FLOOD)
            .max_pending(2 * FLOOD)
            .interval(ms(5))
            .start()
            .unwrap();
        quiet().await;
        flood(jobs.recipient().unwrap());
        let (size, trigger) = told.recv().await.unwrap();
        assert_eq!(trigger, Trigger::Interval);
        assert!(size < FLOOD, "it waited for the flood to end");
        jobs.shutdown(Shutdown::drain()).await.unwrap();
        let stats = jobs.stats().await.unwrap();
        assert_eq!((stats.intake.accepted, stats.intake.pending), (stats.succeeded, 0));
    });
}

#[test]
fn a_local_worker_finishes_a_batch_during_a_flood_of_messages_from_another_thread() {
    real_time(async || {
        let (tell, _told) = mpsc::unbounded_channel();
        // Full with one job: what is read of the flood is refused, and is nothing but a flood.
        let jobs = Collector::builder(move || Slow(tell.clone()))
            .workers(Workers::local(1))
            .max_size(1)
            .max_pending(1)
            .start()
            .unwrap();
        quiet().await;
        let first = jobs.submit(Counted::new(&Arc::default()));
        let unread = flood(jobs.recipient().unwrap());
        first.await.unwrap();
        assert!(unread.load(Ordering::SeqCst) > 0, "it waited for the flood to end");
        jobs.shutdown(Shutdown::drain()).await.unwrap();
        let stats = jobs.stats().await.unwrap();
        assert_eq!((stats.intake.accepted, stats.intake.pending), (stats.succeeded, 0));
    });
}
