//! A pipeline without its types, so that it can be named, stored and run by anything.

use std::{fmt, sync::Arc};

use futures_util::future::LocalBoxFuture;

use crate::{
    error::RunError,
    guarantee::Guarantee,
    panics,
    progress::{Counters, Report},
    run::{Control, Plan, SourceRange},
    source::Source,
};

/// A pipeline that is ready to run.
pub struct Pipeline {
    name: String,
    plan: Arc<dyn AnyPlan>,
}

/// A plan of any types.
pub(crate) trait AnyPlan: Send + Sync {
    fn run<'a>(
        &'a self,
        control: &'a Control,
        counters: &'a Arc<Counters>,
    ) -> LocalBoxFuture<'a, Result<Report, RunError>>;
    fn dry_run(&self, records: u64) -> LocalBoxFuture<'_, Result<Report, RunError>>;
    fn ranges<'a>(
        &'a self,
        after: Option<&'a SourceRange>,
        records: u64,
        at_most: usize,
    ) -> LocalBoxFuture<'a, Result<Vec<SourceRange>, RunError>>;
    fn of_range(&self, name: String, range: &SourceRange) -> Arc<dyn AnyPlan>;
    fn check(&self) -> Result<Guarantee, RunError>;
    fn fingerprint(&self) -> String;
}

impl<S: Source, T: Send + Sync + 'static> AnyPlan for Plan<S, T> {
    fn run<'a>(
        &'a self,
        control: &'a Control,
        counters: &'a Arc<Counters>,
    ) -> LocalBoxFuture<'a, Result<Report, RunError>> {
        Box::pin(Plan::run(self, control, counters))
    }

    fn dry_run(&self, records: u64) -> LocalBoxFuture<'_, Result<Report, RunError>> {
        Box::pin(Plan::dry_run(self, records))
    }

    fn ranges<'a>(
        &'a self,
        after: Option<&'a SourceRange>,
        records: u64,
        at_most: usize,
    ) -> LocalBoxFuture<'a, Result<Vec<SourceRange>, RunError>> {
        Box::pin(Plan::ranges(self, after, records, at_most))
    }

    fn of_range(&self, name: String, range: &SourceRange) -> Arc<dyn AnyPlan> {
        Arc::new(Plan::of_range(self, name, range))
    }

    fn check(&self) -> Result<Guarantee, RunError> {
        self.validate()?;
        Ok(self.guarantee())
    }

    fn fingerprint(&self) -> String {
        Plan::fingerprint(self)
    }
}

impl Pipeline {
    pub(crate) fn new<S: Source, T: Send + Sync + 'static>(name: String, plan: Plan<S, T>) -> Self {
        Self { name, plan: Arc::new(plan) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it reads, does and writes, in words: a checkpoint of another plan is refused.
    pub fn fingerprint(&self) -> String {
        self.plan.fingerprint()
    }

    /// Checks the settings, and says how often a record takes effect.
    ///
    /// # Errors
    ///
    /// [`RunError::Config`] and [`RunError::Duplicates`].
    pub fn check(&self) -> Result<Guarantee, RunError> {
        self.plan.check()
    }

    /// Runs to the end and reports, inside an actix `System`. If the future is dropped before, the run stops cleanly by itself, and keeps its
    /// lease until then.
    ///
    /// # Errors
    ///
    /// [`RunError`]. What has settled is in the checkpoint, so the next run goes on there.
    pub async fn run(&self) -> Result<Report, RunError> {
        run(self.plan(), Control::default(), Arc::new(Counters::new(&self.name))).await
    }

    /// Reads and stages up to this many records, and writes and saves nothing.
    ///
    /// # Errors
    ///
    /// If the source cannot be read, or a stage's records do not add up.
    pub async fn dry_run(&self, records: u64) -> Result<Report, RunError> {
        self.plan.dry_run(records).await
    }

    /// Cuts the source into ranges of about so many records, in its order: those behind `after`, at most `at_most` of them. None are left
    /// behind the [last](SourceRange::is_last) one. How large records are is measured where the source only knows its bytes; a source that cannot be
    /// split is one range.
    ///
    /// # Errors
    ///
    /// If the source cannot be read, or is not the one that `after` was cut from; and [`RunError::Config`] if a number is 0, or if the sink
    /// writes one file as a whole.
    pub async fn ranges(
        &self,
        after: Option<&SourceRange>,
        records: u64,
        at_most: usize,
    ) -> Result<Vec<SourceRange>, RunError> {
        self.plan.ranges(after, records, at_most).await
    }

    /// The pipeline that copies one range, as a part of a run that has this name. The pipeline's own name is `<pipeline>/<run>/<number>`, so
    /// its checkpoint and its lease are its own, and a range that was copied in a run is not copied in it again. Dead letters in a
    /// file get the number, too: `rejected.jsonl.17`.
    pub fn of_range(&self, run: &str, range: &SourceRange) -> Self {
        let name = format!("{}/{run}/{}", self.name, range.number);
        Self { name: name.clone(), plan: self.plan.of_range(name, range) }
    }

    pub(crate) fn plan(&self) -> Arc<dyn AnyPlan> {
        Arc::clone(&self.plan)
    }
}

/// Runs a plan as a task of its own, which goes on to a clean stop if this future is dropped: what has been sent is being written, and no
/// other run may begin before it is.
pub(crate) async fn run(plan: Arc<dyn AnyPlan>, control: Control, counters: Arc<Counters>) -> Result<Report, RunError> {
    let _stop = StopOnDrop(control.clone());
    let ended = actix_rt::spawn(async move { plan.run(&control, &counters).await }).await;
    ended.unwrap_or_else(|error| {
        Err(RunError::Lost(match error.try_into_panic() {
            Ok(panic) => format!("the run {}", panics::message(&*panic)),
            Err(_) => "the `System` of the run has ended".to_owned(),
        }))
    })
}

struct StopOnDrop(Control);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.update(|command| command.stopping = true);
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("name", &self.name).field("plan", &self.fingerprint()).finish()
    }
}
