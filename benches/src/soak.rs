//! A soak: random settings, four threads of callers, both doors, and a processor that fails, panics and takes its time. Every reply is
//! checked, every round's figures have to add up, and the memory has to stay flat.

use std::{
    collections::HashMap,
    fs,
    hash::{BuildHasher, RandomState},
    process,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use actix_batch::{Stats, Strategy, prelude::*};
use fastrand::Rng;
use tokio::{runtime, task::LocalSet};

const THREADS: u64 = 4;
const CALLERS: u64 = 40;
const ROUND: Duration = Duration::from_secs(2);
/// What the memory may grow by after the first rounds, which fill caches and allocators.
const GROWTH_KIB: u64 = 48 * 1024;
const WARM_UP: usize = 8;

#[derive(Clone)]
struct Triple(u64);

impl Job for Triple {
    type Output = u64;
    type Error = &'static str;
}

/// Fails, panics and waits at random.
struct Unreliable(Rng);

impl BatchProcessor for Unreliable {
    type Job = Triple;

    async fn process(&mut self, batch: &Batch<Triple>) -> Result<Outcomes<Triple>, &'static str> {
        match self.0.u16(..20_000) {
            0 => panic!("a panic of the soak"),
            1..=400 => return Err("the whole batch failed"),
            401..=4_000 => tokio::time::sleep(Duration::from_micros(self.0.u64(..3_000))).await,
            _ => {}
        }
        let each = |job: &Triple| if self.0.u8(..) == 0 { Err("one job failed") } else { Ok(job.0 * 3) };
        Ok(Outcomes::each(batch.iter().map(each).collect::<Vec<_>>()))
    }
}

/// What callers saw.
#[derive(Default)]
struct Seen {
    jobs: u64,
    succeeded: u64,
    failed: u64,
    refused: u64,
    gone: u64,
    unread: u64,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.jobs += other.jobs;
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.refused += other.refused;
        self.gone += other.gone;
        self.unread += other.unread;
    }
}

/// Soaks for so many seconds, and ends the process with an error if anything does not add up.
pub(crate) fn run(seconds: u64) {
    let seed = RandomState::new().hash_one(process::id());
    println!("a soak of {seconds} s; seed {seed}");
    let (mut random, begin) = (Rng::with_seed(seed), Instant::now());
    let mut longest = Duration::ZERO;
    let (mut total, mut memory, mut errors) = (Seen::default(), Vec::new(), HashMap::<&str, u64>::new());
    std::panic::set_hook(Box::new(|_| {}));
    while begin.elapsed().as_secs() < seconds {
        let started = Instant::now();
        let (told, stats) = round(&mut random);
        longest = longest.max(started.elapsed());
        if let Err(wrong) = check(&told, &stats) {
            eprintln!("round {} of seed {seed}: {wrong}\n{stats:#?}", memory.len());
            process::exit(1);
        }
        total.add(&told);
        stats.failed.iter().for_each(|(cause, count)| *errors.entry(cause).or_default() += count);
        memory.push(resident_kib());
    }
    let Seen { jobs, succeeded, failed, refused, gone, unread } = total;
    let rounds = memory.len();
    println!(
        "{rounds} rounds of random settings, {jobs} jobs, {:.0} a second",
        jobs as f64 / begin.elapsed().as_secs_f64()
    );
    println!(
        "{succeeded} succeeded, {failed} failed, {refused} refused, {gone} callers went, {unread} replies were not wanted"
    );
    let mut causes: Vec<_> = errors.into_iter().filter(|(_, count)| *count > 0).collect();
    causes.sort_unstable();
    println!("failures by cause: {causes:?}");
    let (warm, last) = (memory[WARM_UP.min(rounds - 1)], memory[rounds - 1]);
    let most = memory.iter().max().copied().unwrap_or_default();
    println!("the longest round took {longest:.1?} of {ROUND:?} with new jobs");
    println!("memory: {warm} KiB after the first rounds, {last} KiB at the end, {most} KiB at most");
    if last > warm + GROWTH_KIB {
        eprintln!("the memory has grown");
        process::exit(1);
    }
}

/// One collector with random settings, for some time; then it is shut down.
fn round(random: &mut Rng) -> (Seen, Stats) {
    let until = Instant::now() + ROUND;
    let collector = builder(random).start_on_thread().expect("the collector starts");
    let seeds: Vec<_> = (0..THREADS).map(|_| random.u64(..)).collect();
    let threads = seeds.into_iter().map(|seed| {
        let collector = collector.clone();
        thread::spawn(move || callers(&collector, seed, until))
    });
    let mut told = Seen::default();
    for thread in threads.collect::<Vec<_>>() {
        told.add(&thread.join().expect("callers do not panic"));
    }
    let stats = block_on(async {
        collector.barrier().await.expect("the collector lives");
        let stats = collector.stats().await.expect("the collector lives");
        collector.shutdown(Shutdown::drain()).await.expect("the collector shuts down");
        stats
    });
    (told, stats)
}

fn builder(random: &mut Rng) -> CollectorBuilder<Unreliable> {
    let workers = random.usize(1..4);
    let workers = if random.bool() { Workers::local(workers) } else { Workers::threads(workers) };
    // With one seed for all, a processor that panics at once would be rebuilt as the same one again and again.
    let seeds = Mutex::new(random.fork());
    let factory = move || Unreliable(seeds.lock().map_or_else(|_| Rng::new(), |mut seeds| seeds.fork()));
    let mut builder = Collector::builder(factory)
        .workers(workers)
        .max_size(random.usize(1..200))
        .max_pending(random.usize(200..2_000))
        .interval(Duration::from_millis(random.u64(1..8)))
        .strategy([Strategy::SizeOrInterval, Strategy::Idle, Strategy::Adaptive, Strategy::Debounce][random.usize(..4)])
        .ageing(Duration::from_millis(random.u64(1..50)));
    if random.bool() {
        builder = builder.partition_by(|job| job.0 % 7);
        if random.bool() {
            builder = builder.max_pending_per_partition(random.usize(20..200));
        }
    }
    if random.u8(..4) == 0 {
        builder = builder.in_order_by(|job| job.0 % 101).fail_following(random.bool());
    }
    if random.u8(..3) == 0 {
        builder = builder.coalesce_by(|job| job.0 % 997);
    }
    if random.bool() {
        builder = builder.retry(Retry::exponential(Duration::from_millis(1)).attempts(3).on_panic(true));
    }
    if random.bool() {
        builder = builder.weigh(|job| job.0 % 50).max_pending_weight(random.u64(500..20_000));
    }
    if random.u8(..4) == 0 {
        let breaker = Breaker::consecutive(5).open_for(Duration::from_millis(20));
        builder = builder.breaker(breaker.reject_when_open(random.bool()));
    }
    builder.split_poison(random.bool()).timeout(Duration::from_secs(5))
}

fn callers(collector: &Collector<Triple>, seed: u64, until: Instant) -> Seen {
    block_on(LocalSet::new().run_until(async {
        let caller = |number| call(collector.clone(), Rng::with_seed(seed ^ number), until);
        let tasks: Vec<_> = (0..CALLERS).map(|number| tokio::task::spawn_local(caller(number))).collect();
        let mut told = Seen::default();
        for task in tasks {
            told.add(&task.await.expect("a caller does not panic"));
        }
        told
    }))
}

/// A caller that comes back until the time is over.
async fn call(collector: Collector<Triple>, mut random: Rng, until: Instant) -> Seen {
    let (mut seen, recipient) = (Seen::default(), collector.recipient().expect("the collector lives"));
    while Instant::now() < until {
        let number = random.u64(..1_000_000);
        let mut job = SubmitJob::new(Triple(number));
        if random.u8(..8) == 0 {
            job = job.priority(Priority::ALL[random.usize(..3)]);
        }
        if random.u8(..8) == 0 {
            job = job.within(Duration::from_millis(random.u64(1..200)));
        }
        seen.jobs += 1;
        match random.u8(..20) {
            0 => {
                drop(collector.submit(job));
                seen.gone += 1;
            }
            1 => {
                recipient.do_send(job);
                seen.unread += 1;
                // `do_send` has no back-pressure of its own.
                tokio::task::yield_now().await;
            }
            2..=6 => match recipient.send(job).await {
                Ok(reply) => seen.note(number, &reply),
                Err(error) => panic!("the actor has gone: {error}"),
            },
            7..=9 => {
                if let Ok(reply) = collector.try_submit(job) {
                    seen.note(number, &reply.await);
                } else {
                    seen.refused += 1;
                    tokio::task::yield_now().await;
                }
            }
            _ => seen.note(number, &collector.submit(job).await),
        }
    }
    seen
}

impl Seen {
    fn note(&mut self, number: u64, reply: &JobResult<Triple>) {
        match reply {
            Ok(output) if output % 3 == 0 => self.succeeded += 1,
            Ok(output) => panic!("{number} was answered {output}"),
            Err(JobError::Overloaded) => self.refused += 1,
            Err(_) => self.failed += 1,
        }
    }
}

/// Whether what the collector says of itself adds up, and agrees with what its callers saw.
fn check(seen: &Seen, stats: &Stats) -> Result<(), String> {
    let (intake, settled) = (stats.intake, stats.succeeded + stats.failed.total());
    let unseen = seen.gone + seen.unread;
    let equal = |what: &str, one: u64, other: u64| {
        if one == other { Ok(()) } else { Err(format!("{what}: {one} against {other}")) }
    };
    equal("accepted is not succeeded + failed", intake.accepted, settled)?;
    equal("jobs are pending after the barrier", intake.pending as u64, 0)?;
    equal("jobs follow others after the barrier", intake.following as u64, 0)?;
    equal("pending jobs weigh something", intake.pending_weight, 0)?;
    equal("callers have no reply", seen.jobs, seen.succeeded + seen.failed + seen.refused + unseen)?;
    if !(seen.succeeded..=seen.succeeded + unseen).contains(&stats.succeeded) {
        return Err(format!("{} succeeded, callers saw {} and {unseen} had gone", stats.succeeded, seen.succeeded));
    }
    Ok(())
}

fn block_on<F: Future>(future: F) -> F::Output {
    runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// The memory of this process, as Linux counts it; 0 elsewhere.
fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse().ok()).unwrap_or_default()
}
