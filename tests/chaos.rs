//! Everything at once: random settings, jobs, outcomes and endings, held against what is promised whatever they are.
#![cfg(feature = "test-util")]

use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_batch::{
    Trigger,
    batcher::even,
    flush::{Adaptive, Debounce, FixedInterval, Idle, Weight},
    prelude::*,
    test_util::Ledger,
};
use futures_util::future::join_all;
use proptest::prelude::*;
use tokio::time::{sleep, timeout};

use self::support::{balanced, balanced_at_the_end, ms, paused};

mod support;

/// What is set.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the builder")]
#[derive(Debug, Clone)]
struct Settings {
    workers: usize,
    max_size: usize,
    max_pending: usize,
    max_in_flight: Option<usize>,
    partitions: Option<usize>,
    in_order: bool,
    sharing: Sharing,
    policy: Policy,
    retry: bool,
    split: bool,
    timeout: bool,
    breaker: bool,
    parted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Sharing {
    No,
    Coalesce,
    Idempotent,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Policy {
    SizeOrInterval,
    FixedInterval,
    Debounce,
    Idle,
    Weight,
    Adaptive,
}

/// One job, and how its caller behaves.
#[derive(Debug, Clone)]
struct Call {
    /// Milliseconds after the one before.
    after: u64,
    key: u8,
    priority: Priority,
    within: Option<u64>,
    /// The caller goes after so many milliseconds.
    goes: Option<u64>,
    by_message: bool,
    fate: Fate,
}

/// What becomes of a batch that has this job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Fate {
    Ok,
    Fails,
    Poison,
    Panics,
    Hangs,
    TooLarge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Work {
    /// Which one it was to come in, of those that came by the handle: a message takes its time.
    number: Option<usize>,
    key: u8,
    fate: Fate,
}

impl Job for Work {
    type Output = u8;
    type Error = String;
}

/// What processors do, and what they must not see.
#[derive(Default)]
struct Seen {
    /// Keys that some processor is at work on.
    busy: HashSet<u8>,
    /// The last job of each key that was begun.
    last: HashMap<u8, Option<usize>>,
    wrong: Vec<String>,
}

struct Unruly {
    settings: Settings,
    seen: Arc<Mutex<Seen>>,
}

/// Keys that are at work for as long as this lives.
struct AtWork(Arc<Mutex<Seen>>, HashSet<u8>);

impl Drop for AtWork {
    fn drop(&mut self) {
        let mut seen = self.0.lock().unwrap();
        for key in &self.1 {
            seen.busy.remove(key);
        }
    }
}

impl Unruly {
    fn begin(&self, batch: &Batch<Work>) -> AtWork {
        let mut seen = self.seen.lock().unwrap();
        let keys: HashSet<_> = batch.iter().map(|job| job.key).collect();
        let mut wrong = |said: &str| seen.wrong.push(format!("{said}: {:?}", &**batch));
        if batch.is_empty() || batch.len() > self.settings.max_size {
            wrong("a batch of a wrong size");
        }
        if self.settings.partitions.is_some() && keys.len() > 1 {
            wrong("a batch of two partitions");
        }
        if self.settings.in_order {
            if self.settings.partitions.is_none() && keys.len() < batch.len() {
                wrong("two jobs of one sequence in a batch");
            }
            let overtakes = batch
                .iter()
                .any(|job| job.number.is_some() && seen.last.get(&job.key).is_some_and(|last| *last > job.number));
            let at_once = keys.iter().any(|key| seen.busy.contains(key));
            // What a batch of one partition is parted into is not held for each other: by a batcher, a split, or a retry of some.
            let parted = self.settings.parted || batch.trigger() == Trigger::Split || batch.attempt() > 1;
            let excused = self.settings.partitions.is_some() && parted;
            if !excused && (overtakes || at_once) {
                seen.wrong.push(format!("out of order: {:?}", &**batch));
            }
        }
        for job in batch {
            let last = seen.last.entry(job.key).or_default();
            *last = (*last).max(job.number);
        }
        seen.busy.extend(&keys);
        AtWork(Arc::clone(&self.seen), keys)
    }
}

impl BatchProcessor for Unruly {
    type Job = Work;

    async fn process(&mut self, batch: &Batch<Work>) -> Result<Outcomes<Work>, String> {
        let _at_work = self.begin(batch);
        sleep(ms(1 + u64::from(batch[0].key))).await;
        let has = |fate| batch.iter().any(|job| job.fate == fate);
        if has(Fate::Panics) {
            std::panic::resume_unwind(Box::new("quietly"));
        }
        if has(Fate::Hangs) && self.settings.timeout {
            std::future::pending::<()>().await;
        }
        if has(Fate::TooLarge) && batch.len() > 1 {
            return Ok(Outcomes::too_large());
        }
        if has(Fate::Poison) {
            return Err("poison".to_owned());
        }
        Ok(Outcomes::each(batch.iter().map(|job| match job.fate {
            Fate::Fails => Err("failed".to_owned()),
            _ => Ok(job.key),
        })))
    }
}

fn collector(settings: &Settings, seen: &Arc<Mutex<Seen>>) -> Collector<Work> {
    let (of_each, seen) = (settings.clone(), Arc::clone(seen));
    let mut builder = Collector::builder(move || Unruly { settings: of_each.clone(), seen: Arc::clone(&seen) })
        .workers(Workers::local(settings.workers))
        .max_size(settings.max_size)
        .max_pending(settings.max_pending)
        .ageing(ms(20))
        .interval(ms(3))
        .weigh(|job| u64::from(job.key) + 1);
    builder = match settings.policy {
        Policy::SizeOrInterval => builder,
        Policy::FixedInterval => builder.policy(FixedInterval::new(ms(4))),
        Policy::Debounce => builder.policy(Debounce::new(ms(2))),
        Policy::Idle => builder.policy(Idle),
        Policy::Weight => builder.policy(Weight::new(5).interval(ms(3))),
        Policy::Adaptive => builder.policy(Adaptive::new(ms(5), 1..=5, ms(0)..=ms(6))),
    };
    if let Some(batches) = settings.max_in_flight {
        builder = builder.max_in_flight(batches);
    }
    if let Some(partitions) = settings.partitions {
        builder = builder.partition_by(|job| job.key).max_partitions(partitions);
    }
    if settings.in_order {
        builder = builder.in_order_by(|job| job.key);
    }
    match settings.sharing {
        Sharing::No => {}
        Sharing::Coalesce => builder = builder.coalesce_by(|job| (job.key, job.fate)),
        Sharing::Idempotent => builder = builder.idempotent_by(|job| job.key, ms(50)).max_outcomes(3),
    }
    if settings.retry {
        builder = builder.retry(Retry::exponential(ms(2)).attempts(3).on_panic(true).on_timeout(true));
    }
    if settings.split {
        builder = builder.split_poison(true);
    }
    if settings.timeout {
        builder = builder.timeout(ms(20));
    }
    if settings.breaker {
        builder = builder.breaker(Breaker::consecutive(3).reject_when_open(true));
    }
    if settings.parted {
        builder = builder.batcher(even(2));
    }
    builder.start().unwrap()
}

async fn call(ledger: &Ledger<Work>, door: &Recipient<SubmitJob<Work>>, coming: &Cell<usize>, call: &Call) {
    let number = if call.by_message { None } else { Some(coming.replace(coming.get() + 1)) };
    let mut job = SubmitJob::new(Work { number, key: call.key, fate: call.fate }).priority(call.priority);
    if let Some(millis) = call.within {
        job = job.within(ms(millis));
    }
    let patience = call.goes.map_or(Duration::from_secs(3_600), ms);
    if call.by_message {
        let _ = timeout(patience, ledger.send(door, job)).await;
    } else {
        let _ = timeout(patience, ledger.submit(job)).await;
    }
}

fn settings() -> impl Strategy<Value = Settings> {
    let sizes = (1_usize..4, 1_usize..6, 1_usize..40, prop::option::of(1_usize..3), prop::option::of(1_usize..4));
    let sharing = prop_oneof![Just(Sharing::No), Just(Sharing::Coalesce), Just(Sharing::Idempotent)];
    let policy = prop_oneof![
        Just(Policy::SizeOrInterval),
        Just(Policy::FixedInterval),
        Just(Policy::Debounce),
        Just(Policy::Idle),
        Just(Policy::Weight),
        Just(Policy::Adaptive),
    ];
    (sizes, any::<[bool; 6]>(), sharing, policy).prop_map(
        |(
            (workers, max_size, room, max_in_flight, partitions),
            [in_order, retry, split, timeout, breaker, parted],
            sharing,
            policy,
        )| Settings {
            workers,
            max_size,
            max_pending: room.max(max_size),
            max_in_flight,
            partitions,
            in_order,
            sharing,
            policy,
            retry,
            split,
            timeout,
            breaker,
            parted,
        },
    )
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let fate = prop_oneof![
        12 => Just(Fate::Ok),
        2 => Just(Fate::Fails),
        1 => Just(Fate::Poison),
        1 => Just(Fate::Panics),
        1 => Just(Fate::Hangs),
        1 => Just(Fate::TooLarge),
    ];
    let priority = prop::sample::select(Priority::ALL.to_vec());
    let rare = |range: std::ops::Range<u64>| prop_oneof![4 => Just(None), 1 => range.prop_map(Some)];
    let call = (0_u64..4, 0_u8..4, priority, rare(0..40), rare(0..40), any::<bool>(), fate).prop_map(
        |(after, key, priority, within, goes, by_message, fate)| Call {
            after,
            key,
            priority,
            within,
            goes,
            by_message,
            fate,
        },
    );
    prop::collection::vec(call, 1..80)
}

/// How it ends: everything is answered, or a shutdown with a limit cuts in after so many milliseconds.
fn ending() -> impl Strategy<Value = Option<(u64, u64)>> {
    prop::option::of((0_u64..150, 0_u64..60))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_job_has_one_reply_and_no_promise_is_broken(settings in settings(), calls in calls(), ending in ending()) {
        paused(async move || {
            let seen = Arc::default();
            let jobs = collector(&settings, &seen);
            support::quiet().await;
            let (ledger, door) = (Ledger::new(&jobs), jobs.recipient().unwrap());
            let (mut at, coming) = (0, Cell::new(0));
            let callers = calls.iter().map(|this| {
                at += this.after;
                let (begin, ledger, door, coming) = (at, &ledger, &door, &coming);
                async move {
                    sleep(ms(begin)).await;
                    call(ledger, door, coming, this).await;
                }
            });
            let callers = join_all(callers.collect::<Vec<_>>());
            match ending {
                None => {
                    callers.await;
                    // Callers may have gone before their jobs.
                    jobs.shutdown(Shutdown::drain()).await.unwrap();
                    balanced(&ledger, &jobs).await;
                }
                Some((after, limit)) => {
                    let end = async {
                        sleep(ms(after)).await;
                        jobs.shutdown(Shutdown::drain().within(ms(limit))).await.unwrap();
                    };
                    tokio::join!(callers, end);
                    balanced_at_the_end(&ledger);
                }
            }
            let wrong = &seen.lock().unwrap().wrong;
            assert!(wrong.is_empty(), "{wrong:?}");
        });
    }
}
