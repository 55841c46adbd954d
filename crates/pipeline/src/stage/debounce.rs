//! Only the last record of each key in a busy time.

use std::{collections::HashMap, hash::Hash, time::Duration};

use parking_lot::Mutex;
use tokio::time::sleep;

use super::{Output, Stage};
use crate::{
    panics::catch,
    record::{Position, Record},
};

/// Holds each record for the quiet time, and passes it if no newer one of its key has come meanwhile.
pub(crate) struct Debounce<F, K> {
    key: F,
    quiet: Duration,
    newest: Mutex<HashMap<K, Place>>,
}

/// Where a record stands in the source: the ranges are in its order.
type Place = (u32, u64, u32);

impl<F, K: Hash + Eq> Debounce<F, K> {
    pub(crate) fn new(key: F, quiet: Duration) -> Self {
        Self { key, quiet, newest: Mutex::new(HashMap::new()) }
    }

    /// Remembers that the key has this record.
    fn note(&self, key: K, place: Place) {
        let mut newest = self.newest.lock();
        let newest = newest.entry(key).or_insert(place);
        *newest = place.max(*newest);
    }

    /// Whether a record is still its key's newest; then the key is forgotten.
    fn is_newest(&self, key: &K, place: Place) -> bool {
        let mut newest = self.newest.lock();
        let is_newest = newest.get(key).is_some_and(|newest| *newest == place);
        if is_newest {
            newest.remove(key);
        }
        is_newest
    }
}

impl<T, K, F> Stage<T> for Debounce<F, K>
where
    T: Send + Sync + 'static,
    K: Hash + Eq + Clone + Send + 'static,
    F: Fn(&T) -> K + Send + Sync + 'static,
{
    type Out = T;

    fn name(&self) -> String {
        "debounce".to_owned()
    }

    fn begin(&self) {
        self.newest.lock().clear();
    }

    async fn process(&self, records: Vec<Record<T>>, out: &mut Output<T>) {
        let mut held = Vec::with_capacity(records.len());
        for record in records {
            match catch(|| (self.key)(&record)) {
                Ok(key) => {
                    self.note(key.clone(), place(record.position()));
                    held.push((key, record));
                }
                Err(panic) => out.reject(&record, panic),
            }
        }
        // The chunk behind this one passes meanwhile, and may hold newer records.
        sleep(self.quiet).await;
        for (key, record) in held {
            if self.is_newest(&key, place(record.position())) { out.emit(record) } else { out.filter(record) }
        }
    }
}

fn place(position: Position) -> Place {
    (position.range, position.record, position.part)
}
