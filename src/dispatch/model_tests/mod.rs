//! The dispatch machine against a plain model of what it promises.
//!
//! Random rules, random answers, random times. The model follows each job – it waits, it is with a worker, it has its reply –
//! and each order of dispatch is held against it: what may be sent now, what each caller must be told. The replies are real
//! slots, so a job that were settled twice, or with another's result, is seen where its caller would see it.

use std::time::Duration;

use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseResult},
};
use tokio::runtime;

use self::{
    settings::{Answer, Settings, Step, answer, steps},
    world::World,
};
use crate::job::Job;

mod breaker;
mod settings;
mod told;
mod world;

const MS: Duration = Duration::from_millis(1);

/// What a step of priority is worth.
const AGEING: Duration = Duration::from_millis(50);

/// An error that is not worth a retry.
const HOPELESS: &str = "hopeless";

/// A job with a number; its output is the number, and the attempt that served it.
#[derive(Debug)]
struct Numbered(usize);

impl Job for Numbered {
    type Output = (usize, u32);
    type Error = &'static str;
}

/// How a run ends.
#[derive(Debug, Clone)]
enum End {
    /// Everything is sent; workers answer like this from now on.
    Drain(Answer),
    /// Everything is given up.
    Abort,
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![4 => answer().prop_map(End::Drain), 1 => Just(End::Abort)]
}

fn run(settings: Settings, steps: Vec<Step>, end: End) -> TestCaseResult {
    let clock = runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let entered = clock.enter();
    let mut world = World::new(&clock, settings);
    for step in steps {
        world.step(step);
    }
    match end {
        End::Drain(answer) => world.drain(&answer),
        End::Abort => world.abort(),
    }
    world.check_the_end();
    drop(entered);
    Ok(())
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn every_job_is_settled_once_and_no_rule_is_broken(
        settings in Settings::any(), steps in steps(), end in end(),
    ) {
        run(settings, steps, end)?;
    }
}
