//! What is shown: jobs, and what a policy makes of them.

use std::time::Duration;

use actix_batch::flush::{
    Adaptive, Debounce, FixedInterval, FlushPolicy, Idle, SizeOrInterval, Weight,
    replay::{Cost, Cut, Incoming, Setting, replay},
};

pub(crate) struct Scene {
    pub(crate) file: &'static str,
    pub(crate) title: &'static str,
    pub(crate) jobs: Vec<Incoming>,
    pub(crate) cuts: Vec<Cut>,
    pub(crate) workers: usize,
    /// Every so often a line is drawn.
    pub(crate) ticks: Option<Duration>,
}

/// When jobs come, in milliseconds: a burst, a trickle, a rush, and a late one.
const TIMES: [u64; 26] =
    [2, 3, 4, 4, 5, 12, 19, 27, 34, 40, 41, 42, 43, 44, 45, 45, 46, 47, 48, 49, 51, 53, 56, 62, 84, 87];

/// By then everything is done.
pub(crate) const END: Duration = Duration::from_millis(102);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The same jobs for every policy, and workers who need 4 ms for a batch and half a millisecond for each job.
fn scene(file: &'static str, title: &'static str, workers: usize, policy: impl FlushPolicy) -> Scene {
    weighed(file, title, workers, policy, |_| 1)
}

fn weighed(
    file: &'static str,
    title: &'static str,
    workers: usize,
    policy: impl FlushPolicy,
    weigh: impl Fn(usize) -> u64,
) -> Scene {
    let job = |(number, at): (usize, &u64)| Incoming { at: ms(*at), weight: weigh(number) };
    let jobs: Vec<_> = TIMES.iter().enumerate().map(job).collect();
    let setting = Setting { workers, cost: Cost::new(ms(4), Duration::from_micros(500)), ..Setting::default() };
    let cuts = replay(policy, &setting, &jobs);
    Scene { file, title, jobs, cuts, workers, ticks: None }
}

pub(crate) fn scenes() -> Vec<Scene> {
    let elephants = |number| if number % 7 == 3 { 5 } else { 1 };
    vec![
        scene(
            "batching-size-or-interval.svg",
            "SizeOrInterval: 6 jobs, or 10 ms",
            2,
            SizeOrInterval::new(6, Some(ms(10))),
        ),
        Scene {
            ticks: Some(ms(10)),
            ..scene("batching-fixed-interval.svg", "FixedInterval: every 10 ms", 2, FixedInterval::new(ms(10)))
        },
        scene(
            "batching-debounce.svg",
            "Debounce: quiet for 5 ms, after 20 ms at the latest",
            2,
            Debounce::new(ms(5)).max_wait(ms(20)),
        ),
        scene("batching-idle.svg", "Idle: a free worker takes what is there", 1, Idle),
        weighed("batching-weight.svg", "Weight: 8 together, or 10 ms", 2, Weight::new(8).interval(ms(10)), elephants),
        scene(
            "batching-adaptive.svg",
            "Adaptive: towards 12 ms, 1 to 32 jobs, 10 ms at the most",
            2,
            Adaptive::new(ms(12), 1..=32, ms(1)..=ms(10)),
        ),
        scene(
            "batching-or.svg",
            "SizeOrInterval(6, 20 ms).or(Debounce(3 ms))",
            2,
            SizeOrInterval::new(6, Some(ms(20))).or(Debounce::new(ms(3))),
        ),
    ]
}
