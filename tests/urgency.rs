//! Priorities and deadlines of jobs.
#![cfg(feature = "test-util")]

use actix_batch::{
    JobState, Trigger,
    flush::{Idle, SizeOrInterval},
    prelude::*,
    test_util::{Ledger, Script},
};
use futures_util::FutureExt;
use tokio::time::{Instant, advance};

use self::support::{Clerk, Desk, Tenfold, balanced, ms, paused, quiet, tenfold};

mod support;

/// One worker, batches of two, an interval that does not end during a test.
fn pairs(factory: impl Fn() -> Clerk<Tenfold> + Send + Sync + 'static) -> CollectorBuilder<Clerk<Tenfold>> {
    Collector::builder(factory).workers(Workers::local(1)).max_size(2).interval(ms(3_600_000))
}

fn of(number: u64, priority: Priority) -> SubmitJob<Tenfold> {
    SubmitJob::new(Tenfold(number)).priority(priority)
}

#[test]
fn jobs_of_different_priorities_do_not_share_a_batch() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = pairs(factory).workers(Workers::local(3)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let priorities = [Priority::Low, Priority::High, Priority::Normal];
        let submit = |number: usize| ledger.submit(of(number as u64, priorities[number % 3]));
        let replies: Vec<_> = (0..6).map(submit).collect();
        for _ in 0..3 {
            let held = desk.next().await;
            assert_eq!(held.numbers()[0] % 3, held.numbers()[1] % 3);
            held.complete();
        }
        for (number, reply) in (0..).zip(replies) {
            assert_eq!(reply.await.unwrap(), number * 10);
        }
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn the_waiting_batch_of_the_highest_priority_goes_to_a_worker_first() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = pairs(factory).max_size(1).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let first = ledger.submit(Tenfold(0));
        let busy = desk.next().await;
        let low = ledger.submit(of(1, Priority::Low));
        let normal = ledger.submit(of(2, Priority::Normal));
        let high = ledger.submit(of(3, Priority::High));
        busy.complete();
        for number in [3, 2, 1] {
            let held = desk.next().await;
            assert_eq!(held.numbers(), [number]);
            held.complete();
        }
        for reply in [first, low, normal, high] {
            reply.await.unwrap();
        }
        balanced(&ledger, &jobs).await;
    });
}

/// Floods one worker, which takes 10 ms for a job, with high jobs. Returns how long a low job that comes after 100 ms waits.
async fn low_in_a_flood(ageing: std::time::Duration) -> std::time::Duration {
    let (mut desk, factory) = Desk::new();
    let jobs = pairs(factory).max_size(1).ageing(ageing).start().unwrap();
    let ledger = Ledger::new(&jobs);
    let mut replies = Vec::new();
    let mut accepted_at = None;
    for tick in 0..1_000 {
        // Two jobs in each tick: twice as many as the worker can process.
        replies.extend((0..2).map(|_| ledger.submit(of(1, Priority::High))));
        if tick == 10 {
            replies.push(ledger.submit(of(0, Priority::Low)));
            accepted_at = Some(Instant::now());
        }
        let held = desk.next().await;
        if held.numbers() == [0] {
            held.complete();
            drop(replies);
            return accepted_at.unwrap().elapsed();
        }
        advance(ms(10)).await;
        held.complete();
        quiet().await;
    }
    panic!("the low job starved");
}

#[test]
fn under_a_flood_of_high_jobs_a_low_job_waits_at_most_twice_the_ageing_plus_the_backlog() {
    paused(async || {
        // The high jobs that were accepted up to 200 ms after it go first: 2 in each of 20 ticks, and the 10 that waited before it.
        let waited = low_in_a_flood(ms(100)).await;
        assert!(waited >= ms(200) && waited <= ms(2 * 200 + 100 + 20), "{waited:?}");
    });
}

#[test]
fn with_an_ageing_of_zero_priorities_do_not_change_the_order() {
    paused(async || {
        let waited = low_in_a_flood(ms(0)).await;
        assert!(waited <= ms(120), "{waited:?}");
    });
}

#[test]
fn a_free_worker_takes_the_most_urgent_open_batch() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = pairs(factory).policy(Idle).max_size(100).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let first = ledger.submit(Tenfold(0));
        let busy = desk.next().await;
        let replies = [Priority::Low, Priority::Normal, Priority::High]
            .map(|priority| ledger.submit(of(priority as u64, priority)));
        quiet().await;
        busy.complete();
        for number in [2, 1, 0] {
            let held = desk.next().await;
            assert_eq!((held.numbers(), held.trigger), (vec![number], Trigger::Idle));
            held.complete();
        }
        first.await.unwrap();
        for reply in replies {
            reply.await.unwrap();
        }
    });
}

#[test]
fn the_interval_runs_separately_for_each_priority() {
    paused(async || {
        let script = Script::new(tenfold).keep_jobs();
        let jobs = Collector::builder(script.factory()).interval(ms(10)).start().unwrap();
        let start = Instant::now();
        let normal = jobs.submit(Tenfold(1));
        advance(ms(5)).await;
        let high = jobs.submit(of(2, Priority::High));
        normal.await.unwrap();
        assert_eq!(start.elapsed(), ms(10));
        high.await.unwrap();
        assert_eq!(start.elapsed(), ms(15));
        assert_eq!(script.seen().len(), 2);
    });
}

#[test]
fn a_full_collector_sends_the_open_batch_of_every_priority() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = pairs(factory).workers(Workers::local(3)).max_size(3).max_pending(3).start().unwrap();
        let replies = Priority::ALL.map(|priority| jobs.submit(of(priority as u64, priority)));
        for _ in 0..3 {
            let held = desk.next().await;
            assert_eq!(held.trigger, Trigger::Full);
            held.complete();
        }
        for reply in replies {
            reply.await.unwrap();
        }
    });
}

#[test]
fn flush_and_shutdown_send_the_open_batch_of_every_priority() {
    paused(async || {
        let script = Script::new(tenfold);
        let jobs = Collector::builder(script.factory()).interval(ms(3_600_000)).start().unwrap();
        let replies = Priority::ALL.map(|priority| jobs.submit(of(1, priority)));
        assert_eq!(jobs.flush().await.unwrap(), 3);
        for reply in replies {
            reply.await.unwrap();
        }
        let replies = Priority::ALL.map(|priority| jobs.submit(of(1, priority)));
        assert_eq!(jobs.shutdown(Shutdown::drain()).await.unwrap().completed, 3);
        for reply in replies {
            reply.await.unwrap();
        }
    });
}

#[test]
fn a_retry_keeps_its_priority_and_goes_first_within_it() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = pairs(factory).max_size(1).retry(Retry::fixed(ms(1)).attempts(2)).start().unwrap();
        let reply = jobs.submit(of(1, Priority::High));
        desk.next().await.answer(|_| Err(support::Broken("once")));
        let other = jobs.submit(of(2, Priority::Low));
        let busy = desk.next().await;
        assert_eq!(busy.numbers(), [2]);
        let third = jobs.submit(of(3, Priority::High));
        advance(ms(5)).await;
        quiet().await;
        busy.complete();
        for number in [1, 3] {
            let held = desk.next().await;
            assert_eq!(held.numbers(), [number]);
            held.answer(|batch| {
                assert_eq!(batch.priority(), Priority::High);
                Ok(Outcomes::each(batch.iter().map(tenfold)))
            });
        }
        for reply in [reply, other, third] {
            reply.await.unwrap();
        }
    });
}

#[test]
fn a_deadline_can_make_a_batch_leave_earlier_but_never_later() {
    paused(async || {
        let script = Script::new(tenfold);
        let jobs = Collector::builder(script.factory()).interval(ms(100)).start().unwrap();
        let start = Instant::now();
        let others = [jobs.submit(Tenfold(1)), jobs.submit(SubmitJob::new(Tenfold(2)).within(ms(3_600_000)))];
        let hurried = jobs.submit(SubmitJob::new(Tenfold(3)).within(ms(40)));
        hurried.await.unwrap();
        assert_eq!(start.elapsed(), ms(30), "three quarters of the time to the deadline");
        for other in others {
            other.await.unwrap();
        }
        assert_eq!(start.elapsed(), ms(30), "the batch left as a whole");
        assert_eq!(script.seen()[0].trigger, Trigger::Deadline);

        let patient = jobs.submit(SubmitJob::new(Tenfold(4)).within(ms(10_000)));
        patient.await.unwrap();
        assert_eq!(start.elapsed(), ms(130));
    });
}

#[test]
fn a_job_whose_deadline_passes_while_every_worker_is_busy_expires_on_time_unprocessed() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = pairs(factory).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let start = Instant::now();
        let first = [ledger.submit(Tenfold(0)), ledger.submit(Tenfold(1))];
        let busy = desk.next().await;
        let late = ledger.submit(SubmitJob::new(Tenfold(2)).within(ms(50)));
        let patient = ledger.submit(Tenfold(3));
        assert!(matches!(late.await, Err(JobError::Expired)));
        assert!(start.elapsed() >= ms(50) && start.elapsed() <= ms(52), "{:?}", start.elapsed());
        busy.complete();
        let held = desk.next().await;
        assert_eq!(held.numbers(), [3]);
        held.complete();
        patient.await.unwrap();
        for reply in first {
            reply.await.unwrap();
        }
        let balance = balanced(&ledger, &jobs).await;
        assert_eq!((balance.succeeded, balance.failed.expired), (3, 1));
    });
}

#[test]
fn a_job_expires_while_the_collector_is_paused() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = pairs(factory).start().unwrap();
        let ledger = Ledger::new(&jobs);
        jobs.pause().await.unwrap();
        let late = ledger.submit(SubmitJob::new(Tenfold(0)).within(ms(20)));
        assert!(matches!(late.await, Err(JobError::Expired)));
        jobs.resume().await.unwrap();
        quiet().await;
        assert!(desk.try_next().is_none());
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_job_whose_deadline_passes_in_the_wait_queue_expires_there_and_is_never_accepted() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = pairs(factory).max_size(1).max_pending(1).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let first = ledger.submit(Tenfold(0));
        let busy = desk.next().await;
        let late = ledger.submit(SubmitJob::new(Tenfold(1)).within(ms(20)));
        let patient = ledger.submit(Tenfold(2));
        assert!(matches!(late.await, Err(JobError::Expired)));
        let stats = jobs.stats().await.unwrap();
        assert_eq!((stats.intake.accepted, stats.intake.rejected.total(), stats.intake.waiting), (1, 1, 1));
        busy.complete();
        desk.next().await.complete();
        assert_eq!(patient.await.unwrap(), 20);
        first.await.unwrap();
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_job_whose_deadline_has_already_passed_expires_at_once() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = pairs(factory).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let now = Instant::now();
        let late = ledger.submit(SubmitJob::new(Tenfold(0)).deadline(now));
        assert!(matches!(late.await, Err(JobError::Expired)));
        assert_eq!(now.elapsed(), ms(0));
        assert!(desk.try_next().is_none());
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_job_is_not_retried_after_its_deadline_and_its_reply_is_the_last_error() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = pairs(factory).retry(Retry::fixed(ms(100)).attempts(3)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let start = Instant::now();
        let hurried = ledger.submit(SubmitJob::new(Tenfold(0)).within(ms(40)));
        let patient = ledger.submit(Tenfold(1));
        desk.next().await.answer(|_| Err(support::Broken("down")));
        assert!(matches!(hurried.await, Err(JobError::Failed(error)) if *error == support::Broken("down")));
        assert!(start.elapsed() >= ms(40) && start.elapsed() < ms(50));
        let again = desk.next().await;
        assert_eq!(again.numbers(), [1]);
        again.complete();
        patient.await.unwrap();
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_deadline_applies_to_a_message_too() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = pairs(factory).start().unwrap();
        quiet().await;
        let door = jobs.recipient().unwrap();
        let ledger = Ledger::new(&jobs);
        let first = [ledger.submit(Tenfold(0)), ledger.submit(Tenfold(1))];
        let busy = desk.next().await;
        let late = ledger.send(&door, SubmitJob::new(Tenfold(2)).within(ms(50)));
        assert!(matches!(late.await.unwrap(), Err(JobError::Expired)));
        busy.complete();
        for reply in first {
            reply.await.unwrap();
        }
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn an_expired_job_is_reported_as_expired() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = pairs(factory).track_jobs(10).start().unwrap();
        let first = [jobs.submit(Tenfold(0)), jobs.submit(Tenfold(1))];
        let busy = desk.next().await;
        let late = jobs.submit(SubmitJob::new(Tenfold(2)).within(ms(50)));
        let id = late.id().unwrap();
        assert!(matches!(late.await, Err(JobError::Expired)));
        assert_eq!(jobs.job_state(id).await.unwrap(), Some(JobState::Expired));
        busy.complete();
        for reply in first {
            reply.await.unwrap();
        }
    });
}

#[test]
fn without_skipping_a_job_is_processed_after_its_caller_has_gone() {
    paused(async || {
        for (skip, processed) in [(true, vec![1]), (false, vec![0, 1])] {
            let (mut desk, factory) = Desk::new();
            let jobs = pairs(factory).skip_abandoned(skip).start().unwrap();
            drop(jobs.submit(Tenfold(0)));
            let reply = jobs.submit(Tenfold(1));
            let held = desk.next().await;
            assert_eq!(held.numbers(), processed);
            held.complete();
            reply.await.unwrap();
        }
    });
}

#[test]
fn a_job_sent_by_do_send_does_not_count_as_abandoned() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = pairs(factory).start().unwrap();
        quiet().await;
        jobs.recipient().unwrap().do_send(of(7, Priority::High));
        jobs.recipient().unwrap().do_send(of(8, Priority::High));
        assert_eq!(desk.next().await.numbers(), [7, 8]);
    });
}

#[test]
fn the_flush_policy_decides_for_each_priority_separately() {
    paused(async || {
        let script = Script::new(tenfold).keep_jobs();
        let policy = SizeOrInterval::new(2, None);
        let jobs = Collector::builder(script.factory()).policy(policy).start().unwrap();
        let (low, normal) = (jobs.submit(of(1, Priority::Low)), jobs.submit(Tenfold(2)));
        quiet().await;
        assert!(script.seen().is_empty(), "one of each is no pair");
        let pair = jobs.submit(of(3, Priority::Low));
        low.await.unwrap();
        pair.await.unwrap();
        assert_eq!(script.seen().len(), 1);
        assert_eq!(normal.now_or_never().map(|reply| reply.is_ok()), None);
    });
}

#[test]
fn an_impossible_ageing_is_refused() {
    let refused = Collector::builder(Script::new(tenfold).factory()).ageing(std::time::Duration::MAX).build();
    assert_eq!(refused.err().map(|error| error.key), Some("ageing".to_owned()));
}

#[test]
fn a_low_job_leaves_within_the_bound_even_if_batches_leave_only_for_a_free_worker() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = pairs(factory).policy(Idle).max_size(100).ageing(ms(100)).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let mut replies = vec![ledger.submit(of(1, Priority::High))];
        let mut held = desk.next().await;
        replies.push(ledger.submit(of(0, Priority::Low)));
        let accepted_at = Instant::now();
        loop {
            replies.push(ledger.submit(of(1, Priority::High)));
            advance(ms(10)).await;
            held.complete();
            held = desk.next().await;
            if held.numbers() == [0] {
                break;
            }
            assert!(accepted_at.elapsed() < ms(1_000), "the low job starved");
        }
        assert!(accepted_at.elapsed() >= ms(200) && accepted_at.elapsed() <= ms(220), "{:?}", accepted_at.elapsed());
        held.complete();
        desk.next().await.complete();
        for reply in replies {
            reply.await.unwrap();
        }
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_deadline_in_the_far_future_is_accepted() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let jobs = pairs(factory).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let ages = [u64::MAX, u64::MAX / 2 - 1_000_000_000, u64::MAX / 4, 1 << 40].map(std::time::Duration::from_secs);
        let replies = ages.map(|age| ledger.submit(SubmitJob::new(Tenfold(1)).within(age)));
        for _ in 0..2 {
            desk.next().await.complete();
        }
        for reply in replies {
            reply.await.unwrap();
        }
        balanced(&ledger, &jobs).await;
    });
}
