//! The outcomes that a processor returns for a batch, and what each of its jobs gets.

use std::{collections::HashMap, fmt, hash::Hash, mem, sync::Arc, vec};

use crate::{
    error::JobError,
    job::{Job, JobResult},
    panics::contain,
};

/// What a processor returns for the jobs of a batch: outputs in order, outputs by key, or a `Result` for each job.
///
/// ```
/// use actix_batch::{Batch, Job, JobError, Outcomes};
///
/// struct GetPrice(u32);
/// impl Job for GetPrice {
///     type Output = (u32, f64);
///     type Error = String;
/// }
///
/// let batch = Batch::from(vec![GetPrice(1), GetPrice(2), GetPrice(3)]);
/// let rows = vec![(3, 0.3), (1, 0.1)]; // as a database returns them: in any order, and not all
/// let outcomes = Outcomes::by_key(&batch, rows, |job: &GetPrice| job.0, |row| row.0);
///
/// let results = outcomes.into_results(&batch);
/// assert!(matches!(results[0], Ok((1, _))));
/// assert!(matches!(results[1], Err(JobError::NoResult)));
/// assert!(matches!(results[2], Ok((3, _))));
/// ```
pub struct Outcomes<J: Job>(Kind<J>);

enum Kind<J: Job> {
    InOrder(Vec<J::Output>),
    Each(Vec<Result<J::Output, J::Error>>),
    Matched(Vec<JobResult<J>>, Stray),
    All(Box<dyn FnOnce(usize) -> Vec<J::Output>>),
    TooLarge,
}

/// Outputs that fitted no job and were dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stray {
    /// No job has their key.
    pub(crate) unknown: u64,
    /// Another output has the same key.
    pub(crate) repeated: u64,
}

impl<J: Job> Outcomes<J> {
    /// One output per job, in the jobs' order (also `From<Vec<Output>>`). With any other number of outputs, every job of the
    /// batch gets [`JobError::Mismatch`], because it is not known which output belongs to which job.
    pub fn in_order(outputs: impl IntoIterator<Item = J::Output>) -> Self {
        Self(Kind::InOrder(outputs.into_iter().collect()))
    }

    /// One result per job, in the jobs' order, if some jobs succeed and others fail. With any other number of results, every
    /// job gets [`JobError::Mismatch`].
    pub fn each(results: impl IntoIterator<Item = Result<J::Output, J::Error>>) -> Self {
        Self(Kind::Each(results.into_iter().collect()))
    }

    /// Outputs in any order, each for the one job with its key.
    ///
    /// A job without an output gets [`JobError::NoResult`]. If two jobs have the same key, the second gets
    /// [`JobError::DuplicateKey`]. An output whose key no job has, and a second output for a key, are dropped, counted
    /// (`Stats::stray`) and logged.
    pub fn by_key<K: Eq + Hash>(
        batch: &[J],
        outputs: impl IntoIterator<Item = J::Output>,
        job_key: impl Fn(&J) -> K,
        output_key: impl Fn(&J::Output) -> K,
    ) -> Self {
        let (mut found, stray) = index(batch, outputs, &job_key, output_key);
        let results = batch.iter().map(|job| match found.get_mut(&job_key(job)) {
            Some(entry) => match mem::replace(entry, Found::Taken) {
                Found::Output(output) => Ok(output),
                Found::Missing => Err(JobError::NoResult),
                Found::Taken => Err(JobError::DuplicateKey),
            },
            None => Err(JobError::NoResult),
        });
        Self(Kind::Matched(results.collect(), stray))
    }

    /// Outputs in any order, each for every job with its key: several callers may ask for the same row.
    ///
    /// A job without an output gets [`JobError::NoResult`]. Outputs that fit no job are dropped, counted and logged, as with
    /// [`by_key`](Self::by_key).
    pub fn lookup<K: Eq + Hash>(
        batch: &[J],
        outputs: impl IntoIterator<Item = J::Output>,
        job_key: impl Fn(&J) -> K,
        output_key: impl Fn(&J::Output) -> K,
    ) -> Self
    where
        J::Output: Clone,
    {
        let (found, stray) = index(batch, outputs, &job_key, output_key);
        let results = batch.iter().map(|job| match found.get(&job_key(job)) {
            Some(Found::Output(output)) => Ok(output.clone()),
            _ => Err(JobError::NoResult),
        });
        Self(Kind::Matched(results.collect(), stray))
    }

    /// The same output for every job: a bulk insert returns `Outcomes::all(())`.
    pub fn all(output: J::Output) -> Self
    where
        J::Output: Clone,
    {
        Self(Kind::All(Box::new(|jobs| vec![output; jobs])))
    }

    /// The downstream refuses a batch of this size. The batch is halved and both halves are sent, which does not count as an
    /// attempt. A job that is too large alone gets [`JobError::TooLarge`].
    pub fn too_large() -> Self {
        Self(Kind::TooLarge)
    }

    /// The result that each job of the batch would get, for tests of a processor.
    pub fn into_results(self, batch: &[J]) -> Vec<JobResult<J>> {
        self.results(batch.len()).collect()
    }

    /// One result for each of the batch's `jobs`. This runs user code (`Clone` of an output), so it runs on the worker.
    pub(crate) fn results(self, jobs: usize) -> JobResults<J> {
        let (found, results) = match self.0 {
            Kind::InOrder(outputs) => (outputs.len(), JobResults::Outputs(outputs.into_iter())),
            Kind::Each(results) => (results.len(), JobResults::Each(results.into_iter())),
            Kind::Matched(results, stray) => (results.len(), JobResults::Matched(results.into_iter(), stray)),
            Kind::All(outputs) => (jobs, JobResults::Outputs(outputs(jobs).into_iter())),
            Kind::TooLarge => return JobResults::TooLarge(jobs),
        };
        if found == jobs { results } else { JobResults::whole(JobError::mismatch(jobs, found), jobs) }
    }
}

/// The output that was found for a job's key.
enum Found<O> {
    Missing,
    Output(O),
    Taken,
}

/// The outputs by key, and how many fitted no job.
fn index<J: Job, K: Eq + Hash>(
    batch: &[J],
    outputs: impl IntoIterator<Item = J::Output>,
    job_key: impl Fn(&J) -> K,
    output_key: impl Fn(&J::Output) -> K,
) -> (HashMap<K, Found<J::Output>>, Stray) {
    let mut found: HashMap<K, Found<J::Output>> = batch.iter().map(|job| (job_key(job), Found::Missing)).collect();
    let mut stray = Stray::default();
    for output in outputs {
        match found.get_mut(&output_key(&output)) {
            Some(entry @ Found::Missing) => *entry = Found::Output(output),
            Some(_) => stray.repeated += 1,
            None => stray.unknown += 1,
        }
    }
    (found, stray)
}

impl<J: Job> From<Vec<J::Output>> for Outcomes<J> {
    fn from(outputs: Vec<J::Output>) -> Self {
        Self::in_order(outputs)
    }
}

impl<J: Job> fmt::Debug for Outcomes<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, len) = match &self.0 {
            Kind::InOrder(outputs) => ("in_order", Some(outputs.len())),
            Kind::Each(results) => ("each", Some(results.len())),
            Kind::Matched(results, _) => ("by_key", Some(results.len())),
            Kind::All(_) => ("all", None),
            Kind::TooLarge => ("too_large", None),
        };
        f.debug_struct("Outcomes").field("kind", &kind).field("len", &len).finish()
    }
}

/// One result per job, in order, as a worker reports them. Only `Drop` is left to run of the user's code.
pub(crate) enum JobResults<J: Job> {
    Outputs(vec::IntoIter<J::Output>),
    Each(vec::IntoIter<Result<J::Output, J::Error>>),
    Matched(vec::IntoIter<JobResult<J>>, Stray),
    Whole(JobError<J::Error>, usize),
    TooLarge(usize),
}

impl<J: Job> JobResults<J> {
    /// The whole batch failed.
    pub(crate) fn whole(error: JobError<J::Error>, jobs: usize) -> Self {
        Self::Whole(error, jobs)
    }

    pub(crate) fn stray(&self) -> Stray {
        match self {
            Self::Matched(_, stray) => *stray,
            _ => Stray::default(),
        }
    }

    /// One result per job.
    pub(crate) fn of(results: Vec<JobResult<J>>) -> Self {
        Self::Matched(results.into_iter(), Stray::default())
    }

    /// The error of the whole batch, if it failed as a whole.
    pub(crate) fn whole_failure(&self) -> Option<&JobError<J::Error>> {
        match self {
            Self::Whole(error, _) => Some(error),
            _ => None,
        }
    }

    /// Whether every job has its output.
    pub(crate) fn all_succeeded(&self) -> bool {
        match self {
            Self::Outputs(_) => true,
            Self::Each(results) => results.as_slice().iter().all(Result::is_ok),
            Self::Matched(results, _) => results.as_slice().iter().all(Result::is_ok),
            Self::Whole(..) | Self::TooLarge(_) => false,
        }
    }
}

impl<J: Job> Iterator for JobResults<J> {
    type Item = JobResult<J>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Outputs(outputs) => outputs.next().map(Ok),
            Self::Each(results) => {
                results.next().map(|result| result.map_err(|error| JobError::Failed(Arc::new(error))))
            }
            Self::Matched(results, _) => results.next(),
            Self::Whole(_, 0) | Self::TooLarge(0) => None,
            Self::TooLarge(left) => {
                *left -= 1;
                Some(Err(JobError::TooLarge))
            }
            Self::Whole(error, left) => {
                *left -= 1;
                Some(Err(error.clone()))
            }
        }
    }
}

impl<J: Job> Drop for JobResults<J> {
    /// Results that were not taken are dropped one by one, so that a panic in one `Drop` is contained.
    fn drop(&mut self) {
        if let Self::Whole(error, _) = self {
            let error = mem::replace(error, JobError::Lost);
            return contain(|| drop(error));
        }
        if let Self::TooLarge(_) = self {
            return;
        }
        for result in self.by_ref() {
            contain(|| drop(result));
        }
    }
}

#[cfg(test)]
mod tests;
