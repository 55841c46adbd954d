//! What holds for each policy, whatever comes: no batch over its limit, no job past its bound, each job in exactly one batch.
#![allow(clippy::unchecked_time_subtraction, reason = "what would be negative fails the test")]

use std::time::Duration;

use actix_batch::{
    Trigger,
    flush::{
        Adaptive, Debounce, FixedInterval, FlushPolicy, Idle, SizeOrInterval, Weight,
        replay::{Cost, Incoming, Moment, Setting, replay_watched},
    },
};
use proptest::{collection::vec, prelude::*};

use super::support::us;

/// Bursts, trickles and silences.
fn coming() -> impl Strategy<Value = Vec<Incoming>> {
    let after = prop_oneof![3 => Just(0), 3 => 1..500_u64, 2 => 500..5_000_u64, 1 => 5_000..50_000_u64];
    vec((after, 0..20_u64), 0..150).prop_map(|gaps| {
        let mut at = Duration::ZERO;
        let job = |(after, weight)| {
            at += us(after);
            Incoming { at, weight }
        };
        gaps.into_iter().map(job).collect()
    })
}

fn setting() -> impl Strategy<Value = Setting> {
    let late = prop_oneof![Just(0), 1..2_000_u64];
    let cost = (0..2_000_u64, 0..200_u64);
    (1..12_usize, 1..4_usize, cost, late).prop_map(|(max_size, workers, (batch, job), late)| Setting {
        max_size,
        workers,
        cost: Cost::new(us(batch), us(job)),
        late: us(late),
    })
}

/// A batch that has left.
#[derive(Debug)]
struct Cut<'a> {
    jobs: &'a [Incoming],
    trigger: Trigger,
    left: Duration,
}

/// Replays, and holds the batches against what is so for every policy.
fn cuts<'a, P: FlushPolicy>(
    policy: P,
    setting: &Setting,
    coming: &'a [Incoming],
    watch: impl FnMut(Moment<'_, P>),
) -> Vec<Cut<'a>> {
    let cuts = replay_watched(policy, setting, coming, watch);
    let numbers: Vec<_> = cuts.iter().flat_map(|cut| cut.jobs.clone()).collect();
    assert_eq!(numbers, (0..coming.len()).collect::<Vec<_>>(), "each job in one batch, in the order of arrival");
    assert!(cuts.iter().all(|cut| (1..=setting.max_size).contains(&cut.jobs.len())));
    assert!(cuts.iter().all(|cut| cut.left <= cut.started && cut.started <= cut.done && cut.worker < setting.workers));
    let cut = |cut: actix_batch::flush::replay::Cut| {
        let jobs = &coming[cut.jobs.clone()];
        assert!(jobs.iter().all(|job| job.at <= cut.left), "no job leaves before it comes");
        Cut { jobs, trigger: cut.trigger, left: cut.left }
    };
    cuts.into_iter().map(cut).collect()
}

/// No job waits longer than this for its batch to leave, alarms being late.
fn assert_bound(cuts: &[Cut<'_>], bound: Duration, setting: &Setting) {
    for cut in cuts {
        let waited = cut.left - cut.jobs[0].at;
        assert!(waited <= bound + setting.late, "waited for {waited:?}: {cut:?}");
    }
}

/// Batches that left by time left no earlier than their policy says.
fn left_by_time<'a>(cuts: &'a [Cut<'a>]) -> impl Iterator<Item = &'a Cut<'a>> {
    cuts.iter().filter(|cut| cut.trigger == Trigger::Interval)
}

proptest! {
    #[test]
    fn size_or_interval_keeps_its_size_and_its_interval(
        coming in coming(), setting in setting(), size in 1..12_usize, interval in 1..5_000_u64,
    ) {
        let cuts = cuts(SizeOrInterval::new(size, Some(us(interval))), &setting, &coming, |_| {});
        assert_bound(&cuts, us(interval), &setting);
        prop_assert!(cuts.iter().all(|cut| cut.jobs.len() <= size));
        for cut in left_by_time(&cuts) {
            prop_assert_eq!(cut.left, cut.jobs[0].at + us(interval) + setting.late);
        }
    }

    #[test]
    fn fixed_interval_leaves_with_its_ticks(coming in coming(), setting in setting(), period in 1..5_000_u64) {
        let cuts = cuts(FixedInterval::new(us(period)), &setting, &coming, |_| {});
        assert_bound(&cuts, us(period), &setting);
        for cut in left_by_time(&cuts) {
            prop_assert_eq!((cut.left - setting.late).as_nanos() % us(period).as_nanos(), 0);
        }
        for tick in left_by_time(&cuts).collect::<Vec<_>>().windows(2) {
            prop_assert!(tick[0].left < tick[1].left, "a tick sends one batch");
        }
    }

    #[test]
    fn debounce_waits_for_quiet_and_no_longer_than_max_wait(
        coming in coming(), setting in setting(), quiet in 1..2_000_u64, more in 0..10_000_u64,
    ) {
        let max_wait = quiet + more;
        let cuts = cuts(Debounce::new(us(quiet)).max_wait(us(max_wait)), &setting, &coming, |_| {});
        assert_bound(&cuts, us(max_wait), &setting);
        for cut in &cuts {
            let last = cut.jobs[cut.jobs.len() - 1].at;
            prop_assert!(cut.left - last <= us(quiet) + setting.late);
            prop_assert!(cut.jobs.windows(2).all(|pair| pair[1].at - pair[0].at < us(quiet)), "late alarms or not");
            prop_assert!(last == cut.jobs[0].at || last - cut.jobs[0].at < us(max_wait));
        }
        for cut in left_by_time(&cuts) {
            let (first, last) = (cut.jobs[0].at, cut.jobs[cut.jobs.len() - 1].at);
            prop_assert!(cut.left >= (last + us(quiet)).min(first + us(max_wait)));
        }
    }

    #[test]
    fn idle_leaves_no_job_waiting_while_a_worker_is_free(coming in coming(), setting in setting()) {
        let cuts = cuts(Idle, &setting, &coming, |moment| assert!(!moment.idle || moment.open.jobs == 0));
        prop_assert!(cuts.iter().all(|cut| matches!(cut.trigger, Trigger::Idle | Trigger::Size | Trigger::Drain)));
    }

    #[test]
    fn weight_never_passes_its_limit_but_with_a_job_that_goes_alone(
        coming in coming(), setting in setting(), limit in 1..40_u64, interval in 1..5_000_u64,
    ) {
        let cuts = cuts(Weight::new(limit).interval(us(interval)), &setting, &coming, |_| {});
        assert_bound(&cuts, us(interval), &setting);
        let weight = |cut: &Cut<'_>| cut.jobs.iter().map(|job| job.weight).sum::<u64>();
        prop_assert!(cuts.iter().all(|cut| weight(cut) <= limit || cut.jobs.len() == 1));
        for pair in cuts.windows(2).filter(|pair| pair[0].trigger == Trigger::Weight) {
            let with_the_next = weight(&pair[0]) + pair[1].jobs[0].weight;
            prop_assert!(with_the_next > limit || weight(&pair[0]) >= limit, "there was room for the next one");
        }
    }

    #[test]
    fn adaptive_stays_within_its_bounds(
        coming in coming(), setting in setting(), target in 1..5_000_u64,
        (smallest, largest) in (1..6_usize, 6..12_usize), (shortest, longest) in (0..500_u64, 500..5_000_u64),
    ) {
        let policy = Adaptive::new(us(target), smallest..=largest, us(shortest)..=us(longest));
        let cuts = cuts(policy, &setting, &coming, |moment| {
            assert!((smallest..=largest).contains(&moment.policy.size()));
            assert!((us(shortest)..=us(longest)).contains(&moment.policy.interval()));
        });
        assert_bound(&cuts, us(longest), &setting);
        prop_assert!(cuts.iter().all(|cut| cut.jobs.len() <= largest));
        for cut in left_by_time(&cuts) {
            prop_assert!(cut.left >= cut.jobs[0].at + us(shortest));
        }
    }

    #[test]
    fn either_of_two_keeps_the_bounds_of_both(
        coming in coming(), setting in setting(), limit in 1..40_u64, interval in 1..5_000_u64, quiet in 1..2_000_u64,
    ) {
        let policy = Weight::new(limit).interval(us(interval)).or(Debounce::new(us(quiet))).or(Idle);
        let cuts = cuts(policy, &setting, &coming, |moment| assert!(!moment.idle || moment.open.jobs == 0));
        assert_bound(&cuts, us(interval.min(quiet * 10)), &setting);
        for cut in &cuts {
            prop_assert!(cut.jobs.len() == 1 || cut.jobs.iter().map(|job| job.weight).sum::<u64>() <= limit);
            prop_assert!(cut.jobs.windows(2).all(|pair| pair[1].at - pair[0].at < us(quiet)));
        }
    }
}
