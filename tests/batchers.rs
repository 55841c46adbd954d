//! Which jobs share a batch: no batcher can lose, double or change a job, and every caller gets its own job's reply.
//!
//! `PROPTEST_CASES` sets how many chains are tried.
#![cfg(feature = "test-util")]

use std::{mem, panic::resume_unwind};

use actix_batch::{
    Trigger,
    batcher::{Batcher, Batchers, Item, chunk, even, group_by, order_by},
    prelude::*,
    test_util::{Ledger, Script},
};
use futures_util::future::{join, join_all};
use proptest::{collection::vec, prelude::*};

use self::support::{Broken, Desk, Tenfold, balanced, paused, quiet, tenfold};

mod support;

/// One batcher of a chain, honest or not.
#[derive(Debug, Clone)]
enum Link {
    Chunk(usize),
    Even(usize),
    Group(u64),
    Order(u64),
    /// Puts all in one batch.
    Merge,
    /// Turns the batches round, and what is in them.
    Reverse,
    /// Makes empty batches.
    Pad,
    /// Leaves out each job whose number is a multiple.
    Drop(u64),
    /// Leaves out everything, and lets no destructor run.
    Forget,
    /// Panics, with half of the batches dropped.
    Panic,
    /// Its key panics for multiples.
    PanickingKey(u64),
}

trait Numbered {
    fn number(&self) -> u64;
}

impl Numbered for u64 {
    fn number(&self) -> u64 {
        *self
    }
}

impl Numbered for Tenfold {
    fn number(&self) -> u64 {
        self.0
    }
}

impl<J: Numbered> Batcher<J> for Link {
    fn batch<'a>(&self, batches: Vec<Vec<Item<'a, J>>>) -> Vec<Vec<Item<'a, J>>> {
        match *self {
            Self::Chunk(n) => chunk(n).batch(batches),
            Self::Even(n) => even(n).batch(batches),
            Self::Group(n) => group_by(|job: &J| job.number() % n).batch(batches),
            Self::Order(n) => order_by(|job: &J| job.number() % n).batch(batches),
            Self::Merge => vec![batches.into_iter().flatten().collect()],
            Self::Reverse => batches.into_iter().rev().map(|batch| batch.into_iter().rev().collect()).collect(),
            Self::Pad => batches.into_iter().flat_map(|batch| [Vec::new(), batch, Vec::new()]).collect(),
            Self::Drop(n) => {
                let kept = |batch: Vec<Item<'a, J>>| batch.into_iter().filter(|job| job.number() % n > 0).collect();
                batches.into_iter().map(kept).collect()
            }
            Self::Forget => {
                mem::forget(batches);
                Vec::new()
            }
            Self::Panic => {
                drop(batches.into_iter().step_by(2).collect::<Vec<_>>());
                whim()
            }
            Self::PanickingKey(n) => {
                let key = |job: &J| if job.number().is_multiple_of(n) { whim() } else { job.number() };
                group_by(key).batch(batches)
            }
        }
    }
}

/// A panic that is not printed.
fn whim<T>() -> T {
    resume_unwind(Box::new("a whim"))
}

fn links() -> impl Strategy<Value = Vec<Link>> {
    let link = prop_oneof![
        (0..9_usize).prop_map(Link::Chunk),
        (0..9_usize).prop_map(Link::Even),
        (1..6_u64).prop_map(Link::Group),
        (1..6_u64).prop_map(Link::Order),
        Just(Link::Merge),
        Just(Link::Reverse),
        Just(Link::Pad),
        (1..6_u64).prop_map(Link::Drop),
        Just(Link::Forget),
        Just(Link::Panic),
        (1..20_u64).prop_map(Link::PanickingKey),
    ];
    vec(link, 0..6)
}

fn chain(links: Vec<Link>) -> Batchers<u64> {
    links.into_iter().fold(Batchers::new(), Batchers::batcher)
}

fn sorted(batches: Vec<Vec<u64>>) -> Vec<u64> {
    let mut jobs: Vec<_> = batches.into_iter().flatten().collect();
    jobs.sort_unstable();
    jobs
}

proptest! {
    #[test]
    fn whatever_a_chain_does_the_jobs_that_arrive_are_the_jobs_that_leave(links in links(), jobs in vec(0..30_u64, 0..60)) {
        let batches = chain(links).arrange(jobs.clone());
        prop_assert!(batches.iter().all(|batch| !batch.is_empty()));
        prop_assert_eq!(sorted(batches), sorted(vec![jobs]));
    }

    #[test]
    fn a_chunk_at_the_end_bounds_every_batch_whatever_is_left_out_before(links in links(), jobs in vec(0..30_u64, 0..60), n in 1..9_usize) {
        let batches = chain(links).batcher(chunk(n)).arrange(jobs);
        prop_assert!(batches.iter().all(|batch| batch.len() <= n));
    }

    #[test]
    fn even_is_as_few_batches_as_chunk_and_keeps_the_order(jobs in vec(0..30_u64, 0..60), n in 1..9_usize) {
        let evened = Batchers::new().batcher(even(n)).arrange(jobs.clone());
        let chunked = Batchers::new().batcher(chunk(n)).arrange(jobs.clone());
        prop_assert_eq!(evened.len(), chunked.len());
        prop_assert_eq!(evened.concat(), &jobs[..]);
        prop_assert_eq!(chunked.concat(), jobs);
        let sizes = || evened.iter().map(Vec::len);
        prop_assert!(sizes().max().unwrap_or(0) - sizes().min().unwrap_or(0) <= 1);
    }

    #[test]
    fn every_group_has_one_key_and_its_jobs_in_order(jobs in vec(0..30_u64, 0..60), n in 1..9_u64) {
        let numbered: Vec<_> = jobs.into_iter().enumerate().collect();
        let groups = Batchers::<(usize, u64)>::new().group_by(move |job| job.1 % n).arrange(numbered);
        for group in &groups {
            prop_assert!(group.iter().all(|job| job.1 % n == group[0].1 % n) && group.is_sorted());
        }
        prop_assert!(groups.is_sorted_by_key(|group| group[0].0), "in the order in which they first appear");
        let keys: std::collections::HashSet<_> = groups.iter().map(|group| group[0].1 % n).collect();
        prop_assert_eq!(keys.len(), groups.len());
    }

    #[test]
    fn every_caller_gets_its_own_reply_whatever_the_chain_does_and_by_whichever_door(
        links in links(), doors in vec(any::<bool>(), 1..60), max_size in 1..40_usize, fails in 1..8_u64,
    ) {
        paused(async move || {
            let script = Script::new(tenfold).keep_jobs().fail_at(fails, Broken("a whim"));
            let builder = Collector::builder(script.factory()).max_size(max_size);
            let jobs = links.into_iter().fold(builder, CollectorBuilder::batcher).build().unwrap();
            let handle = jobs.handle();
            let ledger = Ledger::new(&handle);
            let recipient = jobs.start().recipient();
            let (mut submitted, mut sent) = (Vec::new(), Vec::new());
            for (number, by_handle) in (0..).zip(&doors) {
                if *by_handle {
                    let reply = ledger.submit(Tenfold(number));
                    submitted.push(async move { (number, reply.await) });
                } else {
                    let reply = ledger.send(&recipient, Tenfold(number));
                    sent.push(async move { (number, reply.await.unwrap()) });
                }
                if number % 5 == 0 {
                    quiet().await; // the mailbox is read, so that the doors take turns within a batch
                }
            }
            let (submitted, sent) = join(join_all(submitted), join_all(sent)).await;
            for (number, reply) in submitted.into_iter().chain(sent) {
                assert!(matches!(reply, Ok(tenth) if tenth == number * 10) || matches!(reply, Err(JobError::Failed(_))));
            }
            let seen = sorted(script.seen().iter().map(|seen| seen.jobs.iter().map(|job| job.0).collect()).collect());
            assert_eq!(seen, (0..doors.len() as u64).collect::<Vec<_>>());
            balanced(&ledger, &handle).await;
        });
    }
}

/// The numbers of each batch that the script has seen.
fn numbers(script: &Script<Tenfold>) -> Vec<Vec<u64>> {
    script.seen().iter().map(|seen| seen.jobs.iter().map(|job| job.0).collect()).collect()
}

#[test]
fn batchers_part_what_has_left_from_left_to_right_and_every_part_is_a_batch_of_its_own() {
    paused(async || {
        let script = Script::new(tenfold).keep_jobs().fail_at(2, Broken("one part of five"));
        let builder = Collector::builder(script.factory()).workers(Workers::local(1)).max_size(9);
        let jobs = builder.group_by(|job| job.0 % 2).batcher(chunk(2)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies = join_all((1..10).map(|number| ledger.submit(Tenfold(number)))).await;
        assert_eq!(numbers(&script), [vec![1, 3], vec![5, 7], vec![9], vec![2, 4], vec![6, 8]]);
        for (number, reply) in (1..).zip(replies) {
            match reply {
                Ok(tenth) => assert_eq!(tenth, number * 10),
                Err(error) => assert!(matches!(error, JobError::Failed(_)) && [5, 7].contains(&number)),
            }
        }
        assert!(script.seen().iter().all(|seen| seen.trigger == Trigger::Size));
        assert_eq!(jobs.stats().await.unwrap().batches[&Trigger::Size], 5);
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn the_parts_of_one_batch_go_to_all_workers() {
    paused(async || {
        let (mut desk, clerks) = Desk::<Tenfold>::new();
        let builder = Collector::builder(clerks).workers(Workers::local(2)).max_size(6);
        let jobs = builder.order_by(|job| std::cmp::Reverse(job.0)).batcher(even(4)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies: Vec<_> = (0..6).map(|number| ledger.submit(Tenfold(number))).collect();
        let (first, second) = (desk.next().await, desk.next().await);
        assert_eq!((first.numbers(), second.numbers()), (vec![5, 4, 3], vec![2, 1, 0]));
        second.panic();
        first.complete();
        for (number, reply) in (0..).zip(join_all(replies).await) {
            match reply {
                Ok(tenth) => assert!(tenth == number * 10 && number > 2),
                Err(error) => assert!(matches!(error, JobError::Panicked) && number <= 2),
            }
        }
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn what_a_batcher_leaves_out_comes_last_and_is_counted() {
    paused(async || {
        let script = Script::new(tenfold).keep_jobs();
        let builder = Collector::builder(script.factory()).workers(Workers::local(1)).max_size(5);
        let jobs = builder.batcher(Link::Drop(2)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        assert!(join_all((0..5).map(|number| ledger.submit(Tenfold(number)))).await.iter().all(Result::is_ok));
        assert_eq!(numbers(&script), [vec![1, 3], vec![0, 2, 4]]);
        assert_eq!(jobs.stats().await.unwrap().left_out, 3);
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_batcher_that_panics_sends_the_jobs_on_as_they_were() {
    paused(async || {
        let script = Script::new(tenfold).keep_jobs();
        let builder = Collector::builder(script.factory()).workers(Workers::local(1)).max_size(4);
        let jobs = builder.batcher(chunk(3)).batch_with(|_| whim()).batcher(Link::Reverse).start().unwrap();
        let ledger = Ledger::new(&jobs);
        assert!(join_all((0..4).map(|number| ledger.submit(Tenfold(number)))).await.iter().all(Result::is_ok));
        assert_eq!(numbers(&script), [vec![3], vec![2, 1, 0]]);
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_caller_that_has_gone_is_skipped_within_its_part() {
    paused(async || {
        let script = Script::new(tenfold).keep_jobs();
        let builder = Collector::builder(script.factory()).workers(Workers::local(1)).max_size(6);
        let jobs = builder.group_by_ref(|job| if job.0 % 2 == 0 { "even" } else { "odd" }).start().unwrap();
        jobs.pause().await.unwrap();
        let ledger = Ledger::new(&jobs);
        let mut replies: Vec<_> = (0..6).map(|number| ledger.submit(Tenfold(number))).collect();
        quiet().await;
        drop(replies.remove(2));
        drop(replies.remove(2));
        jobs.resume().await.unwrap();
        assert!(join_all(replies).await.iter().all(Result::is_ok));
        assert_eq!(numbers(&script), [vec![0, 4], vec![1, 5]]);
        assert_eq!(jobs.stats().await.unwrap().failed.abandoned, 2);
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_shutdown_drains_through_the_batchers() {
    paused(async || {
        let script = Script::new(tenfold).keep_jobs();
        let jobs = Collector::builder(script.factory()).batcher(chunk(2)).start().unwrap();
        let replies: Vec<_> = (0..5).map(|number| jobs.submit(Tenfold(number))).collect();
        assert_eq!(jobs.shutdown(Shutdown::drain()).await.unwrap().completed, 5);
        assert!(join_all(replies).await.iter().all(Result::is_ok));
        assert_eq!(script.sizes(), [2, 2, 1]);
    });
}
