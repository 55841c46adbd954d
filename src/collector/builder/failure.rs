//! What happens when the downstream fails, and how much it is asked for.

use std::time::Duration;

use super::{CollectorBuilder, ErrorOf};
use crate::{
    dead_letters::DeadLetters,
    dispatch::{Breaker, RateLimit, Retry},
    processor::BatchProcessor,
};

impl<P: BatchProcessor> CollectorBuilder<P> {
    /// Tries failed jobs again. Default: no retries. See [`Retry`].
    pub fn retry(mut self, retry: Retry<ErrorOf<P>>) -> Self {
        self.rules.retry = Some(retry);
        self
    }

    /// Whether to split a batch that fails as a whole – with an error, a panic, a time-out, a wrong number of results – and send
    /// the halves, until the job that makes it fail is alone. Default: `false`.
    ///
    /// Splitting begins after the retries, and not while the breaker is open. One bad job in n costs at most 2⌈log₂ n⌉ more calls,
    /// and every other job succeeds. Like a retry, it sends jobs downstream more than once.
    pub fn split_poison(mut self, split: bool) -> Self {
        self.rules.split_poison = split;
        self
    }

    /// How long a processor may take for an attempt, from 1 ms to 24 hours; [`Batch::heartbeat`](crate::Batch::heartbeat)
    /// restarts the time. Default: no limit.
    ///
    /// After that, the jobs are settled as [`JobError::TimedOut`](crate::JobError::TimedOut) (or tried again with
    /// [`Retry::on_timeout`]), the processor's future is dropped, and the worker is rebuilt. A worker on a thread that does not
    /// return within a second is given up together with its thread, and another one takes its place. Jobs that have to be tried
    /// again, split or handed to the dead letters are awaited for that second. A *local* processor that blocks its thread blocks
    /// the collector, so that no time-out can act: use [`Workers::threads`](crate::Workers::threads) for those.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.rules.timeout = Some(limit);
        self
    }

    /// How long [`BatchProcessor::prepare`] may take, from 1 ms to 24 hours. After that the worker gets a new processor, after a back-off;
    /// a worker on a thread whose `prepare` does not even return is given up together with its thread. Default: 30 s.
    pub fn prepare_timeout(mut self, limit: Duration) -> Self {
        self.limits.prepare = limit;
        self
    }

    /// How long [`BatchProcessor::close`] may take, from 1 ms to 24 hours. After that the processor is dropped. Default: 30 s.
    pub fn close_timeout(mut self, limit: Duration) -> Self {
        self.limits.close = limit;
        self
    }

    /// Stops calling a downstream that fails. Default: no breaker. See [`Breaker`].
    pub fn breaker(mut self, breaker: Breaker<ErrorOf<P>>) -> Self {
        self.rules.breaker = Some(breaker);
        self
    }

    /// Limits jobs or batches per second. Default: no limit. Clones of one [`RateLimit`] share it.
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.rules.rate_limit = Some(limit);
        self
    }

    /// How many batches may be with workers at once; 0 holds everything until
    /// [`set_max_in_flight`](crate::Collector::set_max_in_flight) raises it. Default: as many as there are workers.
    pub fn max_in_flight(mut self, batches: usize) -> Self {
        self.rules.max_in_flight = Some(batches);
        self
    }

    /// Takes the jobs that failed for good: a closure, or a file. Default: none. See [`DeadLetters`].
    pub fn dead_letters(mut self, letters: impl DeadLetters<P::Job>) -> Self {
        self.dead_letters = Some(Box::new(letters));
        self.rules.keeps_failed = true;
        self
    }

    /// Whether to skip jobs whose callers dropped their `Submit` before the batch started. A job that was sent by `do_send` is never
    /// skipped. With [`coalesce_by`](Self::coalesce_by) or [`idempotent_by`](Self::idempotent_by) no job is skipped, because others
    /// may follow it. Default: `true`.
    pub fn skip_abandoned(mut self, skip: bool) -> Self {
        self.rules.skip_abandoned = skip;
        self
    }
}
