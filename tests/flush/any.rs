//! What holds for any policy, also for one of the user's own, and one that is hostile.

use std::{panic::resume_unwind, time::Duration};

use actix_batch::{
    Trigger,
    flush::{
        Adaptive, Arrival, Debounce, Decision, FixedInterval, FlushPolicy, Idle, OnFree, OpenBatch, SizeOrInterval,
        Timing, Weight,
        replay::{Incoming, Setting, replay},
    },
    prelude::*,
    test_util::{Ledger, Script},
};
use proptest::{collection::vec, prelude::*, sample::select};
use tokio::time::{Instant, sleep};

use super::{
    Left, run,
    support::{Tenfold, balanced, guarded, ms, paused, paused_system, quiet, tenfold},
};

/// Never sends anything.
struct Never;

impl FlushPolicy for Never {
    fn on_job(&mut self, _: &OpenBatch, _: &Arrival) -> Decision {
        Decision::Add
    }

    fn due(&self, _: &OpenBatch) -> Option<Instant> {
        None
    }
}

#[test]
fn max_size_caps_a_policy_that_never_sends() {
    super::expect(
        &[0, 0, 0, 0, 0],
        0,
        |builder| builder.policy(Never).max_size(2),
        &[(&[0, 1], Trigger::Size, 0), (&[2, 3], Trigger::Size, 0), (&[4], Trigger::Drain, 1_000_000)],
    );
}

#[test]
fn a_collector_that_has_become_full_sends_whatever_the_policy_waits_for() {
    paused(async || {
        let script = Script::new(tenfold).keep_jobs();
        let builder = Collector::builder(script.factory()).policy(Never).max_size(3).max_pending(5);
        let jobs = builder.start().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies: Vec<_> = (0..9).map(|number| ledger.submit(Tenfold(number))).collect();
        quiet().await;
        // The second batch is all that fits beside the first; the third is that of those who waited for room.
        assert_eq!(script.sizes(), [3, 2, 3]);
        assert_eq!(script.seen()[1].trigger, Trigger::Full);
        assert_eq!(jobs.flush().await.unwrap(), 1);
        for reply in replies {
            assert!(reply.await.is_ok());
        }
        assert_eq!(script.seen()[3].trigger, Trigger::Manual);
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_shutdown_sends_whatever_the_policy_waits_for() {
    paused(async || {
        let script = Script::new(tenfold).keep_jobs();
        let jobs = Collector::builder(script.factory()).policy(Never).start().unwrap();
        let replies: Vec<_> = (0..3).map(|number| jobs.submit(Tenfold(number))).collect();
        let report = jobs.shutdown(Shutdown::drain()).await.unwrap();
        assert_eq!((report.completed, script.sizes(), script.seen()[0].trigger), (3, vec![3], Trigger::Drain));
        for reply in replies {
            assert!(reply.await.is_ok());
        }
    });
}

/// A panic that is not printed.
fn whim<T>() -> T {
    resume_unwind(Box::new("a whim"))
}

/// When a batch opened at some time leaves: so many milliseconds later, or earlier, or not by time.
#[derive(Debug, Clone, Copy)]
enum Due {
    After(u64),
    Before(u64),
    Never,
}

/// Does by turns what it was given, and panics where there is `None`.
#[derive(Debug, Clone)]
struct Whimsical {
    decisions: Vec<Option<Decision>>,
    dues: Vec<Option<Due>>,
    frees: Vec<Option<OnFree>>,
    asked: usize,
    clock: bool,
}

impl Whimsical {
    fn next(&mut self) -> usize {
        self.asked += 1;
        self.asked
    }
}

impl FlushPolicy for Whimsical {
    fn on_job(&mut self, _: &OpenBatch, _: &Arrival) -> Decision {
        let at = self.next();
        self.decisions[at % self.decisions.len()].unwrap_or_else(whim)
    }

    fn due(&self, open: &OpenBatch) -> Option<Instant> {
        let first = open.opened_at?;
        match self.dues[self.asked % self.dues.len()].unwrap_or_else(whim) {
            Due::After(millis) => first.checked_add(ms(millis)),
            Due::Before(millis) => first.checked_sub(ms(millis)),
            Due::Never => None,
        }
    }

    fn on_free(&mut self, _: &OpenBatch) -> OnFree {
        let at = self.next();
        self.frees[at % self.frees.len()].unwrap_or_else(whim)
    }

    fn on_done(&mut self, timing: &Timing) {
        if timing.jobs.is_multiple_of(3) {
            whim::<()>();
        }
    }

    fn reads_clock(&self) -> bool {
        self.clock
    }
}

fn whimsical() -> impl Strategy<Value = Whimsical> {
    let decision = prop_oneof![
        4 => Just(Some(Decision::Add)),
        2 => Just(Some(Decision::AddAndSend(Trigger::Weight))),
        2 => Just(Some(Decision::SendThenAdd(Trigger::Idle))),
        1 => Just(None),
    ];
    let due = prop_oneof![(0..20_u64).prop_map(Due::After), (0..3_u64).prop_map(Due::Before), Just(Due::Never)];
    let due = prop_oneof![5 => due.prop_map(Some), 1 => Just(None)];
    let free = prop_oneof![2 => Just(Some(OnFree::Wait)), 2 => Just(Some(OnFree::Send)), 1 => Just(None)];
    (vec(decision, 1..8), vec(due, 1..8), vec(free, 1..8), any::<bool>())
        .prop_map(|(decisions, dues, frees, clock)| Whimsical { decisions, dues, frees, asked: 0, clock })
}

/// Jobs in bursts, odd milliseconds apart from the start and even ones from each other; the policies' times are so that
/// nothing that comes by time comes together with a job.
fn bursts() -> impl Strategy<Value = Vec<Incoming>> {
    let after = prop_oneof![2 => Just(0), 3 => (1..8_u64).prop_map(|gap| gap * 2)];
    vec((after, 0..8_u64), 1..60).prop_map(|jobs| {
        let mut at = ms(1);
        let job = |(after, weight)| {
            at += ms(after);
            Incoming { at, weight }
        };
        jobs.into_iter().map(job).collect()
    })
}

/// Makes a policy of an odd number of milliseconds.
type Make = fn(u64) -> Box<dyn FlushPolicy>;

fn policy() -> impl Strategy<Value = (&'static str, Make, u64)> {
    let made: [(&str, Make); 7] = [
        ("size or interval", |odd| Box::new(SizeOrInterval::new(4, Some(ms(odd))))),
        ("fixed", |odd| Box::new(FixedInterval::new(ms(odd + 1)))),
        ("debounce", |odd| Box::new(Debounce::new(ms(odd)).max_wait(ms(odd * 3)))),
        ("idle", |_| Box::new(Idle)),
        ("weight", |odd| Box::new(Weight::new(odd).interval(ms(odd)))),
        ("adaptive", |odd| Box::new(Adaptive::new(ms(odd), 1..=5, Duration::ZERO..=ms(odd)))),
        ("or", |odd| Box::new(Weight::new(9).or(Debounce::new(ms(odd))).or(SizeOrInterval::new(5, None)))),
    ];
    (select(made.to_vec()), 0..10_u64).prop_map(|((name, make), half)| (name, make, 2 * half + 1))
}

/// Runs on a thread of its own, in a `System` whose clock stands still, and hands back what came of it.
fn on_paused_time<T: Send + 'static, F: Future<Output = T>>(test: impl FnOnce() -> F + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    guarded(move || drop(sender.send(paused_system().block_on(test()))));
    receiver.recv().unwrap()
}

fn times(coming: &[Incoming]) -> Vec<u64> {
    coming.iter().map(|job| millis(job.at)).collect()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap()
}

proptest! {
    #[test]
    fn a_collector_cuts_its_batches_where_the_policy_alone_would(
        (name, make, odd) in policy(), coming in bursts(), max_size in 1..9_usize,
    ) {
        let setting = Setting { max_size, workers: 1, ..Setting::default() };
        let expected: Vec<Left> = replay(make(odd), &setting, &coming)
            .into_iter()
            .map(|cut| (cut.jobs.map(|job| job as u64).collect(), cut.trigger, millis(cut.left)))
            .collect();
        let weights: Vec<u64> = coming.iter().map(|job| job.weight).collect();
        let times = times(&coming);
        let made = on_paused_time(async move || {
            let weigh = move |job: &Tenfold| weights[usize::try_from(job.0).unwrap()];
            run(&times, 0, |builder| builder.policy(make(odd)).max_size(max_size).weigh(weigh)).await
        });
        let drained = |mut batches: Vec<Left>| {
            for batch in batches.iter_mut().filter(|batch| batch.1 == Trigger::Drain) {
                batch.2 = 0;
            }
            batches
        };
        prop_assert_eq!(drained(made), drained(expected), "{} of {} ms", name, odd);
    }

    #[test]
    fn whatever_a_policy_does_each_job_is_answered_once_and_no_batch_is_too_large(
        policy in whimsical(), coming in bursts(), max_size in 1..9_usize, spare in 0..9_usize, takes in 0..4_u64,
    ) {
        let times = times(&coming);
        let count = times.len();
        let made = on_paused_time(async move || {
            let set_up = |builder: CollectorBuilder<_>| builder.policy(policy).max_size(max_size).max_pending(max_size + spare);
            run(&times, takes, set_up).await
        });
        prop_assert!(made.iter().all(|(jobs, ..)| (1..=max_size).contains(&jobs.len())));
        let numbers: Vec<u64> = made.into_iter().flat_map(|(jobs, ..)| jobs).collect();
        prop_assert_eq!(numbers, (0..count as u64).collect::<Vec<_>>());
    }
}

#[test]
fn a_policy_that_panics_sends_what_is_open_and_is_asked_again() {
    struct Nervous;
    impl FlushPolicy for Nervous {
        fn on_job(&mut self, open: &OpenBatch, _: &Arrival) -> Decision {
            if open.jobs < 2 { Decision::Add } else { whim() }
        }

        fn due(&self, _: &OpenBatch) -> Option<Instant> {
            None
        }
    }
    paused(async || {
        let script = Script::new(tenfold).keep_jobs();
        let jobs = Collector::builder(script.factory()).policy(Nervous).start().unwrap();
        let ledger = Ledger::new(&jobs);
        let replies: Vec<_> = (0..6).map(|number| ledger.submit(Tenfold(number))).collect();
        sleep(ms(1)).await;
        assert_eq!(script.sizes(), [3, 3]);
        for reply in replies {
            assert!(reply.await.is_ok());
        }
        balanced(&ledger, &jobs).await;
    });
}
