//! What happens when the downstream fails: retry, split, time-out, breaker, limits.

use std::{
    collections::HashMap,
    future::pending,
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_batch::{BreakerState, DeadLetter, NoWorkers, Stats, Strategy, prelude::*};
use futures_util::future::join_all;
use tokio::time::{Instant, advance, pause, sleep, timeout};

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

/// A job with a number; its output is the attempt that served it.
struct Ask(u64);

impl Job for Ask {
    type Output = u32;
    type Error = String;
}

/// One call downstream.
#[derive(Debug, Clone)]
struct Call {
    jobs: Vec<u64>,
    attempt: u32,
    trigger: &'static str,
    at: Instant,
}

type Calls = Arc<Mutex<Vec<Call>>>;
type Answer = Result<Vec<Result<u32, String>>, Trouble>;

/// How a whole call goes wrong.
enum Trouble {
    Error,
    Panic,
    Hang,
    TooLarge,
}

/// Answers each call as a function of the call says, and notes it.
struct Downstream<F> {
    calls: Calls,
    answer: Arc<F>,
}

impl<F: Fn(&Call) -> Answer + Send + Sync + 'static> BatchProcessor for Downstream<F> {
    type Job = Ask;

    async fn process(&mut self, batch: &Batch<Ask>) -> Result<Outcomes<Ask>, String> {
        let jobs = batch.iter().map(|job| job.0).collect();
        let call = Call { jobs, attempt: batch.attempt(), trigger: batch.trigger().as_str(), at: Instant::now() };
        let answer = (self.answer)(&call);
        self.calls.lock().unwrap().push(call);
        match answer {
            Ok(results) => Ok(Outcomes::each(results)),
            Err(Trouble::Error) => Err("down".to_owned()),
            Err(Trouble::Panic) => panic!("scripted"),
            Err(Trouble::Hang) => pending().await,
            Err(Trouble::TooLarge) => Ok(Outcomes::too_large()),
        }
    }
}

/// One worker and its calls, unless a test says otherwise.
fn builder<F>(answer: F) -> (CollectorBuilder<Downstream<F>>, Calls)
where
    F: Fn(&Call) -> Answer + Send + Sync + 'static,
{
    let (calls, answer) = (Calls::default(), Arc::new(answer));
    let seen = Arc::clone(&calls);
    let factory = move || Downstream { calls: Arc::clone(&calls), answer: Arc::clone(&answer) };
    (Collector::builder(factory).workers(Workers::local(1)), seen)
}

fn fine(call: &Call) -> Answer {
    Ok(call.jobs.iter().map(|_| Ok(call.attempt)).collect())
}

fn submit(collector: &Collector<Ask>, jobs: Range<u64>) -> Vec<Submit<Ask>> {
    jobs.map(|job| collector.submit(Ask(job))).collect()
}

/// Nothing is pending, and every accepted job was counted once.
async fn settled(collector: &Collector<Ask>) -> Stats {
    let stats = collector.stats().await.unwrap();
    assert_eq!((stats.intake.pending, stats.in_flight, stats.ready), (0, 0, 0), "{stats:?}");
    assert_eq!(stats.intake.accepted, stats.succeeded + stats.failed.total(), "{stats:?}");
    stats
}

#[actix_rt::test]
async fn a_batch_that_failed_is_tried_again_and_knows_its_attempt() {
    pause();
    let (builder, calls) = builder(|call| if call.attempt < 3 { Err(Trouble::Error) } else { fine(call) });
    let asks = builder.max_size(3).retry(Retry::fixed(MS * 20).attempts(3)).start().unwrap();
    let replies = join_all(submit(&asks, 0..3)).await;
    assert!(replies.iter().all(|reply| matches!(reply, Ok(3))), "{replies:?}");
    let calls = calls.lock().unwrap().clone();
    let seen: Vec<_> = calls.iter().map(|call| (call.attempt, call.trigger)).collect();
    assert_eq!(seen, [(1, "size"), (2, "retry"), (3, "retry")]);
    assert!(calls[1].at - calls[0].at >= MS * 20 && calls[2].at - calls[1].at >= MS * 20);
    assert_eq!(settled(&asks).await.succeeded, 3);
}

#[actix_rt::test]
async fn only_the_jobs_that_failed_are_tried_again() {
    pause();
    let (builder, calls) = builder(|call| {
        let answer = |job: &u64| if job % 2 == 1 && call.attempt == 1 { Err("odd".into()) } else { Ok(call.attempt) };
        Ok(call.jobs.iter().map(answer).collect())
    });
    let asks = builder.max_size(4).retry(Retry::fixed(MS).attempts(2)).start().unwrap();
    let replies: Vec<_> = join_all(submit(&asks, 0..4)).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(replies, [1, 2, 1, 2]);
    assert_eq!(calls.lock().unwrap()[1].jobs, [1, 3]);
    settled(&asks).await;
}

#[actix_rt::test]
async fn attempts_are_bounded_and_the_last_error_is_the_reply() {
    pause();
    let (builder, calls) = builder(|_| Err(Trouble::Error));
    let asks = builder.max_size(2).retry(Retry::fixed(MS).attempts(4)).start().unwrap();
    for reply in join_all(submit(&asks, 0..2)).await {
        assert!(matches!(reply, Err(JobError::Failed(error)) if *error == "down"));
    }
    assert_eq!(calls.lock().unwrap().len(), 4);
    assert_eq!(settled(&asks).await.failed.failed, 2);
}

#[actix_rt::test]
async fn a_retry_goes_before_batches_that_wait_and_holds_no_worker_meanwhile() {
    pause();
    let (builder, calls) = builder(|call| match (call.jobs[0], call.attempt) {
        (0, 1) => Err(Trouble::Error),
        _ => fine(call),
    });
    let asks = builder.max_size(1).retry(Retry::fixed(MS * 10).attempts(2)).start().unwrap();
    let first = asks.submit(Ask(0));
    let second = asks.submit(Ask(1)).await;
    assert!(matches!(second, Ok(1)), "the only worker was free during the back-off");
    asks.pause().await.unwrap();
    let third = asks.submit(Ask(2));
    advance(MS * 20).await;
    asks.resume().await.unwrap();
    assert!(matches!((first.await, third.await), (Ok(2), Ok(1))));
    let order: Vec<_> = calls.lock().unwrap().iter().map(|call| call.jobs[0]).collect();
    assert_eq!(order, [0, 1, 0, 2]);
}

#[actix_rt::test]
async fn a_retry_that_would_begin_too_late_is_not_sent_and_the_last_error_is_the_reply() {
    pause();
    let (builder, calls) = builder(|_| Ok(vec![Ok(1), Err("busy".into())]));
    let retry = Retry::fixed(MS * 10).attempts(5).give_up_after(MS * 50);
    let asks = builder.max_size(2).retry(retry).start().unwrap();
    let mut replies = submit(&asks, 0..2);
    assert!(matches!(replies.remove(0).await, Ok(1)));
    asks.pause().await.unwrap();
    sleep(MS * 60).await;
    asks.resume().await.unwrap();
    let reply = replies.remove(0).await;
    assert!(matches!(&reply, Err(JobError::Failed(error)) if **error == "busy"), "{reply:?}");
    assert_eq!(calls.lock().unwrap().len(), 1);
    settled(&asks).await;
}

#[actix_rt::test]
async fn a_retry_that_no_worker_is_free_for_is_given_up_when_its_time_has_come() {
    pause();
    let (builder, _) = builder(|call| if call.jobs[0] == 0 { Err(Trouble::Error) } else { Err(Trouble::Hang) });
    let retry = Retry::fixed(MS * 10).give_up_after(MS * 50);
    let asks = builder.max_size(1).retry(retry).start().unwrap();
    let start = Instant::now();
    let mut replies = submit(&asks, 0..2);
    assert!(matches!(replies.remove(0).await, Err(JobError::Failed(_))));
    assert!(start.elapsed() >= MS * 50 && start.elapsed() < MS * 60, "{:?}", start.elapsed());
}

/// How many calls it takes until one poisonous job of so many stands alone.
async fn calls_to_find_poison(jobs: usize, poison: usize) -> usize {
    let poison = poison as u64;
    let (builder, calls) =
        builder(move |call| if call.jobs.contains(&poison) { Err(Trouble::Error) } else { fine(call) });
    let asks = builder.max_size(jobs).split_poison(true).start().unwrap();
    let replies = join_all(submit(&asks, 0..jobs as u64)).await;
    for (job, reply) in replies.into_iter().enumerate() {
        assert_eq!(reply.is_ok(), job as u64 != poison, "job {job} of {jobs}");
    }
    settled(&asks).await;
    calls.lock().unwrap().len()
}

#[actix_rt::test]
async fn one_poisonous_job_costs_at_most_two_calls_per_halving_and_no_other_job() {
    pause();
    for jobs in [1_usize, 2, 7, 100, 1000] {
        for poison in [0, jobs / 2, jobs - 1] {
            let halvings = jobs.next_power_of_two().ilog2() as usize;
            let calls = calls_to_find_poison(jobs, poison).await;
            assert!(calls <= 2 * halvings + 1, "{calls} calls for {jobs} jobs");
        }
    }
}

#[actix_rt::test]
async fn a_panicking_poison_is_found_by_splitting() {
    pause();
    let (builder, _) = builder(|call| if call.jobs.contains(&3) { Err(Trouble::Panic) } else { fine(call) });
    let asks = builder.max_size(8).split_poison(true).start().unwrap();
    for (job, reply) in join_all(submit(&asks, 0..8)).await.into_iter().enumerate() {
        assert_eq!(reply.is_ok(), job != 3, "job {job}");
    }
    settled(&asks).await;
}

#[actix_rt::test]
async fn a_batch_that_is_too_large_is_halved_without_spending_an_attempt() {
    pause();
    let (builder, calls) = builder(|call| if call.jobs.len() > 3 { Err(Trouble::TooLarge) } else { fine(call) });
    let asks = builder.max_size(10).start().unwrap();
    let replies = join_all(submit(&asks, 0..10)).await;
    assert!(replies.iter().all(|reply| matches!(reply, Ok(1))), "{replies:?}");
    let sizes: Vec<_> = calls.lock().unwrap().iter().map(|call| call.jobs.len()).collect();
    assert_eq!(sizes, [10, 5, 3, 2, 5, 3, 2]);
    settled(&asks).await;
}

#[actix_rt::test]
async fn a_job_that_is_too_large_alone_is_told_so() {
    pause();
    let (builder, _) = builder(|_| Err(Trouble::TooLarge));
    let asks = builder.max_size(1).start().unwrap();
    assert!(matches!(asks.submit(Ask(0)).await, Err(JobError::TooLarge)));
    assert_eq!(settled(&asks).await.failed.too_large, 1);
}

#[actix_rt::test]
async fn a_batch_that_hangs_is_timed_out_and_the_worker_is_rebuilt() {
    pause();
    let (builder, _) = builder(|call| if call.jobs[0] == 0 { Err(Trouble::Hang) } else { fine(call) });
    let asks = builder.max_size(1).timeout(MS * 100).start().unwrap();
    let start = Instant::now();
    assert!(matches!(asks.submit(Ask(0)).await, Err(JobError::TimedOut)));
    assert!(start.elapsed() >= MS * 100 && start.elapsed() < MS * 110, "{:?}", start.elapsed());
    assert!(asks.submit(Ask(1)).await.is_ok());
    let stats = settled(&asks).await;
    assert_eq!((stats.failed.timed_out, stats.restarts), (1, 1));
}

#[actix_rt::test]
async fn time_outs_are_retried_only_where_that_is_said() {
    pause();
    let hang_once = |call: &Call| if call.attempt == 1 { Err(Trouble::Hang) } else { fine(call) };
    let (silent, _) = builder(hang_once);
    let asks = silent.max_size(1).timeout(MS * 50).retry(Retry::fixed(MS)).start().unwrap();
    assert!(matches!(asks.submit(Ask(0)).await, Err(JobError::TimedOut)));
    let (said, _) = builder(hang_once);
    let asks = said.max_size(1).timeout(MS * 50).retry(Retry::fixed(MS).on_timeout(true)).start().unwrap();
    assert!(matches!(asks.submit(Ask(0)).await, Ok(2)));
    settled(&asks).await;
}

#[actix_rt::test]
async fn a_hanging_poison_is_found_by_splitting() {
    pause();
    let (builder, _) = builder(|call| if call.jobs.contains(&5) { Err(Trouble::Hang) } else { fine(call) });
    let asks = builder.max_size(8).timeout(MS * 50).split_poison(true).start().unwrap();
    for (job, reply) in join_all(submit(&asks, 0..8)).await.into_iter().enumerate() {
        assert_eq!(reply.is_ok(), job != 5, "job {job}");
    }
    settled(&asks).await;
}

/// Works for about 500 ms; for job 0 it says so every 40 ms.
struct Slow;

impl BatchProcessor for Slow {
    type Job = Ask;

    async fn process(&mut self, batch: &Batch<Ask>) -> Result<Outcomes<Ask>, String> {
        for _ in 0..12 {
            sleep(MS * 40).await;
            if batch[0].0 == 0 {
                batch.heartbeat();
            }
        }
        Ok(Outcomes::all(batch.attempt()))
    }
}

#[actix_rt::test]
async fn a_heartbeat_keeps_a_long_batch_alive() {
    pause();
    let asks = Collector::builder(|| Slow).max_size(1).timeout(MS * 50).start().unwrap();
    let (beating, silent) = (asks.submit(Ask(0)), asks.submit(Ask(1)));
    assert!(matches!(silent.await, Err(JobError::TimedOut)));
    assert!(beating.await.is_ok());
}

#[actix_rt::test]
async fn a_downstream_that_is_down_for_30_s_is_spared_and_no_job_is_lost() {
    pause();
    let start = Instant::now();
    let (builder, calls) = builder(move |call| if call.at - start < S * 30 { Err(Trouble::Error) } else { fine(call) });
    let asks = builder
        .max_size(10)
        .workers(Workers::local(2))
        .retry(Retry::exponential(MS * 50).attempts(1000).max_delay(S).seed(1))
        .breaker(Breaker::consecutive(5).open_for(S * 2).probes(1))
        .start()
        .unwrap();
    let replies = join_all(submit(&asks, 0..200)).await;
    assert!(replies.iter().all(Result::is_ok));
    let calls = calls.lock().unwrap().clone();
    let during = calls.iter().filter(|call| call.at - start < S * 30).count();
    assert!(during <= 6 + 15, "5 to open it, 1 in flight then, and a probe every 2 s: {during}");
    let back = calls.iter().find(|call| call.at - start >= S * 30).unwrap().at - start;
    assert!(back <= S * 33, "recovers within a probe interval: {back:?}");
    let stats = settled(&asks).await;
    assert_eq!((stats.succeeded, stats.breaker), (200, Some(BreakerState::Closed)));
}

#[actix_rt::test]
async fn a_late_probe_says_nothing_about_the_next_time_the_breaker_is_half_open() {
    pause();
    let asks = Collector::builder(|| Timed)
        .max_size(1)
        .workers(Workers::local(3))
        .breaker(Breaker::consecutive(1).open_for(S).probes(2))
        .start()
        .unwrap();
    let state_after = async |time: Duration| {
        sleep(time).await;
        asks.stats().await.unwrap().breaker.unwrap()
    };
    let _opens = asks.submit(Ask(0));
    assert_eq!(state_after(MS * 100).await, BreakerState::Open);
    let (_late, _opens_again) = (asks.submit(Ask(1800)), asks.submit(Ask(0)));
    assert_eq!(state_after(S).await, BreakerState::Open);
    let _probes = (asks.submit(Ask(500)), asks.submit(Ask(1500)));
    assert_eq!(state_after(S).await, BreakerState::HalfOpen, "the late probe runs, and two new ones");
    assert_eq!(state_after(S).await, BreakerState::HalfOpen, "of the new ones, one has succeeded");
    assert_eq!(state_after(S).await, BreakerState::Closed);
}

/// Takes as many milliseconds as the job's number says; 0 fails at once.
struct Timed;

impl BatchProcessor for Timed {
    type Job = Ask;

    async fn process(&mut self, batch: &Batch<Ask>) -> Result<Outcomes<Ask>, String> {
        let Ask(millis) = batch[0];
        sleep(Duration::from_millis(millis)).await;
        if millis == 0 { Err("down".to_owned()) } else { Ok(Outcomes::all(batch.attempt())) }
    }
}

#[actix_rt::test]
async fn a_rejecting_breaker_says_when_to_come_back() {
    pause();
    let (builder, calls) = builder(|_| Err(Trouble::Error));
    let asks =
        builder.max_size(1).breaker(Breaker::consecutive(2).open_for(S * 10).reject_when_open(true)).start().unwrap();
    for job in 0..2 {
        assert!(matches!(asks.submit(Ask(job)).await, Err(JobError::Failed(_))));
    }
    advance(S * 4).await;
    let reply = asks.submit(Ask(2)).await;
    let in_time = |retry_in: Duration| retry_in <= S * 6 && retry_in > S * 5;
    assert!(matches!(reply, Err(JobError::CircuitOpen { retry_in }) if in_time(retry_in)), "{reply:?}");
    assert_eq!(calls.lock().unwrap().len(), 2);
    assert_eq!(settled(&asks).await.failed.circuit_open, 1);
}

#[actix_rt::test]
async fn nothing_is_split_while_the_breaker_is_open() {
    pause();
    let (builder, calls) = builder(|_| Err(Trouble::Error));
    let breaker = Breaker::consecutive(1).open_for(S * 60);
    let asks = builder.max_size(64).split_poison(true).breaker(breaker).start().unwrap();
    let replies = submit(&asks, 0..64);
    sleep(MS * 10).await;
    // 2 · (log₂ 64 + 1) failures may be a bad job's; with one more they are the downstream's, and the breaker opens.
    assert_eq!(calls.lock().unwrap().len(), 15);
    asks.shutdown(Shutdown::now()).await.unwrap();
    assert!(join_all(replies).await.iter().all(Result::is_err));
    assert_eq!(calls.lock().unwrap().len(), 15);
}

#[actix_rt::test]
async fn a_retry_storm_keeps_to_the_rate() {
    pause();
    let (builder, calls) = builder(|call| if call.attempt < 3 { Err(Trouble::Error) } else { fine(call) });
    let asks = builder
        .max_size(1)
        .workers(Workers::local(4))
        .retry(Retry::fixed(MS).attempts(3))
        .rate_limit(RateLimit::batches_per_second(100.0))
        .start()
        .unwrap();
    let start = Instant::now();
    assert!(join_all(submit(&asks, 0..20)).await.iter().all(Result::is_ok));
    assert!(start.elapsed() >= MS * 590, "{:?}", start.elapsed());
    let times: Vec<_> = calls.lock().unwrap().iter().map(|call| call.at).collect();
    assert_eq!(times.len(), 60);
    assert!(times.windows(11).all(|window| window[10] - window[0] >= MS * 99));
}

#[actix_rt::test]
async fn a_raised_rate_takes_effect_at_once() {
    pause();
    let (builder, _) = builder(fine);
    let limit = RateLimit::jobs_per_second(0.01);
    let asks = builder.max_size(1).rate_limit(limit.clone()).start().unwrap();
    let replies = submit(&asks, 0..3);
    sleep(S).await;
    limit.set_per_second(1000.0).unwrap();
    let all = timeout(S, join_all(replies)).await.expect("the rate was raised");
    assert!(all.iter().all(Result::is_ok));
}

#[actix_rt::test]
async fn the_number_in_flight_is_bounded_and_can_be_changed_and_a_drain_overrides_zero() {
    pause();
    let (builder, calls) = builder(|_| Err(Trouble::Hang));
    let asks = builder.max_size(1).workers(Workers::local(4)).max_in_flight(0).start().unwrap();
    let replies = submit(&asks, 0..4);
    let in_flight = async || {
        sleep(MS * 10).await;
        asks.stats().await.unwrap().in_flight
    };
    assert_eq!(in_flight().await, 0);
    asks.set_max_in_flight(2).await.unwrap();
    assert_eq!(in_flight().await, 2);
    asks.set_max_in_flight(0).await.unwrap();
    assert_eq!(calls.lock().unwrap().len(), 2);
    let report = asks.shutdown(Shutdown::drain().within(S)).await.unwrap();
    assert_eq!(report.shut_down, 4);
    assert!(join_all(replies).await.iter().all(|reply| matches!(reply, Err(JobError::ShutDown))));
}

/// Blocks its thread while a job's gate is closed.
struct Blocking(Arc<Mutex<HashMap<u64, std::sync::mpsc::Receiver<()>>>>);

impl BatchProcessor for Blocking {
    type Job = Ask;

    async fn process(&mut self, batch: &Batch<Ask>) -> Result<Outcomes<Ask>, String> {
        let gate = self.0.lock().unwrap().remove(&batch[0].0);
        if let Some(gate) = gate {
            let _ = gate.recv();
        }
        Ok(Outcomes::all(batch.attempt()))
    }
}

#[actix_rt::test]
async fn a_thread_that_never_returns_is_given_up_and_replaced() {
    let (open, gate) = std::sync::mpsc::channel();
    let gates = Arc::new(Mutex::new(HashMap::from([(0, gate)])));
    let asks = Collector::builder(move || Blocking(Arc::clone(&gates)))
        .max_size(1)
        .workers(Workers::threads(1))
        .timeout(MS * 20)
        .retry(Retry::fixed(MS).on_timeout(true))
        .start()
        .unwrap();
    let guard = S * 20;
    let stuck = timeout(guard, asks.submit(Ask(0))).await.unwrap();
    assert!(matches!(stuck, Err(JobError::TimedOut)), "its jobs never came home to be retried: {stuck:?}");
    assert!(timeout(guard, asks.submit(Ask(1))).await.unwrap().is_ok(), "another took its place");
    open.send(()).unwrap();
    let stats = settled(&asks).await;
    assert_eq!(stats.failed.timed_out, 1);
    assert!(stats.restarts >= 1);
}

#[actix_rt::test]
async fn impossible_rules_are_refused_at_start() {
    let refused = |builder: CollectorBuilder<_>| builder.build().map(drop).unwrap_err().key;
    assert_eq!(refused(builder(fine).0.timeout(Duration::ZERO)), "timeout");
    assert_eq!(refused(builder(fine).0.retry(Retry::fixed(MS).attempts(0))), "retry.attempts");
    assert_eq!(refused(builder(fine).0.breaker(Breaker::consecutive(0))), "breaker.consecutive");
    assert_eq!(refused(builder(fine).0.breaker(Breaker::consecutive(1).open_for(Duration::MAX))), "breaker.open_for");
    assert_eq!(refused(builder(fine).0.rate_limit(RateLimit::jobs_per_second(0.0))), "rate_limit.per_second");
}

#[actix_rt::test]
async fn what_fails_for_good_goes_to_the_dead_letters_and_nothing_else_does() {
    pause();
    let (builder, _) = builder(|call| {
        let answer = |job: &u64| if job.is_multiple_of(3) { Err("third".into()) } else { Ok(call.attempt) };
        Ok(call.jobs.iter().map(answer).collect())
    });
    let letters = Arc::new(Mutex::new(Vec::new()));
    let buried = Arc::clone(&letters);
    let asks = builder
        .max_size(6)
        .retry(Retry::fixed(MS).attempts(2))
        .dead_letters(move |letter: DeadLetter<Ask>| {
            assert!(letter.failed_at >= letter.accepted_at);
            buried.lock().unwrap().push((letter.job.0, letter.error.to_string(), letter.attempts));
        })
        .start()
        .unwrap();
    let replies = join_all(submit(&asks, 0..6)).await;
    assert_eq!(replies.iter().filter(|reply| reply.is_err()).count(), 2);
    let said = "the processor failed: third".to_owned();
    assert_eq!(*letters.lock().unwrap(), [(0, said.clone(), 2), (3, said, 2)]);
    settled(&asks).await;
}

#[actix_rt::test]
async fn jobs_that_a_shutdown_cuts_off_unsent_are_dead_letters_and_panicking_dead_letters_harm_no_caller() {
    pause();
    let (builder, _) = builder(fine);
    let letters = Arc::new(Mutex::new(Vec::new()));
    let buried = Arc::clone(&letters);
    let asks = builder
        .max_size(2)
        .max_in_flight(0)
        .dead_letters(move |letter: DeadLetter<Ask>| {
            assert!(letter.job.0 != 1, "scripted");
            buried.lock().unwrap().push((letter.job.0, letter.attempts));
        })
        .start()
        .unwrap();
    let replies = submit(&asks, 0..4);
    asks.shutdown(Shutdown::now()).await.unwrap();
    assert!(join_all(replies).await.iter().all(|reply| matches!(reply, Err(JobError::ShutDown))));
    assert_eq!(*letters.lock().unwrap(), [(0, 0), (2, 0), (3, 0)]);
}

#[actix_rt::test]
async fn a_failure_that_no_caller_waits_for_is_counted() {
    pause();
    let (builder, _) = builder(|_| Err(Trouble::Error));
    let asks = builder.max_size(2).start().unwrap();
    sleep(MS).await;
    let door = asks.recipient().unwrap();
    door.do_send(SubmitJob::new(Ask(0)));
    assert!(door.send(SubmitJob::new(Ask(1))).await.unwrap().is_err());
    let stats = settled(&asks).await;
    assert_eq!((stats.failed.failed, stats.forgotten), (2, 1));
}

/// Takes 300 ms for a batch.
struct Steady;

impl BatchProcessor for Steady {
    type Job = Ask;

    async fn process(&mut self, batch: &Batch<Ask>) -> Result<Outcomes<Ask>, String> {
        sleep(MS * 300).await;
        Ok(Outcomes::all(batch.attempt()))
    }
}

#[actix_rt::test]
async fn adaptive_workers_follow_the_load_between_their_bounds() {
    pause();
    let workers = Workers::local(1).adaptive(1..=4);
    let asks = Collector::builder(|| Steady).max_size(1).workers(workers).start().unwrap();
    let replies = submit(&asks, 0..40);
    let mut seen = Vec::new();
    for _ in 0..20 {
        sleep(MS * 100).await;
        seen.push(asks.stats().await.unwrap().workers.total);
    }
    assert_eq!((seen.iter().min(), seen.iter().max()), (Some(&1), Some(&4)), "{seen:?}");
    assert!(seen.is_sorted(), "it only grows under a steady load: {seen:?}");
    assert!(join_all(replies).await.iter().all(Result::is_ok));
    sleep(S * 60).await;
    let stats = settled(&asks).await;
    assert_eq!((stats.workers.total, stats.workers.able, stats.restarts), (1, 1, 0));
    assert!(asks.submit(Ask(0)).await.is_ok());
}

/// Keeps the number, the error and the attempts of each letter.
type Letters = Arc<Mutex<Vec<(u64, String, u32)>>>;

fn letters() -> (Letters, impl FnMut(DeadLetter<Ask>) + Send + 'static) {
    let letters = Letters::default();
    let buried = Arc::clone(&letters);
    let push = move |letter: DeadLetter<Ask>| {
        buried.lock().unwrap().push((letter.job.0, letter.error.to_string(), letter.attempts));
    };
    (letters, push)
}

#[actix_rt::test]
async fn what_timed_out_for_good_goes_to_the_dead_letters_too() {
    pause();
    let (builder, _) = builder(|_| Err(Trouble::Hang));
    let (letters, push) = letters();
    let asks = builder.max_size(2).timeout(MS * 50).dead_letters(push).start().unwrap();
    let start = Instant::now();
    let replies = join_all(submit(&asks, 0..2)).await;
    assert!(replies.iter().all(|reply| matches!(reply, Err(JobError::TimedOut))), "{replies:?}");
    assert!(start.elapsed() < MS * 60, "the worker stops at once: {:?}", start.elapsed());
    let said = JobError::<String>::TimedOut.to_string();
    assert_eq!(*letters.lock().unwrap(), [(0, said.clone(), 1), (1, said, 1)]);
    let stats = settled(&asks).await;
    assert_eq!((stats.lost_dead_letters, stats.late, stats.processing.count()), (0, 0, 1));
}

#[actix_rt::test]
async fn jobs_that_a_thread_never_returns_are_no_dead_letters_but_counted() {
    let (open, gate) = std::sync::mpsc::channel();
    let gates = Arc::new(Mutex::new(HashMap::from([(0, gate)])));
    let (letters, push) = letters();
    let asks = Collector::builder(move || Blocking(Arc::clone(&gates)))
        .max_size(1)
        .workers(Workers::threads(1))
        .timeout(MS * 20)
        .dead_letters(push)
        .start()
        .unwrap();
    let stuck = timeout(S * 20, asks.submit(Ask(0))).await.unwrap();
    assert!(matches!(stuck, Err(JobError::TimedOut)), "{stuck:?}");
    assert!(letters.lock().unwrap().is_empty());
    assert_eq!(settled(&asks).await.lost_dead_letters, 1);
    open.send(()).unwrap();
}

type Litter = Box<dyn FnOnce() + Send>;

/// Answers, and leaves a task behind: the first one blocks the thread.
struct Litters {
    litter: Arc<Mutex<Option<Litter>>>,
    calls: Arc<Mutex<Vec<u64>>>,
}

impl BatchProcessor for Litters {
    type Job = Ask;

    async fn process(&mut self, batch: &Batch<Ask>) -> Result<Outcomes<Ask>, String> {
        self.calls.lock().unwrap().push(batch[0].0);
        if let Some(litter) = self.litter.lock().unwrap().take() {
            actix_rt::spawn(async move { litter() });
        }
        Ok(Outcomes::all(batch.attempt()))
    }
}

#[actix_rt::test]
async fn a_batch_whose_time_is_over_before_its_thread_is_free_does_not_run() {
    let (open, gate) = std::sync::mpsc::channel();
    let (blocks, blocked) = tokio::sync::oneshot::channel();
    let calls = Arc::<Mutex<Vec<u64>>>::default();
    let block = move || {
        let _ = blocks.send(());
        let _ = gate.recv();
    };
    let litter: Arc<Mutex<Option<Litter>>> = Arc::new(Mutex::new(Some(Box::new(block))));
    let seen = Arc::clone(&calls);
    let asks = Collector::builder(move || Litters { litter: Arc::clone(&litter), calls: Arc::clone(&calls) })
        .max_size(1)
        .workers(Workers::threads(1))
        .timeout(MS * 300)
        .start()
        .unwrap();
    let guard = S * 20;
    assert!(timeout(guard, asks.submit(Ask(0))).await.unwrap().is_ok());
    timeout(guard, blocked).await.unwrap().unwrap();
    let late = timeout(guard, asks.submit(Ask(1))).await.unwrap();
    assert!(matches!(late, Err(JobError::TimedOut)), "{late:?}");
    open.send(()).unwrap();
    assert!(timeout(guard, asks.submit(Ask(2))).await.unwrap().is_ok());
    assert_eq!(*seen.lock().unwrap(), [0, 2]);
}

#[actix_rt::test]
async fn when_no_thread_returns_and_no_more_are_started_jobs_fail_where_the_builder_says_so() {
    let (gates, open): (HashMap<_, _>, Vec<_>) = (0..2)
        .map(|job| {
            let (open, gate) = std::sync::mpsc::channel::<()>();
            ((job, gate), open)
        })
        .unzip();
    let gates = Arc::new(Mutex::new(gates));
    let asks = Collector::builder(move || Blocking(Arc::clone(&gates)))
        .max_size(1)
        .workers(Workers::threads(1))
        .timeout(MS * 10)
        .no_workers(NoWorkers::Fail)
        .start()
        .unwrap();
    let guard = S * 20;
    for job in 0..2 {
        let stuck = timeout(guard, asks.submit(Ask(job))).await.unwrap();
        assert!(matches!(stuck, Err(JobError::TimedOut)), "{stuck:?}");
    }
    let refused = timeout(guard, asks.submit(Ask(2))).await.unwrap();
    assert!(matches!(refused, Err(JobError::NoWorkers)), "{refused:?}");
    assert_eq!(asks.stats().await.unwrap().workers.resting, 1);
    drop(open);
}

#[actix_rt::test]
async fn while_a_gate_holds_batches_go_on_growing_for_a_worker_that_is_free() {
    pause();
    let (builder, calls) = builder(fine);
    let asks =
        builder.max_size(100).strategy(Strategy::Idle).rate_limit(RateLimit::batches_per_second(10.0)).start().unwrap();
    let mut replies = Vec::new();
    for job in 0..30 {
        replies.push(asks.submit(Ask(job)));
        sleep(MS * 10).await;
    }
    assert!(join_all(replies).await.iter().all(Result::is_ok));
    let sizes: Vec<_> = calls.lock().unwrap().iter().map(|call| call.jobs.len()).collect();
    assert!(sizes.len() <= 5 && sizes[1] >= 9, "one batch each 100 ms takes what has gathered: {sizes:?}");
}

#[actix_rt::test]
async fn an_answer_that_comes_in_the_grace_after_its_time_out_is_counted_as_late() {
    let (open, gate) = std::sync::mpsc::channel();
    let gates = Arc::new(Mutex::new(HashMap::from([(0, gate)])));
    let asks = Collector::builder(move || Blocking(Arc::clone(&gates)))
        .max_size(1)
        .workers(Workers::threads(1))
        .timeout(MS * 20)
        .retry(Retry::fixed(MS).on_timeout(true))
        .start()
        .unwrap();
    let reply = asks.submit(Ask(0));
    while asks.stats().await.unwrap().processing.count() == 0 {
        tokio::task::yield_now().await;
    }
    open.send(()).unwrap();
    assert!(matches!(timeout(S * 20, reply).await.unwrap(), Ok(2)));
    assert_eq!(settled(&asks).await.late, 1);
}
