//! What each policy means, by name and by word.

use std::{sync::OnceLock, time::Duration};

use actix_batch::{
    ConfigError, StartError, Strategy, Trigger,
    flush::{
        Adaptive, Debounce, FixedInterval, FlushPolicy, Idle, SizeOrInterval, Weight,
        replay::{Cost, Incoming, Setting, replay},
    },
    prelude::*,
    test_util::{Ledger, Script},
};

use super::{
    expect,
    support::{Desk, Tenfold, balanced, ms, paused, quiet, tenfold},
};

/// When the drain of a test comes: after everything that comes by time.
const DRAINED: u64 = 1_000_000;

#[test]
fn size_or_interval_is_full_or_the_first_job_has_waited() {
    let batches: &[(&[u64], _, _)] = &[(&[0, 1, 2], Trigger::Size, 4), (&[3, 4], Trigger::Interval, 15)];
    expect(&[0, 2, 4, 5, 14], 0, |builder| builder.max_size(3).interval(ms(10)), batches);
    expect(&[0, 2, 4, 5, 14], 0, |builder| builder.policy(SizeOrInterval::new(3, Some(ms(10)))), batches);
}

#[test]
fn capacity_knows_no_interval() {
    expect(
        &[0, 100, 5_000, 5_001],
        0,
        |builder| builder.strategy(Strategy::Capacity).max_size(3),
        &[(&[0, 1, 2], Trigger::Size, 5_000), (&[3], Trigger::Drain, 5_001 + DRAINED)],
    );
}

#[test]
fn a_fixed_window_leaves_with_its_ticks_and_empty_ticks_send_nothing() {
    let times = &[3, 12, 19, 55, 61, 62, 63, 64];
    let batches: &[(&[u64], _, _)] = &[
        (&[0], Trigger::Interval, 10),
        (&[1, 2], Trigger::Interval, 20),
        (&[3], Trigger::Interval, 60),
        (&[4, 5, 6], Trigger::Size, 63),
        (&[7], Trigger::Interval, 70),
    ];
    expect(times, 0, |builder| builder.strategy(Strategy::FixedInterval).max_size(3).interval(ms(10)), batches);
    expect(times, 0, |builder| builder.policy(FixedInterval::new(ms(10))).max_size(3), batches);
}

#[test]
fn a_debounced_batch_leaves_when_no_job_has_come_for_a_while_or_its_first_job_has_waited_too_long() {
    // Quiet for 5 ms, 10 × 5 ms at the most: job 12 comes at 48 ms, and at 50 ms the first job has waited long enough.
    let times = &[0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 60];
    let batches: &[(&[u64], _, _)] = &[
        (&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], Trigger::Interval, 50),
        (&[13], Trigger::Interval, 57),
        (&[14], Trigger::Interval, 65),
    ];
    expect(times, 0, |builder| builder.strategy(Strategy::Debounce).interval(ms(5)), batches);
    expect(times, 0, |builder| builder.policy(Debounce::new(ms(5))), batches);
}

#[test]
fn a_debounced_batch_leaves_at_max_wait() {
    let batches: &[(&[u64], _, _)] = &[(&[0, 1, 2], Trigger::Interval, 11), (&[3], Trigger::Interval, 17)];
    expect(&[0, 4, 8, 12], 0, |builder| builder.strategy(Strategy::Debounce).interval(ms(5)).max_wait(ms(11)), batches);
}

#[test]
fn an_idle_worker_takes_what_has_gathered_and_batches_grow_only_while_it_is_busy() {
    let times = &[0, 1, 2, 3, 11, 12, 40];
    let batches: &[(&[u64], _, _)] = &[
        (&[0], Trigger::Idle, 0),
        (&[1, 2, 3], Trigger::Idle, 10),
        (&[4, 5], Trigger::Idle, 20),
        (&[6], Trigger::Idle, 40),
    ];
    expect(times, 10, |builder| builder.strategy(Strategy::Idle), batches);
    expect(times, 10, |builder| builder.policy(Idle), batches);
}

#[test]
fn what_waits_for_an_idle_worker_is_cut_at_max_size_and_sent_in_order() {
    expect(
        &[0, 1, 2, 3, 4, 5],
        10,
        |builder| builder.strategy(Strategy::Idle).max_size(2),
        &[
            (&[0], Trigger::Idle, 0),
            (&[1, 2], Trigger::Size, 10),
            (&[3, 4], Trigger::Size, 20),
            (&[5], Trigger::Idle, 30),
        ],
    );
}

#[test]
fn jobs_that_come_in_one_breath_share_a_batch_though_a_worker_is_idle() {
    expect(&[5, 5, 5], 0, |builder| builder.policy(Idle), &[(&[0, 1, 2], Trigger::Idle, 5)]);
}

#[test]
fn a_worker_that_a_full_batch_will_take_is_not_idle() {
    expect(
        &[5, 5, 5, 5, 10],
        10,
        |builder| builder.policy(Idle).max_size(3),
        &[(&[0, 1, 2], Trigger::Size, 5), (&[3, 4], Trigger::Idle, 15)],
    );
}

#[test]
fn every_idle_worker_takes_a_batch_while_the_other_is_busy() {
    paused(async || {
        let (mut desk, clerks) = Desk::new();
        let builder = Collector::builder(clerks).strategy(Strategy::Idle).max_size(3).workers(Workers::local(2));
        let jobs = builder.start().unwrap();
        let ledger = Ledger::new(&jobs);
        let mut replies = vec![ledger.submit(Tenfold(0))];
        let first = desk.next().await;
        replies.push(ledger.submit(Tenfold(1)));
        let second = desk.next().await;
        replies.extend([ledger.submit(Tenfold(2)), ledger.submit(Tenfold(3))]);
        quiet().await;
        assert!(desk.try_next().is_none(), "both are busy");
        // Both come back at once: one takes what is there, the other is idle again.
        first.complete();
        second.complete();
        let third = desk.next().await;
        assert_eq!((third.numbers(), third.trigger), (vec![2, 3], Trigger::Idle));
        replies.push(ledger.submit(Tenfold(4)));
        let fourth = desk.next().await;
        assert_eq!(fourth.numbers(), [4]);
        third.complete();
        fourth.complete();
        // Both are free at once, a full batch waits and another is open: each takes one.
        jobs.pause().await.unwrap();
        replies.extend((5..9).map(|number| ledger.submit(Tenfold(number))));
        quiet().await;
        jobs.resume().await.unwrap();
        let (fifth, sixth) = (desk.next().await, desk.next().await);
        assert_eq!((fifth.numbers(), fifth.trigger), (vec![5, 6, 7], Trigger::Size));
        assert_eq!((sixth.numbers(), sixth.trigger), (vec![8], Trigger::Idle));
        fifth.complete();
        sixth.complete();
        for reply in replies {
            assert!(reply.await.is_ok());
        }
        balanced(&ledger, &jobs).await;
    });
}

#[test]
fn a_paused_collector_has_no_idle_workers() {
    paused(async || {
        let script = Script::new(tenfold).keep_jobs();
        let jobs = Collector::builder(script.factory()).strategy(Strategy::Idle).start().unwrap();
        quiet().await;
        jobs.pause().await.unwrap();
        let replies = [jobs.submit(Tenfold(0)), jobs.submit(Tenfold(1))];
        quiet().await;
        assert_eq!(jobs.stats().await.unwrap().ready, 0, "they gather in the open batch");
        jobs.resume().await.unwrap();
        for reply in replies {
            assert!(reply.await.is_ok());
        }
        assert_eq!(script.sizes(), [2]);
    });
}

#[test]
fn a_weight_is_never_passed_and_a_heavier_job_goes_alone() {
    // What job n weighs.
    const WEIGHTS: [u64; 9] = [4, 4, 4, 11, 2, 8, 0, 9, 3];
    let weigh = |job: &Tenfold| WEIGHTS[usize::try_from(job.0).unwrap()];
    let times = &[0, 1, 2, 3, 4, 5, 6, 7, 30];
    let batches: &[(&[u64], _, _)] = &[
        (&[0, 1], Trigger::Weight, 2),    // with the third they would weigh 12
        (&[2], Trigger::Weight, 3),       // it makes room for the one that is too heavy
        (&[3], Trigger::Weight, 3),       // which goes alone
        (&[4, 5], Trigger::Weight, 5),    // 10, no more and no less
        (&[6, 7], Trigger::Interval, 16), // 9, and job 6 has waited for 10 ms
        (&[8], Trigger::Interval, 40),
    ];
    let word = |builder: CollectorBuilder<_>| builder.strategy(Strategy::Weight).max_weight(10).interval(ms(10));
    expect(times, 0, move |builder| word(builder).weigh(weigh), batches);
    expect(times, 0, move |builder| builder.policy(Weight::new(10).interval(ms(10))).weigh(weigh), batches);
}

#[test]
fn a_weight_without_weights_or_without_a_limit_is_refused() {
    let refused = |builder: CollectorBuilder<_>| match builder.start() {
        Err(StartError::Config(error)) => error,
        other => panic!("{other:?}"),
    };
    paused(async move || {
        let builder = || Collector::builder(Script::new(tenfold).factory());
        let ConfigError { key, allowed, .. } = refused(builder().strategy(Strategy::Weight).max_weight(5));
        assert!(key == "weigh" && allowed.contains(".weigh(|job| ..)"), "{key}: {allowed}");
        assert_eq!(refused(builder().policy(Weight::new(5))).key, "weigh");
        assert_eq!(refused(builder().policy(Idle.or(Weight::new(5)))).key, "weigh");
        assert_eq!(refused(builder().strategy(Strategy::Weight).weigh(|_| 1)).key, "max_weight");
        // A policy of one's own takes the strategy's place, and need not weigh.
        assert!(builder().strategy(Strategy::Weight).max_weight(5).policy(Idle).start().is_ok());
    });
}

#[test]
fn jobs_are_weighed_outside_the_lock_and_a_panic_makes_one_the_heaviest() {
    paused(async || {
        static INNER: OnceLock<Collector<Tenfold>> = OnceLock::new();
        let script = Script::new(tenfold).keep_jobs();
        let jobs = Collector::builder(script.factory())
            .policy(Weight::new(5))
            .max_size(3)
            .weigh(|job| match job.0 {
                // What would wait for itself if it were done under the lock.
                0 => INNER.get().map_or(1, |jobs| jobs.submit(Tenfold(9)).id().map_or(0, |_| 1)),
                1 => panic!("it cannot be weighed"),
                _ => 1,
            })
            .start()
            .unwrap();
        INNER.get_or_init(|| jobs.clone());
        let replies = [0, 1, 2, 3, 4].map(|number| jobs.submit(Tenfold(number)));
        for reply in replies {
            assert!(reply.await.is_ok());
        }
        let seen: Vec<Vec<u64>> =
            script.seen().iter().map(|seen| seen.jobs.iter().map(|job| job.0).collect()).collect();
        // Job 9's caller had gone before its batch started.
        assert_eq!(seen, [vec![0], vec![1], vec![2, 3, 4]]);
    });
}

#[test]
fn adaptive_grows_towards_its_bounds_while_the_downstream_is_quick() {
    // Each full batch makes room for one job more, up to four.
    expect(
        &[0, 1, 2, 3, 3, 4, 4, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7, 7],
        0,
        |builder| builder.strategy(Strategy::Adaptive).max_size(4).interval(ms(2)).target_latency(ms(100)),
        &[
            (&[0], Trigger::Size, 0),
            (&[1, 2], Trigger::Size, 2),
            (&[3, 4, 5], Trigger::Size, 4),
            (&[6, 7, 8, 9], Trigger::Size, 5),
            (&[10, 11, 12, 13], Trigger::Size, 6),
            (&[14, 15, 16, 17], Trigger::Size, 7),
            (&[18], Trigger::Interval, 9),
        ],
    );
}

#[test]
fn adaptive_leaves_the_waiting_what_the_work_leaves_of_the_target() {
    // Each batch takes 8 ms of the 20: the first waits for the longest interval, the second for what is left, 12 ms.
    expect(
        &[0, 50],
        8,
        |builder| builder.policy(Adaptive::new(ms(20), 10..=10, Duration::ZERO..=ms(15))),
        &[(&[0], Trigger::Interval, 15), (&[1], Trigger::Interval, 62)],
    );
}

/// The longest that a job took which came in the second half of a second of steady load; a worker takes 1 ms for a batch and 10 µs
/// for a job.
fn longest_under(per_second: u32, policy: Box<dyn FlushPolicy>) -> Duration {
    let cost = Cost::new(ms(1), Duration::from_micros(10));
    let setting = Setting { max_size: 100, workers: 1, cost, late: ms(1) };
    let jobs: Vec<_> = (0..per_second).map(|job| Incoming::at(Duration::from_secs(1) * job / per_second)).collect();
    let cuts = replay(policy, &setting, &jobs);
    let late = cuts.iter().filter(|cut| jobs[cut.jobs.start].at > ms(500));
    late.map(|cut| cut.done.saturating_sub(jobs[cut.jobs.start].at)).max().expect("batches in the second half")
}

#[test]
fn whatever_the_policy_a_downstream_that_could_do_twice_as_much_falls_not_behind() {
    for strategy in Strategy::ALL {
        let config = CollectorConfig { strategy: *strategy, max_weight: Some(u64::MAX), ..CollectorConfig::default() };
        let longest = longest_under(22_000, config.policy());
        // `idle` has batches as large as the load makes them, the others at most 100 jobs or ten intervals.
        assert!(longest < ms(70), "{strategy}: {longest:?}");
    }
}

#[test]
fn either_of_two_sends_whichever_comes_first() {
    expect(
        &[0, 1, 2, 10, 14, 18, 40],
        0,
        |builder| builder.policy(SizeOrInterval::new(3, Some(ms(9))).or(Debounce::new(ms(5)))),
        &[(&[0, 1, 2], Trigger::Size, 2), (&[3, 4, 5], Trigger::Size, 18), (&[6], Trigger::Interval, 45)],
    );
}

#[test]
fn the_words_of_configuration_are_the_policies() {
    for (word, batches) in [
        ("size-or-interval", vec![2, 1]),
        ("capacity", vec![3]),
        ("fixed-interval", vec![2, 1]),
        ("debounce", vec![3]),
        ("sliding-window", vec![3]),
        ("idle", vec![1, 1, 1]),
        ("weight", vec![1, 2]),
        ("adaptive", vec![1, 2]),
    ] {
        paused(async move || {
            let json = format!(r#"{{ "strategy": "{word}", "interval": "10ms", "max_weight": 3, "max_size": 64 }}"#);
            let config: CollectorConfig = serde_json::from_str(&json).unwrap();
            let script = Script::new(tenfold);
            let jobs = Collector::builder(script.factory()).config(config).weigh(|job| 3 - job.0).start().unwrap();
            // At 1, 7 and 13 ms: the grid of 10 ms lies between the second and the third.
            let mut replies = Vec::new();
            for (number, wait) in (0..).zip([1, 6, 6]) {
                tokio::time::sleep(ms(wait)).await;
                replies.push(jobs.submit(Tenfold(number)));
            }
            tokio::time::sleep(ms(100)).await;
            jobs.shutdown(Shutdown::drain()).await.unwrap();
            assert_eq!(script.sizes(), batches, "{word}");
        });
    }
}
