//! The observers of one collector.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use tracing::warn;

use super::Observer;
use crate::panics::discard;

/// The observers that were registered. Usually there are none: then notifying is one branch.
#[derive(Clone, Default)]
pub(crate) struct Observers(Option<Arc<Registered>>);

struct Registered {
    collector: Arc<str>,
    observers: Vec<Box<dyn Observer>>,
}

impl Observers {
    pub(crate) fn new(collector: &Arc<str>, observers: Vec<Box<dyn Observer>>) -> Self {
        let registered = Registered { collector: Arc::clone(collector), observers };
        Self(if registered.observers.is_empty() { None } else { Some(Arc::new(registered)) })
    }

    /// Whether there are any.
    #[inline]
    pub(crate) fn any(&self) -> bool {
        self.0.is_some()
    }

    /// Calls a hook of every observer. Must not be called under a lock.
    #[inline]
    pub(crate) fn notify(&self, hook: impl Fn(&dyn Observer, &str)) {
        if let Some(registered) = &self.0 {
            registered.notify(hook);
        }
    }
}

impl Registered {
    #[cold]
    fn notify(&self, hook: impl Fn(&dyn Observer, &str)) {
        for observer in &self.observers {
            let called = catch_unwind(AssertUnwindSafe(|| hook(&**observer, &self.collector)));
            if let Err(panic) = called {
                warn!(collector = &*self.collector, "an observer panicked");
                discard(panic);
            }
        }
    }
}
