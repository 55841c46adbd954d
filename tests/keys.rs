//! Keys: jobs with the same key share a batch, are processed in order, or share a reply.
#![cfg(feature = "test-util")]

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix_batch::{Trigger, batcher::chunk, prelude::*, test_util::Ledger};
use futures_util::{FutureExt, future::join_all};
use tokio::time::{Instant, advance};

use self::support::{Clerk, Desk, Held, balanced, balanced_at_the_end, ms, paused, quiet};

mod support;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A job with a key and a number.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Of(&'static str, u64);

impl Job for Of {
    type Output = String;
    type Error = String;
}

fn done(job: &Of) -> String {
    format!("{}{}", job.0, job.1)
}

fn complete(held: Held<Of>) {
    held.answer(|batch| Ok(Outcomes::in_order(batch.iter().map(done))));
}

fn texts(held: &Held<Of>) -> Vec<String> {
    held.jobs.iter().map(done).collect()
}

/// Two workers, batches of three, an interval that does not end during a test.
fn builder(factory: impl Fn() -> Clerk<Of> + Send + Sync + 'static) -> CollectorBuilder<Clerk<Of>> {
    Collector::builder(factory).max_size(3).interval(ms(3_600_000))
}

// Partitions.

#[test]
fn each_batch_is_of_one_partition() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory).partition_by(|job: &Of| job.0).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies: Vec<_> = [("a", 1), ("b", 1), ("a", 2), ("c", 1), ("b", 2), ("b", 3), ("a", 3)]
            .map(|(key, number)| ledger.submit(Of(key, number)))
            .into();
        for expected in [["b1", "b2", "b3"], ["a1", "a2", "a3"]] {
            let held = desk.next().await;
            assert_eq!((texts(&held), held.trigger), (expected.map(str::to_owned).to_vec(), Trigger::Size));
            complete(held);
        }
        assert_eq!(jobs.flush().await.unwrap(), 1);
        complete(desk.next().await);
        for reply in replies {
            reply.await.unwrap();
        }
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn the_interval_runs_separately_for_each_partition() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory).interval(ms(10)).partition_by(|job: &Of| job.0).start().unwrap();
        let start = Instant::now();
        let first = jobs.submit(Of("a", 1));
        advance(ms(4)).await;
        let second = jobs.submit(Of("b", 1));
        for (reply, at) in [(first, 10), (second, 14)] {
            let held = desk.next().await;
            assert_eq!((held.trigger, start.elapsed()), (Trigger::Interval, ms(at)));
            complete(held);
            reply.await.unwrap();
        }
    });
}

#[test]
fn opening_one_partition_too_many_sends_the_least_recently_used_one() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory).partition_by(|job: &Of| job.0).max_partitions(2).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies = [("a", 1), ("b", 1), ("a", 2), ("c", 1)].map(|(key, number)| ledger.submit(Of(key, number)));
        let held = desk.next().await;
        assert_eq!((texts(&held), held.trigger), (vec!["b1".to_owned()], Trigger::Full));
        complete(held);
        jobs.flush().await.unwrap();
        for _ in 0..2 {
            complete(desk.next().await);
        }
        for reply in replies {
            reply.await.unwrap();
        }
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn jobs_of_ten_thousand_partitions_all_get_their_replies() {
    paused(async || {
        let script = actix_batch::test_util::Script::new(|job: &support::Tenfold| support::tenfold(job));
        let jobs = Collector::builder(script.factory()).partition_by(|job| job.0).max_partitions(100).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies = join_all((0..10_000).map(|number| ledger.submit(support::Tenfold(number)))).await;
        assert!(replies.into_iter().all(|reply| reply.is_ok()));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_job_whose_partition_key_panics_has_a_batch_of_its_own() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory)
            .interval(ms(5))
            .partition_by(|job: &Of| if job.0 == "?" { panic!("no key") } else { job.0 })
            .start()
            .unwrap();
        let replies = [("?", 1), ("?", 2), ("a", 1)].map(|(key, number)| jobs.submit(Of(key, number)));
        for _ in 0..3 {
            let held = desk.next().await;
            assert_eq!(held.jobs.len(), 1);
            complete(held);
        }
        for reply in replies {
            reply.await.unwrap();
        }
    });
}

#[test]
fn batchers_divide_the_batch_of_a_partition_further() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory).partition_by(|job: &Of| job.0).batcher(chunk(2)).start().unwrap();
        let replies = [1, 2, 3].map(|number| jobs.submit(Of("a", number)));
        for jobs in [2, 1] {
            let held = desk.next().await;
            assert_eq!(held.jobs.len(), jobs);
            complete(held);
        }
        for reply in replies {
            reply.await.unwrap();
        }
    });
}

// Order.

#[test]
fn jobs_of_one_key_are_processed_one_by_one_while_other_keys_proceed() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory).max_size(1).in_order_by(|job: &Of| job.0).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies = [("a", 1), ("a", 2), ("b", 1), ("a", 3)].map(|(key, number)| ledger.submit(Of(key, number)));
        let first = desk.next().await;
        assert_eq!(texts(&first), ["a1"]);
        let other = desk.next().await;
        assert_eq!(texts(&other), ["b1"]);
        complete(other);
        quiet().await;
        assert!(desk.try_next().is_none(), "a worker is free, and `a` is not");
        complete(first);
        for expected in ["a2", "a3"] {
            let held = desk.next().await;
            assert_eq!(texts(&held), [expected]);
            complete(held);
        }
        for reply in replies {
            reply.await.unwrap();
        }
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_batch_has_at_most_one_job_of_an_ordered_key() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory).in_order_by(|job: &Of| job.0).start().unwrap();
        let replies =
            [("a", 1), ("a", 2), ("b", 1), ("b", 2), ("c", 1)].map(|(key, number)| jobs.submit(Of(key, number)));
        let held = desk.next().await;
        assert_eq!(texts(&held), ["a1", "b1", "c1"]);
        complete(held);
        quiet().await;
        jobs.flush().await.unwrap();
        let held = desk.next().await;
        assert_eq!(texts(&held), ["a2", "b2"]);
        complete(held);
        for reply in replies {
            reply.await.unwrap();
        }
    });
}

#[test]
fn the_next_job_of_a_key_waits_until_the_retries_of_the_first_are_over() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory)
            .max_size(1)
            .retry(Retry::fixed(ms(50)).attempts(2))
            .in_order_by(|job: &Of| job.0)
            .start()
            .unwrap();
        let replies = [("a", 1), ("a", 2)].map(|(key, number)| jobs.submit(Of(key, number)));
        desk.next().await.answer(|_| Err("once".to_owned()));
        advance(ms(40)).await;
        quiet().await;
        assert!(desk.try_next().is_none());
        for expected in ["a1", "a2"] {
            let held = desk.next().await;
            assert_eq!(texts(&held), [expected]);
            complete(held);
        }
        for reply in replies {
            reply.await.unwrap();
        }
    });
}

#[test]
fn a_higher_priority_does_not_overtake_an_earlier_job_of_its_key() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory).max_size(1).in_order_by(|job: &Of| job.0).start().unwrap();
        let low = jobs.submit(SubmitJob::new(Of("a", 1)).priority(Priority::Low));
        let high = jobs.submit(SubmitJob::new(Of("a", 2)).priority(Priority::High));
        let held = desk.next().await;
        assert_eq!(texts(&held), ["a1"]);
        quiet().await;
        assert!(desk.try_next().is_none());
        complete(held);
        low.await.unwrap();
        complete(desk.next().await);
        high.await.unwrap();
    });
}

#[test]
fn a_job_that_was_held_longer_than_the_interval_leaves_at_once() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory).interval(ms(10)).in_order_by(|job: &Of| job.0).start().unwrap();
        let replies = [1, 2].map(|number| jobs.submit(Of("a", number)));
        let held = desk.next().await;
        advance(ms(100)).await;
        let settled_at = Instant::now();
        complete(held);
        let held = desk.next().await;
        assert_eq!((texts(&held), settled_at.elapsed()), (vec!["a2".to_owned()], ms(0)));
        complete(held);
        for reply in replies {
            reply.await.unwrap();
        }
    });
}

#[test]
fn jobs_partitioned_by_their_order_key_share_a_batch_and_the_next_batch_waits_for_it() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory)
            .partition_by(|job: &Of| job.0)
            .in_order_by(|job: &Of| job.0)
            .interval(ms(5))
            .start()
            .unwrap();
        let ledger = Ledger::new(&jobs);
        let replies: Vec<_> = (1..=5).map(|number| ledger.submit(Of("a", number))).collect();
        let held = desk.next().await;
        assert_eq!(texts(&held), ["a1", "a2", "a3"]);
        advance(ms(50)).await;
        quiet().await;
        assert!(desk.try_next().is_none());
        complete(held);
        let held = desk.next().await;
        assert_eq!(texts(&held), ["a4", "a5"]);
        complete(held);
        for reply in replies {
            reply.await.unwrap();
        }
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_held_job_that_is_past_its_deadline_expires_and_the_next_one_is_processed() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory).max_size(1).in_order_by(|job: &Of| job.0).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let first = ledger.submit(Of("a", 1));
        let late = ledger.submit(SubmitJob::new(Of("a", 2)).within(ms(20)));
        let last = ledger.submit(Of("a", 3));
        let held = desk.next().await;
        assert!(matches!(late.await, Err(JobError::Expired)));
        complete(held);
        let held = desk.next().await;
        assert_eq!(texts(&held), ["a3"]);
        complete(held);
        first.await.unwrap();
        last.await.unwrap();
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_caller_that_goes_before_its_turn_holds_no_other_up() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory).max_size(1).in_order_by(|job: &Of| job.0).start().unwrap();
        let [first, gone, last] = [1, 2, 3].map(|number| jobs.submit(Of("a", number)));
        drop(gone);
        complete(desk.next().await);
        let held = desk.next().await;
        assert_eq!(texts(&held), ["a3"]);
        complete(held);
        first.await.unwrap();
        last.await.unwrap();
        assert_eq!(jobs.stats().await.unwrap().failed.abandoned, 1);
    });
}

#[test]
fn a_drain_processes_held_jobs_and_a_shutdown_limit_settles_them() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory).max_size(1).in_order_by(|job: &Of| job.0).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies = [1, 2, 3].map(|number| ledger.submit(Of("a", number)));
        let report = jobs.shutdown(Shutdown::drain().within(ms(100)));
        let (report, ()) = tokio::join!(report, async {
            complete(desk.next().await);
            complete(desk.next().await);
            // The third job hangs.
            drop(desk.next().await);
        });
        let ends: Vec<_> = join_all(replies).await.into_iter().map(|reply| reply.is_ok()).collect();
        assert_eq!((ends, report.unwrap().shut_down), (vec![true, true, false], 1));

        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory).max_size(1).in_order_by(|job: &Of| job.0).start().unwrap();
        let others = Ledger::new(&jobs);
        let replies = [1, 2, 3].map(|number| others.submit(Of("a", number)));
        let busy = desk.next().await;
        assert_eq!(jobs.shutdown(Shutdown::now()).await.unwrap().shut_down, 3);
        for reply in replies {
            assert!(matches!(reply.await, Err(JobError::ShutDown)));
        }
        drop(busy);
        balanced_at_the_end(&ledger);
        balanced_at_the_end(&others);
    });
}

// Coalesced jobs.

#[test]
fn a_job_whose_key_is_buffered_or_in_flight_follows_that_job() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory).coalesce_by(|job: &Of| job.1).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let keys = [1, 2, 1, 2, 3, 3, 4, 1, 2, 3, 5];
        let replies = keys.map(|key| ledger.submit(Of("k", key)));
        let first = desk.next().await;
        assert_eq!(texts(&first), ["k1", "k2", "k3"]);
        jobs.flush().await.unwrap();
        let second = desk.next().await;
        assert_eq!(texts(&second), ["k4", "k5"]);
        complete(first);
        complete(second);
        for (key, reply) in keys.into_iter().zip(replies) {
            assert_eq!(reply.await.unwrap(), format!("k{key}"));
        }
        let stats = jobs.stats().await.unwrap();
        assert_eq!((stats.intake.accepted, stats.succeeded, stats.intake.coalesced), (11, 11, 6));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_coalesced_key_is_processed_again_after_its_reply() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory).max_size(1).coalesce_by(|job: &Of| job.1).start().unwrap();
        for _ in 0..2 {
            let reply = jobs.submit(Of("k", 1));
            complete(desk.next().await);
            reply.await.unwrap();
        }
    });
}

#[test]
fn every_follower_gets_the_error_even_if_another_follower_has_gone() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory).max_size(1).coalesce_by(|job: &Of| job.1).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let [first, gone, last] = ["a", "b", "c"].map(|name| ledger.submit(Of(name, 1)));
        let held = desk.next().await;
        drop(gone);
        held.answer(|_| Err("no".to_owned()));
        for reply in [first, last] {
            assert!(matches!(reply.await, Err(JobError::Failed(error)) if *error == "no"));
        }
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_leader_is_processed_for_its_followers_after_its_own_caller_has_gone() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory).max_size(2).coalesce_by(|job: &Of| job.1).start().unwrap();
        let first = jobs.submit(Of("a", 1));
        let follower = jobs.submit(Of("b", 1));
        drop(first);
        jobs.flush().await.unwrap();
        complete(desk.next().await);
        assert_eq!(follower.await.unwrap(), "a1");
    });
}

#[test]
fn jobs_sent_as_messages_are_coalesced_too() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory).max_size(2).coalesce_by(|job: &Of| job.1).start().unwrap();
        quiet().await;
        let (door, ledger) = (jobs.recipient().unwrap(), Ledger::new(&jobs));
        let first = ledger.send(&door, Of("a", 1));
        let second = ledger.send(&door, Of("b", 1));
        let (first, second, ()) = tokio::join!(first, second, async {
            quiet().await;
            jobs.flush().await.unwrap();
            complete(desk.next().await);
        });
        assert_eq!((first.unwrap().unwrap(), second.unwrap().unwrap()), ("a1".to_owned(), "a1".to_owned()));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_follower_needs_no_room_by_any_door() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory).max_size(1).max_pending(1).coalesce_by(|job: &Of| job.1).start().unwrap();
        quiet().await;
        let (door, ledger) = (jobs.recipient().unwrap(), Ledger::new(&jobs));
        let leader = ledger.submit(Of("a", 1));
        assert!(ledger.try_submit(Of("a", 2)).is_err(), "the collector is full");
        let followers = [ledger.submit(Of("a", 1)), ledger.try_submit(Of("a", 1)).unwrap()];
        let (message, followers, leader, ()) =
            tokio::join!(ledger.send(&door, Of("a", 1)), join_all(followers), leader, async {
                quiet().await;
                complete(desk.next().await);
            });
        assert!(message.unwrap().is_ok() && leader.is_ok() && followers.iter().all(Result::is_ok));
        assert_eq!(balanced(&ledger, &jobs).await.most_pending, 1);
    });
}

#[test]
fn callers_of_one_key_that_wait_for_room_make_one_job() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory).max_size(1).max_pending(2).coalesce_by(|job: &Of| job.1).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let before = join_all((1..=2).map(|key| ledger.submit(Of("a", key))));
        let crowd = join_all((0..200).map(|_| ledger.submit(Of("a", 3))));
        let next = ledger.submit(Of("a", 4));
        let (before, crowd, next, ()) = tokio::join!(before, crowd, next, async {
            for expected in ["a1", "a2", "a3", "a4"] {
                let held = desk.next().await;
                assert_eq!(texts(&held), [expected]);
                complete(held);
            }
        });
        assert!(before.iter().chain(&crowd).all(Result::is_ok) && next.is_ok());
        balanced(&ledger, &jobs).await;
    });
}

/// An output that panics when it is copied.
#[derive(Debug)]
struct Uncopied;

impl Clone for Uncopied {
    fn clone(&self) -> Self {
        panic!("no copies")
    }
}

#[derive(Debug, Clone)]
struct GetUncopied;

impl Job for GetUncopied {
    type Output = Uncopied;
    type Error = String;
}

#[test]
fn if_an_output_cannot_be_copied_the_leader_gets_it_and_followers_get_an_error() {
    paused(async || {
        let (mut desk, factory) = Desk::<GetUncopied>::new();
        let jobs = Collector::builder(factory).coalesce_by(|_: &GetUncopied| ()).start().unwrap();
        let (leader, follower) = (jobs.submit(GetUncopied), jobs.submit(GetUncopied));
        desk.next().await.answer(|_| Ok(Outcomes::in_order(vec![Uncopied])));
        assert!(leader.await.is_ok());
        assert!(matches!(follower.await, Err(JobError::Lost)));
        assert_eq!(jobs.stats().await.unwrap().intake.pending, 0);
    });
}

// Idempotency keys.

#[test]
fn an_idempotency_key_returns_the_first_outcome_until_its_time_to_live_is_over() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory).max_size(1).idempotent_by(|job: &Of| job.0, ms(1_000)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let first = ledger.submit(Of("a", 1));
        let meanwhile = ledger.submit(Of("a", 1));
        desk.next().await.answer(|_| Ok(Outcomes::in_order(vec!["charged".to_owned()])));
        assert_eq!((first.await.unwrap(), meanwhile.await.unwrap()), ("charged".to_owned(), "charged".to_owned()));
        advance(ms(999)).await;
        assert_eq!(ledger.submit(Of("a", 1)).now_or_never().unwrap().unwrap(), "charged");
        assert!(desk.try_next().is_none());
        advance(ms(1)).await;
        let again = ledger.submit(Of("a", 1));
        complete(desk.next().await);
        assert_eq!(again.await.unwrap(), "a1");
        let stats = jobs.stats().await.unwrap();
        assert_eq!((stats.intake.accepted, stats.intake.coalesced, stats.intake.replayed), (3, 1, 1));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_failure_is_remembered_as_an_outcome() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory).max_size(1).idempotent_by(|job: &Of| job.0, DAY).start().unwrap();
        let first = jobs.submit(Of("a", 1));
        desk.next().await.answer(|_| Err("declined".to_owned()));
        for reply in [first, jobs.submit(Of("a", 1))] {
            assert!(matches!(reply.await, Err(JobError::Failed(error)) if *error == "declined"));
        }
    });
}

#[test]
fn with_successes_only_a_job_whose_key_has_failed_is_processed_again() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let builder = builder(factory).max_size(1).idempotent_by(|job: &Of| job.0, DAY).remember_failures(false);
        let jobs = builder.start().unwrap();
        let first = jobs.submit(Of("a", 1));
        desk.next().await.answer(|_| Err("declined".to_owned()));
        assert!(first.await.is_err());
        let again = jobs.submit(Of("a", 1));
        complete(desk.next().await);
        assert_eq!(again.await.unwrap(), "a1");
        assert_eq!(jobs.submit(Of("a", 1)).await.unwrap(), "a1", "the success is remembered");
    });
}

#[test]
fn a_key_that_was_forgotten_is_processed_again() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory).max_size(1).idempotent_by(|job: &Of| job.0, DAY).start().unwrap();
        for _ in 0..2 {
            let reply = jobs.submit(Of("a", 1));
            complete(desk.next().await);
            reply.await.unwrap();
            jobs.forget(&Of("b", 1));
            jobs.forget(&Of("a", 1));
        }
    });
}

#[test]
fn jobs_held_behind_a_failed_job_of_their_key_fail_with_it_if_that_was_asked_for() {
    for fail in [true, false] {
        paused(async move || {
            let (mut desk, factory) = Desk::new();
            let builder = builder(factory).max_size(1).in_order_by(|job: &Of| job.0).fail_following(fail);
            let jobs = builder.retry(Retry::fixed(ms(10)).attempts(2)).start().unwrap();
            let ledger = Ledger::new(&jobs);
            let first = ledger.submit(Of("a", 1));
            let behind = join_all((2..5).map(|number| ledger.submit(Of("a", number))));
            let other = ledger.submit(Of("b", 1));
            let work = async {
                let mut processed = 0;
                while let Ok(held) = tokio::time::timeout(ms(500), desk.next()).await {
                    processed += 1;
                    if texts(&held) == ["a1"] { held.answer(|_| Err("no".to_owned())) } else { complete(held) }
                }
                processed
            };
            let (first, behind, other, processed) = tokio::join!(first, behind, other, work);
            assert!(first.is_err() && other.is_ok());
            let failed = behind.iter().filter(|reply| matches!(reply, Err(JobError::EarlierFailed))).count();
            assert_eq!((failed, processed), if fail { (3, 3) } else { (0, 6) }, "{behind:?}");
            let after = ledger.submit(Of("a", 9));
            complete(desk.next().await);
            assert!(after.await.is_ok(), "later jobs are processed");
            balanced(&ledger, &jobs).await;
        });
    }
}

#[test]
fn a_job_that_no_processor_has_seen_may_be_submitted_again_under_its_key() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory).idempotent_by(|job: &Of| job.0, DAY).start().unwrap();
        jobs.pause().await.unwrap();
        assert!(matches!(jobs.submit(SubmitJob::new(Of("a", 1)).within(ms(5))).await, Err(JobError::Expired)));
        jobs.resume().await.unwrap();
        let again = jobs.submit(Of("a", 1));
        jobs.flush().await.unwrap();
        complete(desk.next().await);
        again.await.unwrap();
    });
}

#[test]
fn a_different_content_under_the_same_key_is_a_conflict_at_every_door_in_flight_and_afterwards() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory).max_size(1).idempotent_by(|job: &Of| job.0, DAY).start().unwrap();
        quiet().await;
        let (door, ledger) = (jobs.recipient().unwrap(), Ledger::new(&jobs));
        let first = ledger.submit(Of("a", 1));
        let mut held = Some(desk.next().await);
        for _ in ["in flight", "afterwards"] {
            assert!(matches!(ledger.submit(Of("a", 2)).await, Err(JobError::KeyConflict)));
            assert!(matches!(ledger.send(&door, Of("a", 2)).await.unwrap(), Err(JobError::KeyConflict)));
            let handed_back = ledger.try_submit(Of("a", 2)).err().unwrap();
            assert_eq!((handed_back.job, handed_back.reason), (Of("a", 2), actix_batch::RejectReason::KeyConflict));
            if let Some(held) = held.take() {
                complete(held);
                quiet().await;
            }
        }
        first.await.unwrap();
        let stats = jobs.stats().await.unwrap();
        assert_eq!((stats.intake.accepted, stats.intake.rejected.total()), (1, 6));
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn at_most_max_outcomes_are_remembered_and_the_oldest_is_forgotten_first() {
    paused(async || {
        let script = actix_batch::test_util::Script::new(|job: &Of| Ok(done(job)));
        let jobs = Collector::builder(script.factory())
            .max_size(1)
            .idempotent_by(|job: &Of| job.1, DAY)
            .max_outcomes(2)
            .start()
            .unwrap();
        for number in [1, 2, 3, 3, 2, 1] {
            jobs.submit(Of("a", number)).await.unwrap();
        }
        assert_eq!((script.seen().len(), jobs.stats().await.unwrap().intake.replayed), (4, 2));
    });
}

#[test]
fn an_impossible_key_setting_is_refused_by_its_name() {
    let refused = |build: &dyn Fn(CollectorBuilder<Clerk<Of>>) -> CollectorBuilder<Clerk<Of>>| {
        let (_, factory) = Desk::new();
        build(Collector::builder(factory)).build().err().map(|error| error.key)
    };
    assert_eq!(refused(&|builder| builder.max_partitions(0)), Some("max_partitions".to_owned()));
    assert_eq!(refused(&|builder| builder.max_outcomes(0)), Some("max_outcomes".to_owned()));
    for time_to_live in [Duration::ZERO, Duration::MAX] {
        let key = refused(&|builder| builder.idempotent_by(|job: &Of| job.0, time_to_live));
        assert_eq!(key, Some("idempotent_by.time_to_live".to_owned()));
    }
    let both = refused(&|builder| builder.coalesce_by(|job: &Of| job.0).idempotent_by(|job: &Of| job.0, DAY));
    assert_eq!(both, Some("coalesce_by".to_owned()));
}

// Keys with broken equality.

/// A key that equals no key, not even itself, and sometimes panics.
struct Hostile(u64);

impl Drop for Hostile {
    fn drop(&mut self) {
        assert!(std::thread::panicking() || self.0 % 5 != 4, "no end");
    }
}

static ASKED: AtomicU64 = AtomicU64::new(0);

impl PartialEq for Hostile {
    fn eq(&self, _: &Self) -> bool {
        assert!(!ASKED.fetch_add(1, Ordering::Relaxed).is_multiple_of(3), "not comparable");
        false
    }
}

impl Eq for Hostile {}

impl Hash for Hostile {
    fn hash<H: Hasher>(&self, state: &mut H) {
        assert!(self.0 % 7 != 6, "no hash");
        state.write_u64(self.0 % 2);
    }
}

#[test]
fn every_job_gets_its_reply_even_if_its_keys_panic_or_equal_nothing() {
    paused(async || {
        let script = actix_batch::test_util::Script::new(|job: &Of| Ok(done(job)));
        let builders: [fn(CollectorBuilder<_>) -> CollectorBuilder<_>; 4] = [
            |builder| builder.partition_by(|job: &Of| Hostile(job.1)).max_partitions(5),
            |builder| builder.in_order_by(|job: &Of| Hostile(job.1)),
            |builder| builder.coalesce_by(|job: &Of| Hostile(job.1)),
            |builder| builder.idempotent_by(|job: &Of| Hostile(job.1), DAY),
        ];
        for build in builders {
            let jobs = build(Collector::builder(script.factory()).max_size(3)).start().unwrap();
            let ledger = Ledger::new(&jobs);
            let replies = join_all((0..200).map(|number| ledger.submit(Of("a", number)))).await;
            assert!(replies.into_iter().all(|reply| reply.is_ok()));
            balanced(&ledger, &jobs).await;
        }
    });
}

#[test]
fn jobs_with_keys_of_every_kind_at_once_all_get_their_replies() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory)
            .partition_by(|job: &Of| job.0)
            .in_order_by(|job: &Of| job.1 % 3)
            .coalesce_by(|job: &Of| (job.0, job.1))
            .interval(ms(5))
            .start()
            .unwrap();
        let ledger = Ledger::new(&jobs);
        let names = ["a", "b", "c"];
        let replies: Vec<_> =
            (0..300).zip(names.into_iter().cycle()).map(|(n, name)| ledger.submit(Of(name, n % 20))).collect();
        let answers = join_all(replies);
        tokio::pin!(answers);
        let mut in_order: HashMap<u64, u64> = HashMap::new();
        let answers = loop {
            tokio::select! {
                held = desk.next() => {
                    assert!(held.jobs.iter().all(|job| job.0 == held.jobs[0].0));
                    for job in &held.jobs {
                        *in_order.entry(job.1 % 3).or_default() += 1;
                    }
                    complete(held);
                }
                answers = &mut answers => break answers,
            }
        };
        assert!(answers.into_iter().all(|answer| answer.is_ok()));
        assert_eq!(in_order.values().sum::<u64>(), 60, "three names and twenty numbers");
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn batches_partitioned_by_their_order_key_are_processed_one_by_one_with_any_number_of_held_jobs() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory)
            .partition_by(|job: &Of| job.0)
            .in_order_by(|job: &Of| job.0)
            .interval(ms(5))
            .start()
            .unwrap();
        let ledger = Ledger::new(&jobs);
        let replies: Vec<_> = (1..=10).map(|number| ledger.submit(Of("a", number))).collect();
        for expected in [vec![1, 2, 3], vec![4, 5, 6], vec![7, 8, 9], vec![10]] {
            let held = desk.next().await;
            assert_eq!(texts(&held), expected.iter().map(|number| format!("a{number}")).collect::<Vec<_>>());
            quiet().await;
            assert!(desk.try_next().is_none(), "a worker is free, and `a` is not");
            complete(held);
        }
        for reply in replies {
            reply.await.unwrap();
        }
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_job_too_heavy_for_the_open_batch_of_its_key_waits_until_that_batch_is_settled() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory)
            .partition_by(|job: &Of| job.0)
            .in_order_by(|job: &Of| job.0)
            .weigh(|job| job.1)
            .policy(actix_batch::flush::Weight::new(10).interval(ms(5)))
            .start()
            .unwrap();
        let ledger = Ledger::new(&jobs);
        let replies = [4, 4, 9, 1, 7].map(|weight| ledger.submit(Of("a", weight)));
        for expected in [vec!["a4", "a4"], vec!["a9", "a1"], vec!["a7"]] {
            let held = desk.next().await;
            assert_eq!(texts(&held), expected);
            advance(ms(10)).await;
            quiet().await;
            assert!(desk.try_next().is_none(), "a worker is free, and `a` is not");
            complete(held);
        }
        for reply in replies {
            reply.await.unwrap();
        }
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_drain_sends_held_jobs_without_waiting_for_others() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory).in_order_by(|job: &Of| job.0).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies = [1, 2, 3].map(|number| ledger.submit(Of("a", number)));
        let report = jobs.shutdown(Shutdown::drain());
        let (report, ()) = tokio::join!(report, async {
            for _ in 0..3 {
                complete(desk.next().await);
            }
        });
        let report = report.unwrap();
        assert_eq!((report.completed, report.elapsed), (3, ms(0)));
        for reply in replies {
            reply.await.unwrap();
        }
        balanced_at_the_end(&ledger);
    });
}

/// A key that equals every other one, except at its first comparison.
struct Wavering(Arc<AtomicU64>);

impl PartialEq for Wavering {
    fn eq(&self, _: &Self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) % 2 == 1
    }
}

impl Eq for Wavering {}

impl Hash for Wavering {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

#[test]
fn every_job_gets_its_reply_even_if_its_key_is_equal_only_sometimes() {
    paused(async || {
        let script = actix_batch::test_util::Script::new(|job: &Of| Ok(done(job)));
        let asked = Arc::new(AtomicU64::new(0));
        let key = || {
            let asked = Arc::clone(&asked);
            move |_: &Of| Wavering(Arc::clone(&asked))
        };
        let builders: [Box<dyn Fn(CollectorBuilder<_>) -> CollectorBuilder<_>>; 5] = [
            Box::new(|builder| builder.partition_by(key()).max_partitions(5)),
            Box::new(|builder| builder.in_order_by(key())),
            Box::new(|builder| builder.coalesce_by(key())),
            Box::new(|builder| builder.idempotent_by(key(), DAY)),
            Box::new(|builder| builder.partition_by(key()).in_order_by(key())),
        ];
        for build in builders {
            let jobs = build(Collector::builder(script.factory()).max_size(3)).start().unwrap();
            let ledger = Ledger::new(&jobs);
            join_all((0..200).map(|_| ledger.submit(Of("a", 1)))).await;
            join_all((0..50).map(|_| ledger.submit(Of("a", 1)))).await;
            balanced(&ledger, &jobs).await;
        }
    });
}

#[test]
fn followers_of_a_job_that_a_shutdown_cuts_off_are_counted() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = builder(factory).max_size(1).coalesce_by(|job: &Of| job.0).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies = [1, 2, 3].map(|number| ledger.submit(Of("a", number)));
        let busy = desk.next().await;
        let report = jobs.shutdown(Shutdown::now()).await.unwrap();
        assert_eq!((report.completed, report.shut_down), (0, 3));
        for reply in replies {
            assert!(matches!(reply.await, Err(JobError::ShutDown)));
        }
        drop(busy);
        balanced_at_the_end(&ledger);
    });
}

/// An output that submits another job when it is dropped.
#[derive(Clone)]
struct Farewell(Collector<Asks>, Arc<AtomicU64>);

impl Drop for Farewell {
    fn drop(&mut self) {
        if self.1.fetch_add(1, Ordering::Relaxed) < 100 {
            drop(self.0.try_submit(Asks(1_000)));
        }
    }
}

#[derive(Hash)]
struct Asks(u64);

impl Job for Asks {
    type Output = Farewell;
    type Error = String;
}

struct Farewells(Arc<Mutex<Option<Collector<Asks>>>>, Arc<AtomicU64>);

impl BatchProcessor for Farewells {
    type Job = Asks;

    async fn process(&mut self, _: &Batch<Asks>) -> Result<Outcomes<Asks>, String> {
        let jobs = self.0.lock().unwrap().clone().unwrap();
        Ok(Outcomes::all(Farewell(jobs, Arc::clone(&self.1))))
    }
}

#[test]
fn a_forgotten_outcome_may_submit_a_job_when_it_is_dropped() {
    paused(async || {
        let (own, gone) = (Arc::default(), Arc::default());
        let (of_each, counted) = (Arc::clone(&own), Arc::clone(&gone));
        let jobs = Collector::builder(move || Farewells(Arc::clone(&of_each), Arc::clone(&counted)))
            .max_size(1)
            .idempotent_by(|job: &Asks| job.0, DAY)
            .max_outcomes(1)
            .start()
            .unwrap();
        *own.lock().unwrap() = Some(jobs.clone());
        for number in 0..20 {
            jobs.submit(Asks(number)).await.unwrap();
        }
        assert!(gone.load(Ordering::Relaxed) >= 20);
        *own.lock().unwrap() = None;
    });
}

#[test]
fn thirty_thousand_jobs_of_one_key_all_get_their_replies() {
    paused(async || {
        let script = actix_batch::test_util::Script::new(|job: &Of| Ok(done(job)));
        let build: [fn(CollectorBuilder<_>) -> CollectorBuilder<_>; 3] = [
            |builder| builder.max_size(1).in_order_by(|job: &Of| job.0),
            |builder| builder.in_order_by(|job: &Of| job.0).partition_by(|job: &Of| job.0),
            |builder| builder.coalesce_by(|job: &Of| job.0),
        ];
        for build in build {
            let jobs = build(Collector::builder(script.factory()).max_pending(30_000)).start().unwrap();
            let ledger = Ledger::new(&jobs);
            let replies = join_all((0..30_000).map(|number| ledger.submit(Of("a", number)))).await;
            assert!(replies.into_iter().all(|reply| reply.is_ok()));
            balanced(&ledger, &jobs).await;
        }
    });
}

#[test]
fn jobs_with_keys_from_several_threads_all_get_their_replies() {
    support::real_time(async || {
        let script = actix_batch::test_util::Script::new(|job: &Of| Ok(done(job)));
        let builders: [fn(CollectorBuilder<_>) -> CollectorBuilder<_>; 4] = [
            |builder| builder.in_order_by(|job: &Of| job.1 % 7),
            |builder| builder.partition_by(|job: &Of| job.1 % 7).in_order_by(|job: &Of| job.1 % 7).max_partitions(3),
            |builder| builder.coalesce_by(|job: &Of| job.1 % 50),
            |builder| builder.idempotent_by(|job: &Of| (job.0, job.1), ms(1)).max_outcomes(10),
        ];
        for build in builders {
            let builder = Collector::builder(script.factory()).workers(Workers::threads(2)).max_size(5).interval(ms(1));
            let jobs = build(builder).max_pending(100).start().unwrap();
            let ledger = Ledger::new(&jobs);
            let submitters = ["a", "b", "c"].map(|name| {
                let ledger = ledger.clone();
                tokio::task::spawn_blocking(move || {
                    let submit = |(number, priority): (u64, Priority)| {
                        let job = SubmitJob::new(Of(name, number)).priority(priority);
                        ledger.submit(if number.is_multiple_of(5) { job.within(ms(2)) } else { job })
                    };
                    let jobs = (0..2_000).zip(Priority::ALL.into_iter().cycle());
                    support::wait(join_all(jobs.map(submit))).len()
                })
            });
            for submitter in submitters {
                assert_eq!(submitter.await.unwrap(), 2_000);
            }
            balanced(&ledger, &jobs).await;
        }
    });
}

#[test]
fn dropping_the_actor_answers_followers_and_held_jobs() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let keyed = builder(factory).in_order_by(|job: &Of| job.0).coalesce_by(|job: &Of| job.1);
        let unstarted = keyed.build().unwrap();
        let jobs = unstarted.handle();
        let ledger = Ledger::new(&jobs);
        let replies = [1, 1, 2, 2, 3].map(|number| ledger.submit(Of("a", number)));
        drop(unstarted);
        let ends = join_all(replies).await;
        assert!(ends.iter().all(|end| matches!(end, Err(JobError::ShutDown))), "{ends:?}");
        balanced_at_the_end(&ledger);
        assert!(desk.try_next().is_none());
    });
}

// Jobs without a key.

#[test]
fn a_job_without_a_key_is_not_ordered_partitioned_coalesced_or_remembered() {
    paused(async || {
        let none = |_: &Of| Option::<u64>::None;
        let (mut desk, factory) = Desk::new();
        let jobs = Collector::builder(factory).max_size(3).in_order_by(none).start().unwrap();
        let replies: Vec<_> = (0..3).map(|number| jobs.submit(Of("no key", number))).collect();
        assert_eq!(desk.next().await.jobs.len(), 3, "not one by one");
        drop(replies);

        let (mut desk, factory) = Desk::new();
        let jobs = Collector::builder(factory).max_size(3).partition_by(none).start().unwrap();
        let replies: Vec<_> = (0..3).map(|number| jobs.submit(Of("no key", number))).collect();
        assert_eq!(desk.next().await.jobs.len(), 3, "they share a batch");
        drop(replies);

        let (mut desk, factory) = Desk::new();
        let jobs = Collector::builder(factory).max_size(3).coalesce_by(none).start().unwrap();
        let replies: Vec<_> = (0..3).map(|_| jobs.submit(Of("no key", 1))).collect();
        assert_eq!(desk.next().await.jobs.len(), 3, "each is processed");
        drop(replies);

        let (mut desk, factory) = Desk::new();
        let jobs = Collector::builder(factory).max_size(3).idempotent_by(none, DAY).start().unwrap();
        let replies: Vec<_> = (0..3).map(|_| jobs.submit(Of("no key", 1))).collect();
        assert_eq!(desk.next().await.jobs.len(), 3, "each is processed, and none conflicts");
        drop(replies);
    });
}
