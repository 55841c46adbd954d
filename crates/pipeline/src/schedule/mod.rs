//! Pipelines again and again: each at an interval of its own, and none twice at once.

use std::{cell::RefCell, collections::BTreeMap, fmt, rc::Rc, sync::Arc, time::Duration};

use actix_rt::task::JoinHandle;
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    error::RunError,
    pipeline::{Pipeline, run},
    progress::Counters,
    run::Control,
};

mod actor;
mod report;

pub use actor::{AddPipeline, GetReport, RemovePipeline, ScheduleActor, StopAll};
pub use report::{ScheduleReport, Scheduled};

/// Runs pipelines on a schedule: incremental runs, each of which goes on where the one before has ended. Pipelines are added and removed while
/// others run. One that fails stops no other one, and is tried again at its next time; [`stop_all_on_failure`](Schedule::stop_all_on_failure)
/// changes that.
///
/// [`start`](Schedule::start) makes an actor of it, which is told by messages. It belongs to the thread that it was made on, and goes on without this handle for as long as that thread's `System` does;
/// [`stop`](Schedule::stop) ends it cleanly.
///
/// ```
/// use std::time::Duration;
///
/// use actix_batch_pipeline::{Schedule, prelude::*};
///
/// # actix_rt::System::new().block_on(async {
/// let squares = Pipeline::named("squares")
///     .read(from_iter("numbers", || 1..=10_u64))
///     .map(|number| number * number)
///     .write(for_each(|square: &u64| println!("{square}")))
///     .accept_duplicates(true)
///     .build();
///
/// let schedule = Schedule::new();
/// schedule.add(squares, Duration::from_secs(60))?;
/// # tokio::time::sleep(Duration::from_millis(50)).await;
/// let all = schedule.stop().await;
/// println!("{all}");
/// assert_eq!((all.pipelines[0].runs, all.pipelines[0].written), (1, 10));
/// # Ok::<(), RunError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Default)]
pub struct Schedule {
    entries: Rc<RefCell<BTreeMap<String, Entry>>>,
    stop_all_on_failure: bool,
}

struct Entry {
    status: Scheduled,
    control: Control,
    stop: Rc<Stop>,
    task: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Stop {
    is_wanted: std::cell::Cell<bool>,
    wanted: Notify,
}

impl Schedule {
    /// A schedule without pipelines.
    pub fn new() -> Self {
        Self::default()
    }

    /// If one pipeline fails, all others are stopped, cleanly. Default: `false`.
    pub fn stop_all_on_failure(mut self, stop: bool) -> Self {
        self.stop_all_on_failure = stop;
        self
    }

    /// Runs this pipeline now, and again each time that so much time has passed. A run that takes longer is not started twice: the next
    /// one begins at the next time after its end.
    ///
    /// # Errors
    ///
    /// [`RunError::Config`] if a pipeline of this name is there already, if the time is 0, or if the pipeline's own settings are refused.
    pub fn add(&self, pipeline: Pipeline, every: Duration) -> Result<(), RunError> {
        pipeline.check()?;
        let name = pipeline.name().to_owned();
        let refuse = |key, value, allowed: &str| Err(RunError::Config { key, value, allowed: allowed.to_owned() });
        if every.is_zero() {
            return refuse("every", "0 s".to_owned(), "more than 0");
        }
        if self.entries.borrow().contains_key(&name) {
            return refuse("name", name, "a name that no other pipeline of the schedule has");
        }
        let status = Scheduled::new(name.clone());
        let stop = Rc::<Stop>::default();
        let entry = Entry { status, control: Control::default(), stop: Rc::clone(&stop), task: None };
        self.entries.borrow_mut().insert(name.clone(), entry);
        let task = actix_rt::spawn(self.clone().repeat(pipeline, every, stop));
        self.change(&name, |entry| entry.task = Some(task));
        Ok(())
    }

    /// What the pipelines have done so far.
    pub fn report(&self) -> ScheduleReport {
        ScheduleReport { pipelines: self.entries.borrow().values().map(|entry| entry.status.clone()).collect() }
    }

    /// Stops a pipeline cleanly, waits for the end of its run, and takes it off the schedule. `None` if there is none of this name.
    pub async fn remove(&self, name: &str) -> Option<Scheduled> {
        let task = {
            let mut entries = self.entries.borrow_mut();
            let entry = entries.get_mut(name)?;
            entry.stop();
            entry.task.take()
        };
        if let Some(task) = task {
            // A run that has panicked has ended, too.
            let _ = task.await;
        }
        self.entries.borrow_mut().remove(name).map(|entry| entry.status.clone())
    }

    /// Stops all pipelines cleanly, and waits for the ends of their runs.
    pub async fn stop(&self) -> ScheduleReport {
        self.stop_soon();
        let names: Vec<_> = self.entries.borrow().keys().cloned().collect();
        let mut pipelines = Vec::new();
        for name in names {
            pipelines.extend(self.remove(&name).await);
        }
        ScheduleReport { pipelines }
    }

    /// Stops all pipelines cleanly.
    fn stop_soon(&self) {
        self.entries.borrow_mut().values_mut().for_each(Entry::stop);
    }

    async fn repeat(self, pipeline: Pipeline, every: Duration, stop: Rc<Stop>) {
        let mut times = interval(every);
        times.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = times.tick() => {}
                () = stop.wanted.notified() => {}
            }
            if stop.is_wanted.get() {
                return;
            }
            let failed = self.run_once(&pipeline).await.is_err();
            if failed && self.stop_all_on_failure {
                self.stop_soon();
            }
        }
    }

    async fn run_once(&self, pipeline: &Pipeline) -> Result<(), ()> {
        let (name, control) = (pipeline.name(), Control::default());
        self.change(name, |entry| {
            entry.control = control.clone();
            entry.status.begins();
        });
        let began = Instant::now();
        let result = run(pipeline.plan(), control, Arc::new(Counters::new(name))).await;
        let failed = result.is_err();
        self.change(name, |entry| match result {
            Ok(report) => entry.status.ended(report),
            Err(error) => {
                let error = error.to_string();
                tracing::error!(pipeline = name, error, after = ?began.elapsed(), "the run failed: it is tried again at its next time");
                entry.status.failed(error);
            }
        });
        if failed { Err(()) } else { Ok(()) }
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.entries.borrow_mut().get_mut(name) {
            change(entry);
        }
    }
}

impl Entry {
    fn stop(&mut self) {
        self.stop.is_wanted.set(true);
        self.stop.wanted.notify_one();
        self.control.update(|command| command.stopping = true);
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedule").field("pipelines", &self.report().pipelines).finish_non_exhaustive()
    }
}
