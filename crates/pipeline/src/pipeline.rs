//! A pipeline without its types, so that it can be named, stored and run by anything.

use std::{fmt, sync::Arc};

use futures_util::future::LocalBoxFuture;

use crate::{
    error::RunError,
    guarantee::Guarantee,
    progress::{Counters, Report},
    run::{Control, Piece, Plan},
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
    fn pieces<'a>(
        &'a self,
        after: Option<&'a Piece>,
        records: u64,
        at_most: usize,
    ) -> LocalBoxFuture<'a, Result<Vec<Piece>, RunError>>;
    fn of_piece(&self, piece: &Piece) -> Arc<dyn AnyPlan>;
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

    fn pieces<'a>(
        &'a self,
        after: Option<&'a Piece>,
        records: u64,
        at_most: usize,
    ) -> LocalBoxFuture<'a, Result<Vec<Piece>, RunError>> {
        Box::pin(Plan::pieces(self, after, records, at_most))
    }

    fn of_piece(&self, piece: &Piece) -> Arc<dyn AnyPlan> {
        Arc::new(Plan::of_piece(self, piece))
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

    /// Cuts the source into pieces of about so many records, in its order: those behind `after`, at most `at_most` of them. None are left
    /// behind the [last](Piece::is_last) one. How large records are is measured where the source only knows its bytes; a source that cannot be
    /// split is one piece.
    ///
    /// # Errors
    ///
    /// If the source cannot be read, or is not the one that `after` was cut from; and [`RunError::Config`] if a number is 0, or if the sink
    /// writes one file as a whole.
    pub async fn pieces(&self, after: Option<&Piece>, records: u64, at_most: usize) -> Result<Vec<Piece>, RunError> {
        self.plan.pieces(after, records, at_most).await
    }

    /// The pipeline that copies one piece. Its name is `<pipeline>/<number>`, so its checkpoint and its lease are its own. Dead letters in a
    /// file get the number, too: `rejected.jsonl.17`.
    pub fn of_piece(&self, piece: &Piece) -> Self {
        Self { name: format!("{}/{}", self.name, piece.number), plan: self.plan.of_piece(piece) }
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
