//! The result cache: its settings, and how it stores results.
//!
//! Invariants:
//! - The result of a job that was accepted before its key was cleared is not cached afterwards.
//! - The only user code that runs under the cache's locks is the comparison of keys. A result's own lock is held while it is
//!   copied.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, UnitWeighter, sync};
use tokio::time::Instant;

use super::intake::{Keying, ResultCache};
use crate::{
    clock::Clock,
    error::ConfigError,
    job::{Job, Key, KeyFn},
    panics::{catch, contain},
    reentry::copy_once,
};

/// How many results are cached, and for how long. See [`CollectorBuilder::cache`](crate::CollectorBuilder::cache).
///
/// ```
/// use std::time::Duration;
///
/// use actix_batch::Cache;
///
/// let prices = Cache::new(10_000).time_to_live(Duration::from_secs(60));
/// ```
#[derive(Debug, Clone)]
pub struct Cache {
    capacity: usize,
    time_to_live: Option<Duration>,
}

impl Cache {
    /// Caches at most `capacity` results; at least 1. When the cache is full, it evicts a result that was not used again, or
    /// not lately.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, time_to_live: None }
    }

    /// How long a result is valid, counted from when it was cached: more than 0 and at most 366 days. An expired result keeps
    /// its place until it is looked up or evicted. Default: a result is valid until it is evicted.
    pub fn time_to_live(mut self, time_to_live: Duration) -> Self {
        self.time_to_live = Some(time_to_live);
        self
    }
}

/// Results by key.
pub(super) struct Store<J: Job> {
    key: KeyFn<J>,
    copy: fn(&J::Output) -> J::Output,
    settings: Cache,
    results: Results<J>,
    /// Locked while a result is stored, so that no key is cleared meanwhile. Looking a result up does not need this lock.
    cleared: Mutex<Cleared>,
}

type Results<J> = sync::Cache<Key, Arc<Kept<<J as Job>::Output>>>;
type Lives<J> = sync::DefaultLifecycle<Key, Arc<Kept<<J as Job>::Output>>>;
type Evicted<J> = <Lives<J> as Lifecycle<Key, Arc<Kept<<J as Job>::Output>>>>::RequestState;

struct Kept<O> {
    /// Outputs need not be `Sync`, so copies are made under a lock. `Some` until it is dropped.
    output: Mutex<Option<O>>,
    /// `None`: it does not expire.
    until: Option<Instant>,
}

/// When each key was cleared. Results of jobs that were accepted before then must not be cached.
#[derive(Default)]
struct Cleared {
    all: Option<Instant>,
    keys: HashMap<Key, Instant>,
}

impl<J: Job> Store<J> {
    /// From this capacity on, the results are spread over shards, each with a lock of its own.
    const SHARDED_FROM: usize = 1_024;
    const SHARDS: usize = 16;

    pub(super) fn new(key: KeyFn<J>, copy: fn(&J::Output) -> J::Output, settings: Cache) -> Self {
        let shards = if settings.capacity < Self::SHARDED_FROM { 1 } else { Self::SHARDS };
        // Rounded down here, because quick_cache would round up.
        let capacity = settings.capacity / shards * shards;
        let mut options = OptionsBuilder::new();
        options.shards(shards).estimated_items_capacity(capacity).weight_capacity(capacity as u64);
        let options = options.build().expect("both capacities are set");
        let results = sync::Cache::with_options(
            options,
            UnitWeighter,
            DefaultHashBuilder::default(),
            sync::DefaultLifecycle::default(),
        );
        Self { key, copy, settings, results, cleared: Mutex::default() }
    }

    /// `None` for a job without a key, or whose key function panicked.
    fn key(&self, job: &J) -> Option<Key> {
        (self.key)(job).filter(|key| !key.is_unique())
    }

    /// A copy, or `None` if the user's `Clone` panics.
    fn copy(&self, output: &J::Output) -> Option<J::Output> {
        catch(|| (self.copy)(output))
    }

    fn kept(&self, output: J::Output, now: Instant) -> Arc<Kept<J::Output>> {
        let until = self.settings.time_to_live.and_then(|time| now.checked_add(time));
        Arc::new(Kept { output: Mutex::new(Some(output)), until })
    }

    /// Stores a result. Returns the results that it replaces or evicts, to be dropped once the locks are free.
    fn put(&self, key: Key, kept: Arc<Kept<J::Output>>) -> impl Sized + use<J> {
        let (replaced, mut evicted) = (self.results.peek(&key), Evicted::<J>::default());
        self.results.insert_with_lifecycle(key, kept, &mut evicted);
        (replaced, evicted)
    }

    fn clear_key(&self, key: Key, now: Instant) {
        let mut cleared = self.cleared.lock();
        let gone = self.results.remove(&key);
        cleared.key(key, now);
        drop(cleared);
        drop(gone);
    }

    fn clear_all(&self, now: Instant) {
        let mut cleared = self.cleared.lock();
        let gone: Vec<_> = self.results.drain().collect();
        cleared.all(now);
        drop(cleared);
        drop(gone);
    }
}

impl<J: Job> ResultCache<J> for Store<J> {
    fn validate(&self) -> Result<(), ConfigError> {
        if self.settings.capacity == 0 {
            return Err(ConfigError::new("cache.capacity", 0, "at least 1"));
        }
        let longest = Keying::<J>::LONGEST_MEMORY;
        match self.settings.time_to_live {
            Some(time) if time.is_zero() || time > longest => {
                let allowed = "more than 0 and at most 366 days";
                Err(ConfigError::new("cache.time_to_live", format_args!("{time:?}"), allowed))
            }
            _ => Ok(()),
        }
    }

    fn get(&self, job: &J, clock: &Clock) -> Option<J::Output> {
        let key = self.key(job)?;
        let kept = self.results.get(&key)?;
        if kept.until.is_some_and(|until| until <= clock.now()) {
            self.results.remove_if(&key, |other| Arc::ptr_eq(other, &kept));
            return None;
        }
        copy_once(|| self.copy(kept.output.lock().as_ref()?)).flatten()
    }

    fn keep(&self, job: &J, output: &J::Output, accepted_at: Instant, now: Instant) {
        let Some((key, output)) = self.key(job).zip(self.copy(output)) else { return };
        let kept = self.kept(output, now);
        let cleared = self.cleared.lock();
        let gone = (!cleared.since(&key, accepted_at)).then(|| self.put(key, Arc::clone(&kept)));
        drop(cleared);
        drop((gone, kept));
    }

    fn prime(&self, job: &J, output: J::Output, now: Instant) {
        let kept = self.kept(output, now);
        let Some(key) = self.key(job) else { return };
        let mut cleared = self.cleared.lock();
        cleared.key(key.clone(), now);
        let gone = self.put(key, Arc::clone(&kept));
        drop(cleared);
        drop((gone, kept));
    }

    fn clear(&self, job: Option<&J>, now: Instant) {
        match job {
            Some(job) => self.key(job).into_iter().for_each(|key| self.clear_key(key, now)),
            None => self.clear_all(now),
        }
    }
}

impl Cleared {
    /// How many keys are remembered one by one.
    const MOST: usize = 1_024;

    /// Whether the key was cleared at that instant or later.
    fn since(&self, key: &Key, then: Instant) -> bool {
        let last = self.keys.get(key).copied().max(self.all);
        last.is_some_and(|cleared| then <= cleared)
    }

    /// Notes that this key is cleared now. If too many keys are remembered, all keys count as cleared now. Then a few results
    /// are not cached that could have been.
    fn key(&mut self, key: Key, now: Instant) {
        if self.keys.len() < Self::MOST {
            self.keys.insert(key, now);
        } else {
            self.all(now);
        }
    }

    /// Notes that all keys are cleared now.
    fn all(&mut self, now: Instant) {
        self.keys.clear();
        self.all = Some(now);
    }
}

impl<O> Drop for Kept<O> {
    /// Contains a panic of the user's `Drop`.
    fn drop(&mut self) {
        contain(|| drop(self.output.get_mut().take()));
    }
}
