//! Where a run goes on: what the stores hold, checked against the plan and the source.

use serde_json::Value;
use tracing::info;

use super::{Plan, source_range::to_json};
use crate::{
    checkpoint::{Checkpoint, CheckpointError, CheckpointErrorKind, Intervals, RangeCheckpoint, Store},
    dead_letters::PendingLetters,
    error::RunError,
    record::Position,
    source::{Cursor, Identity, Source, SourceError},
};

/// The stores of a run: those of the sinks, and one for the sinks that have none.
#[derive(Debug)]
pub(crate) struct Stores {
    /// For each sink, its own.
    pub(crate) sinks: Vec<Option<Box<dyn Store>>>,
    pub(crate) own: Option<Box<dyn Store>>,
}

/// Where a run goes on.
#[derive(Debug)]
pub(crate) struct Resume {
    /// Where the readers begin: what every sink has settled.
    pub(crate) checkpoint: Checkpoint,
    /// What each sink holds beyond that.
    pub(crate) written: Vec<Option<Checkpoint>>,
    /// Whether there was a checkpoint.
    pub(crate) goes_on: bool,
}

impl Stores {
    pub(crate) fn is_empty(&self) -> bool {
        self.own.is_none() && self.sinks.iter().all(Option::is_none)
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Box<dyn Store>> {
        self.sinks.iter_mut().flatten().chain(&mut self.own)
    }

    pub(crate) async fn lease(&mut self) -> Result<(), CheckpointError> {
        for store in self.all() {
            store.lease().await?;
        }
        Ok(())
    }

    pub(crate) async fn clear(&mut self) -> Result<(), CheckpointError> {
        for store in self.all() {
            store.clear().await?;
        }
        Ok(())
    }

    /// Stores the checkpoint everywhere: first beside the data, so that the other place never runs ahead of it.
    pub(crate) async fn save(
        &mut self,
        checkpoint: &Checkpoint,
        letters: &PendingLetters,
    ) -> Result<(), CheckpointError> {
        let letters: Vec<_> = letters.iter().collect();
        for store in self.all() {
            if store.keeps_dead_letters() && !letters.is_empty() {
                store.save_dead_letters(&letters).await?;
            }
            store.save(checkpoint).await?;
        }
        Ok(())
    }

    /// Whether rejected records are kept beside the data.
    pub(crate) fn keep_dead_letters(&self) -> bool {
        self.sinks.iter().flatten().chain(&self.own).any(|store| store.keeps_dead_letters())
    }

    /// What each sink has settled: its own store outranks the other place.
    async fn load(&mut self) -> Result<Vec<Option<Checkpoint>>, CheckpointError> {
        let own = match &mut self.own {
            Some(store) => store.load().await?,
            None => None,
        };
        let mut loaded = Vec::new();
        for sink in &mut self.sinks {
            loaded.push(match sink {
                Some(store) => store.load().await?,
                None => own.clone(),
            });
        }
        Ok(loaded)
    }
}

impl Resume {
    /// Finds out where to go on.
    pub(crate) async fn find<S: Source, T: Send + Sync + 'static>(
        run: &Plan<S, T>,
        stores: &mut Stores,
    ) -> Result<Self, RunError> {
        let (source, plan) = (&*run.source, &*run.fingerprint());
        let identity = source.identity().await?;
        let mut written = stores.load().await?;
        // A run that failed before anything was written leaves nothing that another plan could harm.
        if source.is_resumable()
            && written.iter().flatten().any(|checkpoint| checkpoint.plan != plan)
            && written.iter().flatten().all(Checkpoint::is_untouched)
        {
            stores.clear().await?;
            written = stores.load().await?;
        }
        for checkpoint in written.iter().flatten().filter(|_| source.is_resumable()) {
            check(source, plan, checkpoint).await?;
            run.check_range(checkpoint)?;
        }
        let behind = written.iter().flatten().next().cloned();
        let Some(mut checkpoint) = behind else {
            let checkpoint = first(run, identity, None).await?;
            return Ok(Self { checkpoint, written, goes_on: false });
        };
        for other in &written {
            keep_behind(&mut checkpoint, other.as_ref());
        }
        begin_again(&mut checkpoint, source.is_resumable(), &written);
        migrate::<S::Cursor>(&mut checkpoint)?;
        checkpoint.plan = plan.to_owned();
        checkpoint.identity = identity;
        info!(
            records = checkpoint.ranges.iter().map(|range| range.record).sum::<u64>(),
            "going on from the checkpoint"
        );
        Ok(Self { checkpoint, written, goes_on: true })
    }

    /// Begins at a cursor, whatever the stores hold.
    pub(crate) async fn start_at<S: Source, T: Send + Sync + 'static>(
        run: &Plan<S, T>,
        cursor: Option<Value>,
        sinks: usize,
    ) -> Result<Self, RunError> {
        let identity = run.source.identity().await?;
        let checkpoint = first(run, identity, cursor).await?;
        Ok(Self { checkpoint, written: vec![None; sinks], goes_on: false })
    }

    /// Whether a record lies before what will be read.
    pub(crate) fn has_settled(&self, position: Position) -> bool {
        let range = self.checkpoint.ranges.iter().find(|known| known.range == position.range);
        range.is_some_and(|range| position.record < range.record)
    }

    /// What each sink holds of this range.
    pub(crate) fn written_of(&self, range: u32) -> Vec<Option<RangeCheckpoint>> {
        let find = |checkpoint: &Checkpoint| checkpoint.ranges.iter().find(|known| known.range == range).cloned();
        self.written.iter().map(|checkpoint| checkpoint.as_ref().and_then(find)).collect()
    }
}

async fn first<S: Source, T: Send + Sync + 'static>(
    run: &Plan<S, T>,
    identity: Identity,
    from: Option<Value>,
) -> Result<Checkpoint, RunError> {
    let from = from.map(|stored| S::Cursor::load(S::Cursor::VERSION, stored)).transpose()?;
    let ranges = run.split(from).await?;
    let ranges = (0..).zip(ranges).map(|(number, range)| {
        Ok(RangeCheckpoint::new(number, to_json(range.from.as_ref())?, to_json(range.to.as_ref())?))
    });
    Ok(Checkpoint {
        plan: run.fingerprint(),
        identity,
        cursor_version: S::Cursor::VERSION,
        ranges: ranges.collect::<Result<_, SourceError>>()?,
        sink: Value::Null,
    })
}

/// Whether a checkpoint belongs to this plan and this source.
async fn check<S: Source>(source: &S, plan: &str, checkpoint: &Checkpoint) -> Result<(), RunError> {
    if checkpoint.plan != plan {
        let message = format!(
            "the checkpoint belongs to another plan: it was made for [{}], and this is [{plan}]. Run with `fresh` to start again, or \
             give the pipeline another name",
            checkpoint.plan
        );
        return Err(CheckpointError::new(CheckpointErrorKind::OtherPlan, message).into());
    }
    source.verify(&checkpoint.identity).await?;
    Ok(())
}

/// Turns what has settled into what a run begins with.
fn begin_again(checkpoint: &mut Checkpoint, is_resumable: bool, written: &[Option<Checkpoint>]) {
    for range in &mut checkpoint.ranges {
        // What lies beyond belongs to the sink that has written it, and each sink knows its own.
        range.beyond = Intervals::default();
        // A range without an end may have grown.
        range.done &= range.to.is_some();
        if !is_resumable {
            range.record = first_free(range.range, written);
            range.cursor.clone_from(&range.from);
        }
    }
}

/// Brings the cursors of an older program to their present form.
fn migrate<C: Cursor>(checkpoint: &mut Checkpoint) -> Result<(), SourceError> {
    if checkpoint.cursor_version == C::VERSION {
        return Ok(());
    }
    for range in &mut checkpoint.ranges {
        for cursor in [&mut range.from, &mut range.to, &mut range.cursor] {
            let stored = cursor.take().map(|stored| C::load(checkpoint.cursor_version, stored)).transpose()?;
            *cursor = to_json(stored.as_ref())?;
        }
    }
    checkpoint.cursor_version = C::VERSION;
    Ok(())
}

/// The number for the next record of a source that cannot be read again: no sink has seen it, so it takes no other record's place.
fn first_free(range: u32, written: &[Option<Checkpoint>]) -> u64 {
    let ranges =
        written.iter().flatten().flat_map(|checkpoint| &checkpoint.ranges).filter(|known| known.range == range);
    let ends = ranges.map(|known| known.beyond.iter().last().map_or(0, |last| last.last.0 + 1).max(known.record));
    ends.max().unwrap_or(0)
}

/// Of two checkpoints, for each range the one that has settled less; nothing at all if one is missing.
fn keep_behind(checkpoint: &mut Checkpoint, other: Option<&Checkpoint>) {
    for range in &mut checkpoint.ranges {
        let found = other.and_then(|other| other.ranges.iter().find(|known| known.range == range.range));
        match found {
            Some(found) if found.record < range.record || !found.done => {
                let least = if found.record < range.record { found.clone() } else { range.clone() };
                *range = RangeCheckpoint { done: false, ..least };
            }
            Some(_) => {}
            None => *range = RangeCheckpoint::new(range.range, range.from.clone(), range.to.clone()),
        }
    }
}
