//! A pipeline without its types, so that it can be named, stored and run by anything.

use std::{fmt, sync::Arc};

use futures_util::future::LocalBoxFuture;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::RunError,
    guarantee::Guarantee,
    progress::{Counters, Report},
    run::{Control, Plan},
    source::Source,
};

/// A pipeline that is ready to run.
pub struct Pipeline {
    name: String,
    plan: Arc<dyn AnyPlan>,
}

/// A pipeline that is registered by name: the name and its own data are all that another machine needs to run it.
pub trait Definition: Serialize + DeserializeOwned + 'static {
    /// Its name.
    const NAME: &'static str;

    /// The pipeline.
    ///
    /// # Errors
    ///
    /// If the configuration does not make a pipeline.
    fn build(&self) -> Result<Pipeline, RunError>;
}

/// A plan of any types.
pub(crate) trait AnyPlan: Send + Sync {
    fn run<'a>(
        &'a self,
        control: &'a Control,
        counters: &'a Arc<Counters>,
    ) -> LocalBoxFuture<'a, Result<Report, RunError>>;
    fn dry_run(&self, records: u64) -> LocalBoxFuture<'_, Result<Report, RunError>>;
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

    /// Runs to the end and reports.
    ///
    /// # Errors
    ///
    /// [`RunError`]. What has settled is in the checkpoint, so the next run goes on there.
    pub async fn run(&self) -> Result<Report, RunError> {
        self.plan.run(&Control::default(), &Arc::new(Counters::new(&self.name))).await
    }

    /// Reads and stages up to this many records, and writes and saves nothing.
    ///
    /// # Errors
    ///
    /// If the source cannot be read, or a stage's records do not add up.
    pub async fn dry_run(&self, records: u64) -> Result<Report, RunError> {
        self.plan.dry_run(records).await
    }

    pub(crate) fn plan(&self) -> Arc<dyn AnyPlan> {
        Arc::clone(&self.plan)
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("name", &self.name).field("plan", &self.fingerprint()).finish()
    }
}
