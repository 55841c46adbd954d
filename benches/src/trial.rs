//! One closed loop: so many callers, each of which submits a job, waits for its reply, and submits the next.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::sync::{Barrier, oneshot};

use crate::{
    allocations::Allocations,
    contender::{Contender, Setup},
    host::Host,
    payload::Payload,
    tally::{Count, Tally},
};

/// How long a batch that does not fill up waits, for everybody who can be told.
pub(crate) const INTERVAL: Duration = Duration::from_millis(1);

/// A contender that finishes nothing for this long is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// Threads that submit when the callers are not at the contender's host.
const CALLER_THREADS: usize = 2;

/// Where the callers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Threads {
    /// In the contender's own runtime.
    Same,
    /// On two other threads, with a current-thread runtime each.
    Across,
}

impl Threads {
    pub(crate) const BOTH: [Self; 2] = [Self::Same, Self::Across];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Across => "across",
        }
    }
}

/// What to run, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trial {
    pub(crate) host: Host,
    pub(crate) threads: Threads,
    pub(crate) callers: usize,
    pub(crate) batch: usize,
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
}

/// What was seen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) ns_per_job: f64,
    pub(crate) allocations_per_job: f64,
    pub(crate) mean_batch: f64,
}

/// Runs one closed loop of a contender that is started for it and ends with it.
pub(crate) fn run<C: Contender<P>, P: Payload>(trial: &Trial) -> Sample {
    let tally = Arc::new(Tally::default());
    let stop = Arc::new(AtomicBool::new(false));
    let setup = Setup { batch: trial.batch, callers: trial.callers, interval: INTERVAL, tally: Arc::clone(&tally) };
    thread::scope(|scope| {
        let loops = Loops { host: trial.host, callers: trial.callers, stop: Arc::clone(&stop) };
        scope.spawn(|| match trial.threads {
            Threads::Same => loops.at_home::<C, P>(setup),
            Threads::Across => loops.across::<C, P>(setup),
        });
        let sample = measure(&tally, trial, <C as Contender<P>>::NAME);
        stop.store(true, Ordering::Relaxed);
        sample
    })
}

struct Loops {
    host: Host,
    callers: usize,
    stop: Arc<AtomicBool>,
}

impl Loops {
    fn at_home<C: Contender<P>, P: Payload>(self, setup: Setup) {
        self.host.run(async {
            let door = C::start(setup);
            self.callers_of::<C, P>(self.host, &door, 0..self.callers).await;
        });
    }

    fn across<C: Contender<P>, P: Payload>(self, setup: Setup) {
        let (opened, door) = mpsc::channel();
        let (leave, left) = oneshot::channel::<()>();
        let host = self.host;
        thread::scope(|scope| {
            scope.spawn(move || {
                host.run(async {
                    opened.send(C::start(setup)).expect("the callers wait for the door");
                    left.await.ok();
                });
            });
            self.call_from_two_threads::<C, P>(&door.recv().expect("the contender starts"));
            drop(leave);
        });
    }

    fn call_from_two_threads<C: Contender<P>, P: Payload>(&self, door: &C::Door) {
        // Some peers run batches on the runtime of whoever fills them, so no runtime ends before everybody has his reply.
        let done = Barrier::new(CALLER_THREADS);
        thread::scope(|scope| {
            for (from, to) in shares(self.callers) {
                let (door, done) = (door.clone(), &done);
                scope.spawn(move || {
                    Host::CurrentThread.run(async {
                        self.callers_of::<C, P>(Host::CurrentThread, &door, from..to).await;
                        done.wait().await;
                    });
                });
            }
        });
    }

    async fn callers_of<C: Contender<P>, P: Payload>(&self, runtime: Host, door: &C::Door, callers: Range<usize>) {
        let tasks: Vec<_> = callers
            .map(|caller| runtime.spawn(call::<C, P>(door.clone(), caller as u64, Arc::clone(&self.stop))))
            .collect();
        for task in tasks {
            task.await.expect("a caller gets its replies");
        }
    }
}

/// Each caller thread's callers, from and to.
fn shares(callers: usize) -> [(usize, usize); CALLER_THREADS] {
    let half = callers.div_ceil(CALLER_THREADS);
    [(0, half), (half, callers)]
}

/// One caller. Its jobs carry numbers that no other caller's jobs carry.
async fn call<C: Contender<P>, P: Payload>(mut door: C::Door, caller: u64, stop: Arc<AtomicBool>) {
    let mut number = caller << 32;
    while !stop.load(Ordering::Relaxed) {
        let reply = C::submit(&mut door, P::new(number)).await;
        assert_eq!(reply.number(), number, "every caller gets its own reply");
        number += 1;
    }
}

fn measure(tally: &Tally, trial: &Trial, name: &str) -> Sample {
    thread::sleep(trial.warm_up);
    let everybody_once = trial.callers as u64;
    wait_for(tally, everybody_once, name);
    let before = tally.read();
    let start = Instant::now();
    let allocations = Allocations::start();
    let count = watch(tally, before, trial);
    let elapsed = start.elapsed();
    Sample::of(count, elapsed, allocations.stop())
}

fn wait_for(tally: &Tally, jobs: u64, name: &str) {
    let start = Instant::now();
    while tally.read().jobs < jobs {
        assert!(start.elapsed() < PATIENCE, "{name} has not answered {jobs} jobs in {PATIENCE:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Waits for a window, or for up to ten where callers have hardly had a few turns each: jobs come in waves of all callers.
fn watch(tally: &Tally, before: Count, trial: &Trial) -> Count {
    let enough = 5 * trial.callers as u64;
    for _ in 0..10 {
        thread::sleep(trial.window);
        if tally.read().since(before).jobs >= enough {
            break;
        }
    }
    tally.read().since(before)
}

impl Sample {
    fn of(count: Count, elapsed: Duration, allocations: u64) -> Self {
        let jobs = count.jobs as f64;
        Self {
            ns_per_job: elapsed.as_nanos() as f64 / jobs,
            allocations_per_job: allocations as f64 / jobs,
            mean_batch: jobs / count.batches as f64,
        }
    }
}
