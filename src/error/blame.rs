//! Whose fault an error is.

/// Whose fault a processor's error is, which decides what helps: see [`BatchProcessor::blame`](crate::BatchProcessor::blame).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Blame {
    /// It cannot be told. The batch is tried again as `retry` says, then split if `split_poison` is on.
    #[default]
    Unknown,
    /// The job's own: a wrong value, a broken rule. It is never tried again, and the breaker does not count it.
    Job,
    /// The downstream's: a lost connection, an overload. It is tried again as `retry` says, but the batch is not split for it,
    /// because its parts would fail as well.
    Downstream,
}
