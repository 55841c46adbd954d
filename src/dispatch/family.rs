//! A batch that failed as a whole, with the parts that it is split into – as the breaker sees them.
//!
//! When one bad job makes its batch fail, the downstream is not to blame. So the failures of a batch that will be split do not count
//! at once: the first part that succeeds shows that they were a job's, and then they never count. If more than 2 · (log₂ n + 1) calls
//! for a batch of n jobs fail without one success, all of them count.

use std::sync::Arc;

use parking_lot::Mutex;

/// Shared by the batches of one family; it lives as long as one of them does.
#[derive(Clone)]
pub(super) struct Family(Arc<Mutex<Suspicion>>);

struct Suspicion {
    failures: u32,
    /// How many failures without a success are put down to a bad job.
    patience: u32,
    verdict: Option<Verdict>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// A part succeeded: the failures are a job's.
    BadJob,
    /// Too many calls failed: the failures are the downstream's.
    Downstream,
}

impl Family {
    pub(super) fn new(jobs: usize) -> Self {
        let patience = 2 * (jobs.max(1).ilog2() + 1);
        Self(Arc::new(Mutex::new(Suspicion { failures: 0, patience, verdict: None })))
    }

    /// A call failed. Returns how many failures count because of it; `None`: that is not known yet.
    pub(super) fn failed(&self) -> Option<u32> {
        let mut suspicion = self.0.lock();
        match suspicion.verdict {
            Some(Verdict::BadJob) => Some(0),
            Some(Verdict::Downstream) => Some(1),
            None => {
                suspicion.failures += 1;
                if suspicion.failures <= suspicion.patience {
                    return None;
                }
                suspicion.verdict = Some(Verdict::Downstream);
                Some(suspicion.failures)
            }
        }
    }

    /// A call succeeded.
    pub(super) fn succeeded(&self) {
        self.0.lock().verdict.get_or_insert(Verdict::BadJob);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_before_the_first_success_never_count() {
        let family = Family::new(64);
        assert!((0..7).all(|_| family.failed().is_none()));
        family.succeeded();
        assert!((0..100).all(|_| family.failed() == Some(0)));
    }

    #[test]
    fn failures_without_any_success_all_count_in_the_end() {
        let family = Family::new(64);
        assert!((0..14).all(|_| family.failed().is_none()));
        assert_eq!(family.failed(), Some(15));
        family.succeeded();
        assert_eq!(family.failed(), Some(1));
    }
}
