//! Random rules.

use std::time::Duration;

use proptest::{collection::vec, option::of, prelude::*};

use super::{AGEING, MS, Numbered};
use crate::{
    dispatch::{Breaker, RateLimit, Retry, Rules},
    job::{Job, Priority},
};

/// The rules of one run, as plain numbers; times in ms.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) workers: usize,
    pub(super) retry: Option<RetrySettings>,
    pub(super) split: bool,
    pub(super) timeout: Option<u32>,
    pub(super) breaker: Option<BreakerSettings>,
    pub(super) rate: Option<RateSettings>,
    pub(super) max_in_flight: Option<usize>,
    pub(super) keeps_failed: bool,
    /// With one worker only.
    pub(super) prefetches: bool,
}

#[derive(Debug, Clone)]
pub(super) struct RetrySettings {
    pub(super) attempts: u32,
    delay: u32,
    pub(super) jitter: bool,
    give_up_after: Option<u32>,
    pub(super) panics: bool,
    pub(super) timeouts: bool,
}

#[derive(Debug, Clone)]
pub(super) struct BreakerSettings {
    pub(super) consecutive: Option<u32>,
    /// Share, window, least.
    pub(super) rate: (f64, u32, usize),
    pub(super) slow: Option<u32>,
    pub(super) open_for: u32,
    pub(super) probes: u32,
    pub(super) reject: bool,
}

#[derive(Debug, Clone)]
pub(super) struct RateSettings {
    pub(super) of_jobs: bool,
    pub(super) per_second: f64,
    pub(super) burst: f64,
}

impl RetrySettings {
    /// The shortest and the longest delay after an attempt.
    pub(super) fn delays(&self, attempt: u32) -> (Duration, Duration) {
        let delay = MS * self.delay;
        if self.jitter { (Duration::ZERO, delay * 2_u32.pow(attempt - 1)) } else { (delay, delay) }
    }

    pub(super) fn give_up_after(&self) -> Option<Duration> {
        self.give_up_after.map(|limit| MS * limit)
    }

    fn rule(&self) -> Retry<<Numbered as Job>::Error> {
        let delay = MS * self.delay;
        let rule = if self.jitter { Retry::exponential(delay).seed(7) } else { Retry::fixed(delay) };
        let rule = rule.attempts(self.attempts).when(|error| *error != super::HOPELESS);
        let rule = self.give_up_after().map_or(rule.clone(), |limit| rule.give_up_after(limit));
        rule.on_panic(self.panics).on_timeout(self.timeouts)
    }
}

impl BreakerSettings {
    fn rule<E>(&self) -> Breaker<E> {
        let (share, window, least) = self.rate;
        let rule = self.consecutive.map_or_else(
            || Breaker::failure_rate(share, MS * window, least),
            |failures| Breaker::consecutive(failures).rate(share, MS * window, least),
        );
        let rule = rule.open_for(MS * self.open_for).probes(self.probes);
        let rule = self.slow.map_or(rule.clone(), |slow| rule.slow(MS * slow));
        rule.reject_when_open(self.reject)
    }
}

impl Settings {
    pub(super) fn rules(&self) -> Rules<<Numbered as Job>::Error> {
        let rate_limit = self.rate.as_ref().map(|rate| {
            let limit = if rate.of_jobs { RateLimit::jobs_per_second } else { RateLimit::batches_per_second };
            limit(rate.per_second).burst(rate.burst)
        });
        Rules {
            retry: self.retry.as_ref().map(RetrySettings::rule),
            split_poison: self.split,
            timeout: self.timeout.map(|limit| MS * limit),
            breaker: self.breaker.as_ref().map(BreakerSettings::rule),
            rate_limit,
            max_in_flight: self.max_in_flight,
            keeps_failed: self.keeps_failed,
            ageing: AGEING,
            ..Rules::default()
        }
    }

    pub(super) fn any() -> impl Strategy<Value = Self> {
        let gates = (of(1_u32..100), of(breaker()), of(rate()), of(0_usize..4));
        (1_usize..4, of(retry()), any::<[bool; 3]>(), gates).prop_map(
            |(workers, retry, [split, keeps_failed, prefetches], (timeout, breaker, rate, max_in_flight))| Self {
                workers,
                retry,
                split,
                timeout,
                breaker,
                rate,
                max_in_flight,
                keeps_failed,
                prefetches,
            },
        )
    }
}

fn retry() -> impl Strategy<Value = RetrySettings> {
    (1_u32..5, 0_u32..60, any::<bool>(), of(0_u32..300), any::<bool>(), any::<bool>()).prop_map(
        |(attempts, delay, jitter, give_up_after, panics, timeouts)| RetrySettings {
            attempts,
            delay,
            jitter,
            give_up_after,
            panics,
            timeouts,
        },
    )
}

fn breaker() -> impl Strategy<Value = BreakerSettings> {
    let rate = (0.1_f64..1.0, 1_u32..500, 1_usize..6);
    (of(1_u32..4), rate, of(0_u32..100), 0_u32..200, 1_u32..4, any::<bool>()).prop_map(
        |(consecutive, rate, slow, open_for, probes, reject)| BreakerSettings {
            consecutive,
            rate,
            slow,
            open_for,
            probes,
            reject,
        },
    )
}

fn rate() -> impl Strategy<Value = RateSettings> {
    (any::<bool>(), 5.0_f64..500.0, 0.0_f64..6.0).prop_map(|(of_jobs, per_second, burst)| RateSettings {
        of_jobs,
        per_second,
        burst,
    })
}

/// What happens next. Indices are taken modulo what there is.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A batch of so many jobs is ready, every other one of them with a deadline in so many ms.
    Batch {
        jobs: usize,
        priority: Priority,
        within: Option<u32>,
    },
    /// Time passes, in ms.
    Wait(u32),
    /// Time passes until dispatch wants to look again.
    Jump,
    /// A worker is done with its batch.
    Answer(usize, Answer),
    /// After so many ms without any other event the worker has answered, and has begun the prefetched batch.
    GoOn(u32),
    /// A worker says that it is alive.
    Beat(usize),
    /// A worker that was away comes back.
    Back(usize),
    /// A caller goes.
    Abandon(usize),
    Pause(bool),
    Refuse(bool),
    LimitInFlight(usize),
}

#[derive(Debug, Clone)]
pub(super) enum Answer {
    Ok,
    /// Each job by itself: 0 fails, 1 fails hopelessly, others succeed.
    Each(Vec<u8>),
    Error,
    Hopeless,
    Mismatch,
    TooLarge,
    Panic,
    /// The worker goes away with the batch begun.
    Lost,
    /// The worker goes away before it begins.
    Returned,
    /// The worker stops, if it was told to.
    Obey,
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => batch(),
        3 => (0_u32..120).prop_map(Step::Wait),
        3 => Just(Step::Jump),
        8 => (any::<usize>(), answer()).prop_map(|(at, answer)| Step::Answer(at, answer)),
        6 => (0_u32..60).prop_map(Step::GoOn),
        1 => any::<usize>().prop_map(Step::Beat),
        3 => any::<usize>().prop_map(Step::Back),
        1 => any::<usize>().prop_map(Step::Abandon),
        1 => prop_oneof![
            any::<bool>().prop_map(Step::Pause),
            prop::bool::weighted(0.2).prop_map(Step::Refuse),
            (0_usize..5).prop_map(Step::LimitInFlight),
        ],
    ];
    vec(step, 1..60)
}

fn batch() -> impl Strategy<Value = Step> {
    let priority = prop_oneof![2 => Just(Priority::Normal), 1 => Just(Priority::High), 1 => Just(Priority::Low)];
    let within = prop_oneof![2 => Just(None), 1 => (0_u32..200).prop_map(Some)];
    (1_usize..9, priority, within).prop_map(|(jobs, priority, within)| Step::Batch { jobs, priority, within })
}

pub(super) fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        5 => Just(Answer::Ok),
        3 => vec(0_u8..4, 8).prop_map(Answer::Each),
        4 => Just(Answer::Error),
        1 => Just(Answer::Hopeless),
        1 => Just(Answer::Mismatch),
        1 => Just(Answer::TooLarge),
        2 => Just(Answer::Panic),
        1 => Just(Answer::Lost),
        2 => Just(Answer::Returned),
        3 => Just(Answer::Obey),
    ]
}
