//! A handle that does not keep the collector alive.

use std::{fmt, sync::Weak};

use super::{Collector, shared::Shared};
use crate::job::Job;

/// A handle that does not keep the collector alive; made by [`Collector::downgrade`].
pub struct WeakCollector<J: Job>(pub(super) Weak<Shared<J>>);

impl<J: Job> WeakCollector<J> {
    /// The collector; `None` once it has begun to shut down, or has ended.
    pub fn upgrade(&self) -> Option<Collector<J>> {
        let shared = self.0.upgrade().filter(|shared| !shared.intake.is_closed())?;
        Some(Collector::new(shared))
    }
}

impl<J: Job> Clone for WeakCollector<J> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<J: Job> fmt::Debug for WeakCollector<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakCollector")
    }
}
