//! Latency against offered load: jobs are sent when they are due, whether or not the ones before them have been answered, and
//! their time counts from when they were due. A sender that falls behind therefore shows as latency, not as a lower load.

use std::{
    io,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use actix_batch::{Strategy, prelude::*};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use crate::{
    downstream::{self, Downstream, Insert, RoundTrip, Sqlite},
    host::Host,
    report::{self, Capacity, Latency, OpenLoop},
    spread::rounded,
    table::Table,
};

/// When a batch leaves. Another policy is another line.
#[derive(Clone, Copy)]
struct Policy {
    name: &'static str,
    strategy: Strategy,
    max_size: usize,
    interval: Duration,
}

impl Policy {
    /// Up to 100 jobs; what the interval is to a strategy stands at [`Strategy`].
    const fn of_100(name: &'static str, strategy: Strategy, interval_ms: u64) -> Self {
        Self { name, strategy, max_size: 100, interval: Duration::from_millis(interval_ms) }
    }

    /// With 5 on average, 500 are 100 jobs.
    const MAX_WEIGHT: u64 = 500;

    fn collector<D: Downstream>(&self) -> Collector<Insert> {
        let Self { strategy, max_size, interval, .. } = *self;
        let max_weight = Some(Self::MAX_WEIGHT);
        downstream::collector::<D>(CollectorConfig { strategy, max_size, interval, max_weight, ..Default::default() })
    }
}

const UNBATCHED: Policy = Policy { max_size: 1, ..Policy::of_100("unbatched", Strategy::SizeOrInterval, 1) };

/// For capacities: the largest batches that callers who are always ready can fill.
const FILLED: Policy = Policy::of_100("filled", Strategy::SizeOrInterval, 5);

const BATCHED: [Policy; 7] = [
    Policy::of_100("100 jobs or 1 ms", Strategy::SizeOrInterval, 1),
    Policy::of_100("100 jobs or 5 ms", Strategy::SizeOrInterval, 5),
    Policy::of_100("fixed interval, 5 ms", Strategy::FixedInterval, 5),
    Policy::of_100("debounce, quiet 1 ms", Strategy::Debounce, 1),
    Policy::of_100("idle", Strategy::Idle, 5),
    Policy::of_100("weight 500 or 5 ms", Strategy::Weight, 5),
    Policy::of_100("adaptive, 20 ms", Strategy::Adaptive, 5),
];

/// How much to run.
struct Plan {
    sizes: &'static [usize],
    /// Percent of what the policy can take.
    loads: &'static [u32],
    /// Percent of what can be taken unbatched: where batching has nothing to gain yet.
    low_loads: &'static [u32],
    span: Duration,
}

const PLAN: Plan = Plan {
    sizes: &[1, 3, 10, 30, 100, 300, 1_000],
    loads: &[10, 25, 50, 75, 90, 100, 120],
    low_loads: &[10, 50, 90],
    span: Duration::from_millis(1_500),
};

const SMOKE: Plan = Plan { sizes: &[1, 100], loads: &[50], low_loads: &[], span: Duration::from_millis(100) };

/// Runs it, prints the tables and writes `open_loop.json`.
pub(crate) fn run(smoke: bool) -> io::Result<()> {
    let plan = if smoke { &SMOKE } else { &PLAN };
    let mut results = OpenLoop { capacity: Vec::new(), latency: Vec::new() };
    against::<RoundTrip>(plan, &mut results);
    against::<Sqlite>(plan, &mut results);
    print(&results);
    report::write(if smoke { "open_loop-smoke" } else { "open_loop" }, &results)
}

fn against<D: Downstream>(plan: &Plan, results: &mut OpenLoop) {
    let capacities: Vec<Capacity> = plan.sizes.iter().map(|&size| capacity::<D>(size, plan.span / 2)).collect();
    let most = |policy: &Policy| {
        let found = capacities.iter().find(|capacity| capacity.max_size == policy.max_size);
        found.expect("the sizes of all policies are among the plan's").jobs_per_second
    };
    let unbatched = most(&UNBATCHED);
    results
        .latency
        .extend(plan.loads.iter().map(|&load| latency::<D>(&UNBATCHED, unbatched, share(unbatched, load), plan)));
    for policy in &BATCHED {
        let low = plan.low_loads.iter().map(|&load| share(unbatched, load));
        let own = plan.loads.iter().map(|&load| share(most(policy), load));
        results.latency.extend(low.chain(own).map(|rate| latency::<D>(policy, most(policy), rate, plan)));
    }
    results.capacity.extend(capacities);
}

fn share(capacity: f64, percent: u32) -> f64 {
    capacity * f64::from(percent) / 100.0
}

/// What goes through when callers always have the next batches ready.
fn capacity<D: Downstream>(max_size: usize, span: Duration) -> Capacity {
    eprintln!("{}: capacity with batches of {max_size}", D::NAME);
    let collector = Arc::new(Policy { max_size, ..FILLED }.collector::<D>());
    let callers = 4 * max_size as u64;
    let start = Instant::now();
    let jobs: u64 = Host::CurrentThread.run(async {
        let call = |caller| count_until(Arc::clone(&collector), caller, start + span);
        (0..callers).map(call).collect::<JoinSet<u64>>().join_all().await.into_iter().sum()
    });
    let jobs_per_second = rounded(jobs as f64 / start.elapsed().as_secs_f64(), 0);
    Capacity { downstream: D::NAME.to_owned(), max_size, jobs_per_second }
}

async fn count_until(collector: Arc<Collector<Insert>>, number: u64, end: Instant) -> u64 {
    let mut jobs = 0;
    while Instant::now() < end {
        collector.submit(Insert(number)).await.expect("the downstream answers");
        jobs += 1;
    }
    jobs
}

fn latency<D: Downstream>(policy: &Policy, capacity: f64, rate: f64, plan: &Plan) -> Latency {
    eprintln!("{}: {}, {rate:.0} jobs per second", D::NAME, policy.name);
    let collector = policy.collector::<D>();
    let times = Host::CurrentThread.run(offer(&collector, rate, plan.span));
    let ms = |quantile| rounded(times.value_at_quantile(quantile) as f64 / 1e3, 3);
    Latency {
        downstream: D::NAME.to_owned(),
        policy: policy.name.to_owned(),
        offered_per_second: rounded(rate, 0),
        percent_of_capacity: rounded(100.0 * rate / capacity, 1),
        p50_ms: ms(0.5),
        p99_ms: ms(0.99),
        p999_ms: ms(0.999),
    }
}

/// Sends `rate` jobs per second for `span` and returns the microseconds that each of them took.
async fn offer(collector: &Collector<Insert>, rate: f64, span: Duration) -> Histogram<u64> {
    let times = Arc::new(Mutex::new(Histogram::new(3).expect("three digits are allowed")));
    let mut waiting = JoinSet::new();
    let start = Instant::now();
    for number in 0..(rate * span.as_secs_f64()) as u64 {
        let due = start + Duration::from_secs_f64(number as f64 / rate);
        until(due, &mut waiting).await;
        waiting.spawn(record(collector.submit(Insert(number)), due, Arc::clone(&times)));
    }
    waiting.join_all().await;
    let times = times.lock().expect("no caller panicked");
    times.clone()
}

/// Waits in short naps: the runtime's timer ticks in milliseconds, which is what some of these jobs take in all.
async fn until(due: Instant, waiting: &mut JoinSet<()>) {
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(Duration::from_micros(50)));
        tokio::task::yield_now().await;
        while waiting.try_join_next().is_some() {}
    }
}

async fn record(reply: Submit<Insert>, due: Instant, times: Arc<Mutex<Histogram<u64>>>) {
    reply.await.expect("the downstream answers");
    let took = due.elapsed().as_micros() as u64;
    times.lock().expect("no caller panicked").record(took).expect("it grows");
}

fn print(results: &OpenLoop) {
    let mut capacity = Table::new(["downstream", "batch", "jobs/s"]);
    for row in &results.capacity {
        capacity.row([row.downstream.clone(), row.max_size.to_string(), format!("{:.0}", row.jobs_per_second)]);
    }
    let mut latency = Table::new(["downstream", "policy", "jobs/s", "% of capacity", "p50 ms", "p99 ms", "p99.9 ms"]);
    for row in &results.latency {
        latency.row([
            row.downstream.clone(),
            row.policy.clone(),
            format!("{:.0}", row.offered_per_second),
            format!("{:.0}", row.percent_of_capacity),
            format!("{:.2}", row.p50_ms),
            format!("{:.2}", row.p99_ms),
            format!("{:.2}", row.p999_ms),
        ]);
    }
    println!("\n{capacity}\n{latency}");
}
