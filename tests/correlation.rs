//! Every caller gets its own job's reply, whatever order the downstream answers in, and never somebody else's.
#![cfg(feature = "test-util")]

use std::sync::Arc;

use actix_batch::{
    Stats,
    prelude::*,
    test_util::{Ledger, Script},
};
use futures_util::{StreamExt, future::join_all};

use self::support::{Broken, Desk, Tenfold, balanced, ms, paused, quiet, tenfold};

mod support;

/// A number, asked for by its key; answered as (key, text).
#[derive(Clone, Debug)]
struct Ask(u64);

impl Job for Ask {
    type Output = (u64, String);
    type Error = Broken;
}

/// Rows as a database returns them, by key, each with the key's text.
fn rows(keys: impl IntoIterator<Item = u64>) -> Vec<(u64, String)> {
    keys.into_iter().map(|key| (key, format!("row {key}"))).collect()
}

/// In another order, the same each time.
fn shuffled<T>(mut rows: Vec<T>) -> Vec<T> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for at in (1..rows.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        rows.swap(at, usize::try_from(state >> 33).unwrap() % (at + 1));
    }
    rows
}

/// A collector whose processor answers each batch with the given function.
struct Answering<F>(Arc<F>);

impl<F> BatchProcessor for Answering<F>
where
    F: Fn(&Batch<Ask>) -> Result<Outcomes<Ask>, Broken> + Send + Sync + 'static,
{
    type Job = Ask;

    async fn process(&mut self, batch: &Batch<Ask>) -> Result<Outcomes<Ask>, Broken> {
        (self.0)(batch)
    }
}

fn answering<F>(answer: F) -> CollectorBuilder<Answering<F>>
where
    F: Fn(&Batch<Ask>) -> Result<Outcomes<Ask>, Broken> + Send + Sync + 'static,
{
    let answer = Arc::new(answer);
    Collector::builder(move || Answering(Arc::clone(&answer)))
}

/// Submits the keys as one batch and returns the replies in their order, with the ledger checked.
async fn replies<F>(keys: &[u64], answer: F) -> (Vec<JobResult<Ask>>, Stats)
where
    F: Fn(&Batch<Ask>) -> Result<Outcomes<Ask>, Broken> + Send + Sync + 'static,
{
    let asks = answering(answer).start().unwrap();
    let ledger = Ledger::new(&asks);
    let replies = join_all(keys.iter().map(|key| ledger.submit(Ask(*key)))).await;
    balanced(&ledger, &asks).await;
    let stats = asks.stats().await.unwrap();
    assert_eq!(stats.batches.values().sum::<u64>(), 1, "meant to be one batch");
    (replies, stats)
}

fn by_key(batch: &Batch<Ask>, rows: Vec<(u64, String)>) -> Outcomes<Ask> {
    Outcomes::by_key(batch, rows, |job| job.0, |row| row.0)
}

fn lookup(batch: &Batch<Ask>, rows: Vec<(u64, String)>) -> Outcomes<Ask> {
    Outcomes::lookup(batch, rows, |job| job.0, |row| row.0)
}

#[test]
fn shuffled_results_reach_their_own_callers() {
    paused(async || {
        let asks = answering(|batch| Ok(by_key(batch, shuffled(rows(batch.iter().map(|job| job.0))))))
            .max_size(97)
            .start()
            .unwrap();
        let ledger = Ledger::new(&asks);
        let replies = join_all((0..1000).map(|key| ledger.submit(Ask(key)))).await;
        for (key, reply) in (0..).zip(replies) {
            assert_eq!(reply.unwrap(), (key, format!("row {key}")));
        }
        balanced(&ledger, &asks).await;
    });
}

#[test]
fn callers_of_both_doors_and_of_none_share_batches_and_get_their_own_replies() {
    paused(async || {
        let asks = answering(|batch| Ok(by_key(batch, shuffled(rows(batch.iter().map(|job| job.0))))))
            .max_size(30)
            .start()
            .unwrap();
        quiet().await;
        let (ledger, door) = (Ledger::new(&asks), asks.recipient().unwrap());
        let (mut submitted, mut sent) = (Vec::new(), Vec::new());
        for key in 0..300 {
            match key % 3 {
                0 => submitted.push((key, ledger.submit(Ask(key)))),
                1 => sent.push((key, ledger.send(&door, Ask(key)))),
                _ => ledger.do_send(&door, Ask(key)),
            }
            // A message joins when the actor reads it: only so do the doors alternate within a batch.
            if key % 7 == 0 {
                tokio::task::yield_now().await;
            }
        }
        for (key, reply) in submitted {
            assert_eq!(reply.await.unwrap().0, key);
        }
        for (key, reply) in sent {
            assert_eq!(reply.await.unwrap().unwrap().0, key);
        }
        asks.shutdown(Shutdown::drain()).await.unwrap();
        let balance = balanced(&ledger, &asks).await;
        assert_eq!((balance.succeeded, balance.forgotten), (200, 100));
    });
}

#[test]
fn ids_1_2_3_2_with_results_3_4_1_give_ok_no_result_ok_and_duplicate_key() {
    paused(async || {
        // The second 2 is a duplicate of a job that has no result itself; the 4 is nobody's.
        let (replies, stats) = replies(&[1, 2, 3, 2], |batch| Ok(by_key(batch, rows([3, 4, 1])))).await;
        assert_eq!(replies[0].as_ref().unwrap().0, 1);
        assert!(matches!(replies[1], Err(JobError::NoResult)));
        assert_eq!(replies[2].as_ref().unwrap().0, 3);
        assert!(matches!(replies[3], Err(JobError::DuplicateKey)), "{:?}", replies[3]);
        assert_eq!(stats.stray, 1);
    });
}

#[test]
fn of_two_jobs_with_one_key_the_first_gets_the_result_and_the_second_duplicate_key() {
    paused(async || {
        let (replies, stats) = replies(&[5, 5], |batch| Ok(by_key(batch, rows([5])))).await;
        assert_eq!(replies[0].as_ref().unwrap().0, 5);
        assert!(matches!(replies[1], Err(JobError::DuplicateKey)));
        assert_eq!((stats.stray, stats.failed.duplicate_key), (0, 1));
    });
}

#[test]
fn an_unknown_or_second_result_is_dropped_and_counted() {
    paused(async || {
        let twice = |batch: &Batch<Ask>| {
            let mut found = rows([1, 9]);
            found.push((1, "second".to_owned()));
            Ok(by_key(batch, found))
        };
        let (replies, stats) = replies(&[1], twice).await;
        assert_eq!(replies[0].as_ref().unwrap().1, "row 1", "the first result counts");
        assert_eq!(stats.stray, 2);
    });
}

#[test]
fn a_lookup_gives_two_callers_the_same_row() {
    paused(async || {
        let (replies, stats) = replies(&[7, 8, 7], |batch| Ok(lookup(batch, rows([7])))).await;
        assert_eq!(replies[0].as_ref().unwrap(), replies[2].as_ref().unwrap());
        assert!(matches!(replies[1], Err(JobError::NoResult)));
        assert_eq!((stats.succeeded, stats.stray), (2, 0));
    });
}

#[test]
fn an_error_of_the_whole_batch_reaches_all_its_jobs_without_being_cloned() {
    paused(async || {
        let (replies, stats) = replies(&[1, 2, 3], |_| Err(Broken("no database"))).await;
        let errors: Vec<_> = replies
            .into_iter()
            .map(|reply| match reply {
                Err(JobError::Failed(error)) => error,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(errors.iter().all(|error| Arc::ptr_eq(error, &errors[0]) && error.0 == "no database"));
        assert_eq!(stats.failed.failed, 3);
    });
}

#[test]
fn fewer_results_than_jobs_fail_every_job_of_the_batch() {
    paused(async || {
        let (replies, stats) = replies(&[1, 2, 3], |_| Ok(Outcomes::in_order(rows([1, 2])))).await;
        assert!(replies.iter().all(|reply| matches!(reply, Err(JobError::Mismatch { jobs: 3, results: 2 }))));
        assert_eq!(stats.failed.mismatch, 3);
    });
}

#[test]
fn more_results_than_jobs_fail_every_job_of_the_batch() {
    paused(async || {
        let each = |_: &Batch<Ask>| Ok(Outcomes::each(rows([1, 2, 3]).into_iter().map(Ok)));
        let (replies, stats) = replies(&[1, 2], each).await;
        assert!(replies.iter().all(|reply| matches!(reply, Err(JobError::Mismatch { jobs: 2, results: 3 }))));
        assert_eq!(stats.failed.mismatch, 2);
    });
}

#[test]
fn each_job_may_succeed_or_fail_for_itself() {
    paused(async || {
        let each = |batch: &Batch<Ask>| {
            Ok(Outcomes::each(
                batch.iter().map(
                    |job| {
                        if job.0 % 2 == 0 { Ok((job.0, "even".to_owned())) } else { Err(Broken("odd")) }
                    },
                ),
            ))
        };
        let (replies, stats) = replies(&[1, 2, 3, 4], each).await;
        for (key, reply) in (1..).zip(&replies) {
            match reply {
                Ok(row) => assert_eq!(row.0, key),
                Err(JobError::Failed(error)) => assert!(key % 2 == 1 && **error == Broken("odd")),
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!((stats.succeeded, stats.failed.failed), (2, 2));
    });
}

#[test]
fn one_output_for_all_reaches_every_caller() {
    paused(async || {
        let (replies, _) = replies(&[1, 2, 3], |_| Ok(Outcomes::all((0, "stored".to_owned())))).await;
        assert!(replies.iter().all(|reply| reply.as_ref().unwrap().1 == "stored"));
    });
}

#[test]
fn submit_all_yields_in_the_order_of_its_jobs_though_batches_end_in_another() {
    paused(async || {
        let (mut desk, factory) = Desk::<Tenfold>::new();
        let jobs = Collector::builder(factory).max_size(3).workers(Workers::local(4)).start().unwrap();
        let replies = jobs.submit_all((0..12).map(Tenfold));
        let replies = tokio::task::spawn_local(replies.map(Result::unwrap).collect::<Vec<_>>());
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(desk.next().await);
        }
        for batch in held.into_iter().rev() {
            batch.complete();
            quiet().await;
        }
        assert_eq!(replies.await.unwrap(), (0..12).map(|number| number * 10).collect::<Vec<_>>());
    });
}

#[test]
fn an_endless_iterator_is_only_read_a_few_batches_ahead() {
    paused(async || {
        let script = Script::new(tenfold);
        let jobs = Collector::builder(script.factory()).max_size(4).workers(Workers::local(1)).start().unwrap();
        let replies: Vec<_> = jobs.submit_all((0..).map(Tenfold)).take(10).map(Result::unwrap).collect().await;
        assert_eq!(replies, (0..10).map(|number| number * 10).collect::<Vec<_>>());
        let accepted = jobs.stats().await.unwrap().intake.accepted;
        assert!(accepted <= 10 + 3 * 4, "{accepted} jobs were taken from the iterator");
    });
}

#[test]
fn jobs_are_numbered_in_the_order_of_arrival() {
    paused(async || {
        let script = Script::new(tenfold);
        let jobs = Collector::builder(script.factory()).interval(ms(1)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let submitted: Vec<_> = (0..600).map(|number| ledger.submit(Tenfold(number))).collect();
        let ids: Vec<_> = submitted.iter().map(|submit| submit.id().unwrap().get()).collect();
        assert_eq!(ids, (0..600).collect::<Vec<_>>());
        join_all(submitted).await;
        balanced(&ledger, &jobs).await;
    });
}
