//! From a source through stages: what a pipeline is before it has a sink.

use std::{fmt::Display, future::Future, hash::Hash, marker::PhantomData, sync::Arc, time::Duration};

use crate::{
    builder::PipelineBuilder,
    outlet::{One, Outlet, Route, Tee},
    pipeline::Pipeline,
    record::Record,
    sink::IntoSink,
    source::Source,
    stage::{
        Chain, Debounce, Dedupe, Filter, FlatMap, Inspect, Lookup, Map, MapAsync, Stage, Start, Then, Throttle,
        Through, TryMap, Validate,
    },
};

/// Records on their way: a source and the stages behind it. Made by [`Named::read`].
///
/// Closures are shared by all readers of a run, so they are `Fn + Send + Sync`. If one panics, the record at hand is rejected.
#[must_use = "a flow does nothing until it is written to a sink and run"]
pub struct Flow<S: Source, T: Send + Sync + 'static> {
    name: String,
    source: S,
    stages: Arc<dyn Chain<S::Record, T>>,
}

/// A pipeline that has a name and nothing else yet; made by [`Pipeline::named`].
#[derive(Debug, Clone)]
#[must_use = "a pipeline does nothing until it is run"]
pub struct Named(String);

impl Pipeline {
    /// A pipeline by this name. Checkpoints belong to the name, so it must be its own.
    pub fn named(name: impl Into<String>) -> Named {
        Named(name.into())
    }
}

impl Named {
    /// Reads from this source.
    pub fn read<S: Source>(self, source: S) -> Flow<S, S::Record> {
        Flow::new(self.0, source)
    }
}

impl<S: Source> Flow<S, S::Record> {
    pub(crate) fn new(name: String, source: S) -> Self {
        Self { name, source, stages: Arc::new(Start) }
    }
}

impl<S: Source, T: Send + Sync + 'static> Flow<S, T> {
    /// Adds a stage of your own.
    pub fn stage<G: Stage<T>>(self, stage: G) -> Flow<S, G::Out> {
        let name = stage.name();
        self.named_stage(name, stage)
    }

    /// Adds a stage under another name. Names stand in reports, in dead letters and in the plan's fingerprint.
    pub fn named_stage<G: Stage<T>>(self, name: impl Into<String>, stage: G) -> Flow<S, G::Out> {
        let stages = Arc::new(Then { before: self.stages, stage, name: name.into() });
        Flow { name: self.name, source: self.source, stages }
    }

    /// Makes another value of each record.
    pub fn map<U: Send + Sync + 'static>(self, f: impl Fn(T) -> U + Send + Sync + 'static) -> Flow<S, U> {
        self.stage(Map(f))
    }

    /// Makes another value of each record, or says why there is none: the record goes to the dead letters.
    pub fn try_map<U, E>(self, f: impl Fn(T) -> Result<U, E> + Send + Sync + 'static) -> Flow<S, U>
    where
        U: Send + Sync + 'static,
        E: Display + 'static,
    {
        self.stage(TryMap(f, PhantomData))
    }

    /// Looks at each record: one that is wrong goes to the dead letters, with the error. What `check` returns on success is dropped, and
    /// the record goes on as it was, without being moved.
    pub fn validate<O, E>(self, check: impl Fn(&T) -> Result<O, E> + Send + Sync + 'static) -> Self
    where
        O: 'static,
        E: Display + 'static,
    {
        self.stage(Validate(check, PhantomData))
    }

    /// Keeps the records for which the closure returns true; the others are counted as filtered.
    pub fn filter(self, keep: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        self.stage(Filter(keep))
    }

    /// Makes any number of records of each one. None at all means that the record is filtered.
    pub fn flat_map<M>(self, f: impl Fn(T) -> M + Send + Sync + 'static) -> Flow<S, M::Item>
    where
        M: IntoIterator<Item: Send + Sync + 'static> + 'static,
    {
        self.stage(FlatMap(f, PhantomData))
    }

    /// Looks at each record and changes nothing.
    pub fn inspect(self, look: impl Fn(&Record<T>) + Send + Sync + 'static) -> Self {
        self.stage(Inspect(look))
    }

    /// Makes another value of each record by an `async` closure, at most `at_once` at the same time (at least 1). The records stay in
    /// order, and an error sends its record to the dead letters.
    pub fn map_async<U, E, Fut>(self, at_once: usize, f: impl Fn(T) -> Fut + Send + Sync + 'static) -> Flow<S, U>
    where
        U: Send + Sync + 'static,
        E: Display + 'static,
        Fut: Future<Output = Result<U, E>> + 'static,
    {
        self.stage(MapAsync { f, at_once: at_once.max(1), errors: PhantomData })
    }

    /// Enriches each record by a batched lookup: every record submits a job, all records of a chunk share the collector's batches, and
    /// `merge` puts the output in. A record whose job fails goes to the dead letters.
    ///
    /// With a tuple of collectors a record waits for all of them:
    /// `.through((carriers, airports), |d| (GetCarrier(d.carrier), GetAirport(d.dest)), |d, (carrier, airport)| …)`.
    pub fn through<L: Lookup>(
        self,
        lookup: L,
        to_jobs: impl Fn(&T) -> L::Jobs + Send + Sync + 'static,
        merge: impl Fn(&mut T, L::Outputs) + Send + Sync + 'static,
    ) -> Self {
        self.stage(Through { lookup, to_jobs, merge, within: None })
    }

    /// As [`through`](Self::through), but a record that has not all its answers within this time goes to the dead letters.
    pub fn through_within<L: Lookup>(
        self,
        within: Duration,
        lookup: L,
        to_jobs: impl Fn(&T) -> L::Jobs + Send + Sync + 'static,
        merge: impl Fn(&mut T, L::Outputs) + Send + Sync + 'static,
    ) -> Self {
        self.stage(Through { lookup, to_jobs, merge, within: Some(within) })
    }

    /// Filters records whose key is among those of the last `window` records that passed. The keys are kept in memory, and each
    /// run begins without any.
    pub fn dedupe<K>(self, key: impl Fn(&T) -> K + Send + Sync + 'static, window: usize) -> Self
    where
        K: Hash + Eq + Clone + Send + 'static,
    {
        self.stage(Dedupe::new(key, window))
    }

    /// Holds each record for the quiet time, and filters it if a newer one of its key comes meanwhile: of a burst only the last record
    /// passes. It is for sources that go on for ever; at most two chunks are held, so a busy source waits.
    pub fn debounce<K>(self, key: impl Fn(&T) -> K + Send + Sync + 'static, quiet: Duration) -> Self
    where
        K: Hash + Eq + Clone + Send + 'static,
    {
        self.stage(Debounce::new(key, quiet))
    }

    /// Lets no more than this many records pass in a second, on average and over all readers. A chunk passes as a whole and then the next one
    /// waits, so choose a small [`chunk`](PipelineBuilder::chunk) where bursts matter.
    ///
    /// # Panics
    ///
    /// If the rate is not above 0.
    pub fn throttle(self, records_per_second: f64) -> Self {
        assert!(records_per_second > 0.0, "`throttle` must be above 0 records a second (got {records_per_second})");
        self.stage(Throttle::new(records_per_second))
    }

    /// Writes the records to a sink.
    pub fn write<K: IntoSink<T>>(self, sink: K) -> PipelineBuilder<S, T, One<T, K>> {
        self.write_to(One::new(sink))
    }

    /// Writes every record to two sinks: it has settled when both have settled it. Each is a sink with its settings ([`One`]), or again
    /// several.
    pub fn tee<A: Outlet<T>, B: Outlet<T>>(self, first: A, second: B) -> PipelineBuilder<S, T, Tee<A, B>>
    where
        T: Clone,
    {
        self.write_to(Tee { first, second })
    }

    /// Writes the records for which the closure returns true to one sink, and the others to another.
    pub fn branch(
        self,
        is_first: impl Fn(&T) -> bool + Send + Sync + 'static,
        first: impl Outlet<T>,
        second: impl Outlet<T>,
    ) -> PipelineBuilder<S, T, Route<T>> {
        let choose = move |record: &T| Some(usize::from(!is_first(record)));
        self.write_to(Route { outlets: vec![Box::new(first), Box::new(second)], choose: Box::new(choose) })
    }

    /// Writes each record to the sink of its key. A record whose key has no sink is filtered.
    pub fn route<K, O>(
        self,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
        sinks: impl IntoIterator<Item = (K, O)>,
    ) -> PipelineBuilder<S, T, Route<T>>
    where
        K: Eq + Hash + Send + Sync + 'static,
        O: Outlet<T>,
    {
        let mut numbers = std::collections::HashMap::new();
        let mut outlets: Vec<Box<dyn Outlet<T>>> = Vec::new();
        for (key, outlet) in sinks {
            numbers.insert(key, outlets.len());
            outlets.push(Box::new(outlet));
        }
        let choose = move |record: &T| numbers.get(&key(record)).copied();
        self.write_to(Route { outlets, choose: Box::new(choose) })
    }

    /// Writes the records to any outlet.
    pub fn write_to<O: Outlet<T>>(self, outlet: O) -> PipelineBuilder<S, T, O> {
        PipelineBuilder::new(self.name, self.source, self.stages, outlet)
    }
}

impl<S: Source, T: Send + Sync + 'static> std::fmt::Debug for Flow<S, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flow").field("name", &self.name).field("stages", &self.stages.names()).finish_non_exhaustive()
    }
}
