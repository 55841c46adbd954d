//! Each key once.

use std::{
    collections::{HashSet, VecDeque},
    hash::Hash,
};

use parking_lot::Mutex;

use super::{Output, Stage};
use crate::record::Record;

pub(crate) struct Dedupe<F, K> {
    key: F,
    window: usize,
    seen: Mutex<Seen<K>>,
}

/// The keys of the last records that passed.
struct Seen<K> {
    order: VecDeque<K>,
    keys: HashSet<K>,
}

impl<F, K> Dedupe<F, K> {
    pub(crate) fn new(key: F, window: usize) -> Self {
        Self { key, window, seen: Mutex::default() }
    }
}

impl<K> Default for Seen<K> {
    fn default() -> Self {
        Self { order: VecDeque::new(), keys: HashSet::new() }
    }
}

impl<K: Hash + Eq + Clone> Seen<K> {
    /// Whether the key is new. It is remembered until `window` others have passed.
    fn is_new(&mut self, key: K, window: usize) -> bool {
        if !self.keys.insert(key.clone()) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > window
            && let Some(oldest) = self.order.pop_front()
        {
            self.keys.remove(&oldest);
        }
        true
    }
}

impl<T, K, F> Stage<T> for Dedupe<F, K>
where
    T: Send + Sync + 'static,
    K: Hash + Eq + Clone + Send + 'static,
    F: Fn(&T) -> K + Send + Sync + 'static,
{
    type Out = T;

    fn name(&self) -> String {
        "dedupe".to_owned()
    }

    fn is_stateful(&self) -> bool {
        true
    }

    fn begin(&self) {
        *self.seen.lock() = Seen::default();
    }

    async fn process(&self, records: Vec<Record<T>>, out: &mut Output<T>) {
        out.keep(records, |record| {
            let key = (self.key)(record);
            self.seen.lock().is_new(key, self.window)
        });
    }
}
