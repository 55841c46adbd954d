//! Copies one range: reads chunks, sends them through the stages to the sinks, and follows what settles.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
};

use futures_util::{
    StreamExt,
    future::{Fuse, FusedFuture, FutureExt},
    stream::FuturesOrdered,
};
use tokio::task::yield_now;

use super::{
    Shared,
    control::{Command, Commands},
    lanes::{Lanes, Sent},
    prefix::{Mark, Prefix},
    publisher::Publisher,
    replies::{Endings, Replies},
};
use crate::{
    checkpoint::RangeCheckpoint,
    error::RunError,
    record::Position,
    rejection::Rejection,
    source::{Chunk, More, Range, Reader, Source, SourceError},
    stage::{Chain, Ledger},
};

/// Chunks that pass the stages at the same time, so that a lookup never waits for the next chunk.
const CHUNKS_AT_ONCE: usize = 2;

/// Dead letters that wait for a sink to store them: with more of them, reading waits.
pub(super) const LETTERS_AT_ONCE: usize = 10_000;

/// A chunk that has passed the stages.
struct Staged<T, C> {
    records: Vec<crate::record::Record<T>>,
    ledger: Ledger,
    end: Mark<C>,
    /// Source records of the chunk.
    read: usize,
}

type Reading<S> =
    (<S as Source>::Reader, Chunk<<S as Source>::Record, <S as Source>::Cursor>, Result<More, SourceError>);

type Local<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// One range on its way.
pub(super) struct RangeCopy<S: Source, T: Send + Sync + 'static> {
    pub(super) source: Arc<S>,
    pub(super) stages: Arc<dyn Chain<S::Record, T>>,
    pub(super) lanes: Lanes<T>,
    pub(super) start: RangeCheckpoint,
    pub(super) shared: Arc<Shared>,
    pub(super) commands: Commands,
}

/// What one range has in flight.
struct Flight<'a, S: Source, T: Send + Sync + 'static> {
    stages: &'a dyn Chain<S::Record, T>,
    shared: &'a Shared,
    lanes: Lanes<T>,
    staging: FuturesOrdered<Local<'a, Staged<T, S::Cursor>>>,
    replies: Replies<T>,
    prefix: Prefix<S::Cursor>,
    publisher: Publisher<S::Cursor>,
    /// Source records that pass the stages now.
    in_stages: usize,
    next_record: u64,
    range: u32,
    /// Records that the chunk at hand may have at most.
    limit: usize,
    /// Records of the chunk before: the next one is likely to have as many.
    last_read: usize,
    /// Nothing more is to be read.
    at_end: bool,
    /// The end is that of `max_records`, not that of the range.
    is_cut: bool,
    /// The reader has nothing until it is told that more has settled.
    waits_for_settling: bool,
}

impl<S: Source, T: Send + Sync + 'static> RangeCopy<S, T> {
    /// Copies the range to its end, or until the run is stopped. Returns whether it came to its end.
    pub(super) async fn run(self) -> Result<bool, RunError> {
        let Self { source, stages, lanes, start, shared, mut commands } = self;
        let range = Range::<S::Cursor>::load(shared.cursor_version, start.cursor.as_ref(), start.to.as_ref())?;
        let mut idle = Some(source.open(&range).await?);
        let mut reading: Fuse<Local<'_, Reading<S>>> = Fuse::terminated();
        let mut flight = Flight::<S, T>::new(&*stages, &shared, lanes, &start);
        loop {
            let command = commands.now();
            if command.failed {
                return Ok(false);
            }
            if let Some(reader) = idle.take_if(|_| flight.may_read(command)) {
                match flight.read(reader).await? {
                    Ok(next) => reading = next.fuse(),
                    Err(reader) => idle = Some(reader),
                }
            }
            if reading.is_terminated() && flight.is_finished(command) {
                break;
            }
            tokio::select! {
                biased;
                _ = commands.changed() => {}
                () = shared.saves.next(), if flight.waits_for_checkpoint() => flight.publish()?,
                () = shared.saves.wait_until(|| shared.has_room_for_letters()), if !shared.has_room_for_letters() => {}
                Some(staged) = flight.staging.next(), if !flight.staging.is_empty() && !command.holds_stages() => {
                    flight.send(staged)?;
                    yield_now().await;
                }
                endings = flight.replies.settle(), if !flight.replies.is_empty() => flight.settle(endings)?,
                (reader, chunk, more) = &mut reading, if !reading.is_terminated() => {
                    idle = Some(reader);
                    flight.stage(chunk, more?);
                }
            }
        }
        flight.finish(idle, &shared, commands).await
    }
}

impl<'a, S: Source, T: Send + Sync + 'static> Flight<'a, S, T> {
    fn new(stages: &'a dyn Chain<S::Record, T>, shared: &'a Shared, lanes: Lanes<T>, start: &RangeCheckpoint) -> Self {
        Self {
            stages,
            shared,
            lanes,
            staging: FuturesOrdered::new(),
            replies: Replies::new(),
            prefix: Prefix::new(),
            publisher: Publisher::new(start.range),
            in_stages: 0,
            next_record: start.record,
            range: start.range,
            limit: 0,
            last_read: 0,
            at_end: start.done,
            is_cut: false,
            waits_for_settling: false,
        }
    }

    fn may_read(&self, command: Command) -> bool {
        let at_once = if self.stages.is_stateful() { 1 } else { CHUNKS_AT_ONCE };
        !self.at_end
            && !command.paused
            && !command.stopping
            && self.shared.has_room_for_letters()
            && self.staging.len() < at_once
            && self.replies.len() + self.in_stages < self.shared.look_ahead()
            && (!self.waits_for_settling || self.publisher.has_news(self.shared))
    }

    /// The reader waits to be told of records that have settled, and no checkpoint holds them yet.
    fn waits_for_checkpoint(&self) -> bool {
        self.waits_for_settling && self.publisher.waits() && !self.publisher.has_news(self.shared)
    }

    fn is_finished(&self, command: Command) -> bool {
        (self.at_end || command.stopping) && self.staging.is_empty() && self.replies.is_empty()
    }

    /// Begins to read a chunk. If the run may read no more records, the reader comes back.
    async fn read(&mut self, mut reader: S::Reader) -> Result<Result<Local<'a, Reading<S>>, S::Reader>, RunError> {
        self.publisher.acknowledge(&mut reader, self.shared).await?;
        let Some(limit) = self.shared.budget.take(self.shared.chunk) else {
            self.at_end = true;
            self.is_cut = true;
            self.lanes.flush();
            return Ok(Err(reader));
        };
        self.limit = limit;
        let mut chunk = Chunk::new(self.range, self.next_record);
        chunk.records.reserve(self.last_read.min(limit));
        Ok(Ok(Box::pin(async move {
            let more = reader.read(&mut chunk, limit).await;
            (reader, chunk, more)
        })))
    }

    /// A chunk has been read: it passes the stages.
    fn stage(&mut self, chunk: Chunk<S::Record, S::Cursor>, more: More) {
        let counters = &self.shared.counters;
        let read = chunk.len();
        self.last_read = read;
        self.at_end = more == More::No;
        self.waits_for_settling = more == More::OnceSettled && S::Reader::ACKNOWLEDGES;
        self.next_record = chunk.next_record();
        self.in_stages += read;
        counters.read.fetch_add(read as u64, Ordering::Relaxed);
        counters.passed.fetch_add(chunk.progress, Ordering::Relaxed);
        self.shared.budget.give_back(self.limit, read);
        let end = Mark { record: self.next_record, cursor: chunk.after };
        let (stages, source) = (self.stages, &self.shared.source);
        let mut ledger = Ledger::default();
        ledger.rejected.extend(chunk.unreadable.into_iter().map(|record| unreadable(source, record)));
        self.staging.push_back(Box::pin(async move {
            let records = stages.run(chunk.records, &mut ledger).await;
            Staged { records, ledger, end, read }
        }));
    }

    /// A chunk has passed the stages: its records go to the sinks.
    fn send(&mut self, staged: Staged<T, S::Cursor>) -> Result<(), RunError> {
        let Staged { records, mut ledger, end, read } = staged;
        self.in_stages -= read;
        if let Some(broken) = ledger.broken {
            return Err(broken.into());
        }
        let counters = &self.shared.counters;
        counters.produced.fetch_add(ledger.produced, Ordering::Relaxed);
        ledger.rejected.sort_by_key(|rejection| place(rejection.position));
        self.reject(&ledger.rejected)?;
        let mut rejected = ledger.rejected.iter().map(|rejection| place(rejection.position)).peekable();
        let before = self.replies.len();
        let mut unwanted = 0;
        for record in records {
            // Between this record and the one before lies a rejected one: they must not stand in one interval.
            while rejected.next_if(|rejected| *rejected <= place(record.position())).is_some() {
                self.lanes.mark_gap();
            }
            match self.lanes.send(record, &mut self.replies) {
                Sent::ToSinks => {}
                Sent::ToNone => unwanted += 1,
                Sent::Rejected(rejection) => self.shared.letters.push(&rejection),
            }
        }
        rejected.for_each(|_| self.lanes.mark_gap());
        counters.filtered.fetch_add(ledger.filtered + unwanted, Ordering::Relaxed);
        self.prefix.sent(end, self.replies.len() - before);
        if (self.at_end || self.waits_for_settling) && self.staging.is_empty() {
            self.lanes.flush();
        }
        self.publish()
    }

    fn reject(&self, rejected: &[Rejection]) -> Result<(), RunError> {
        rejected.iter().for_each(|rejection| self.shared.letters.push(rejection));
        self.shared.count_rejected(rejected.len() as u64)
    }

    /// Replies have come.
    fn settle(&mut self, endings: Endings) -> Result<(), RunError> {
        let counters = &self.shared.counters;
        (0..endings.settled()).for_each(|_| self.prefix.settle_first());
        counters.written.fetch_add(endings.written, Ordering::Relaxed);
        counters.skipped.fetch_add(endings.skipped, Ordering::Relaxed);
        self.shared.count_rejected(endings.rejected)?;
        if let Some(failure) = endings.failure {
            return Err(failure);
        }
        self.shared.stop_after_max_batches();
        // What waited for room in the collector is in an open batch now.
        if (self.at_end || self.waits_for_settling) && self.staging.is_empty() && !self.replies.is_empty() {
            self.lanes.flush();
        }
        self.publish()
    }

    /// Tells the checkpoint how far the range has settled, as far as the dead letters are durable.
    fn publish(&mut self) -> Result<(), RunError> {
        if let Some(mark) = self.prefix.advance() {
            self.publisher.moved(mark, self.shared.letters.written());
        }
        self.publisher.publish(self.shared)
    }

    async fn finish(
        mut self,
        idle: Option<S::Reader>,
        shared: &Shared,
        mut commands: Commands,
    ) -> Result<bool, RunError> {
        shared.sync_letters().await?;
        self.publish()?;
        let complete = self.at_end && self.prefix.is_settled() && !self.is_cut;
        shared.settled.update(self.range, |range| range.done = complete);
        if let Some(mut reader) = idle {
            if let Some(record) = self.publisher.last_unacknowledged().filter(|_| S::Reader::ACKNOWLEDGES) {
                tokio::select! {
                    () = shared.saves.wait_for(self.range, record) => {}
                    // Nothing will be saved for this reader.
                    () = commands.failed() => {}
                }
            }
            self.publisher.acknowledge(&mut reader, shared).await?;
            reader.close().await?;
        }
        Ok(complete)
    }
}

fn place(position: Position) -> (u64, u32) {
    (position.record, position.part)
}

fn unreadable(source: &str, record: crate::record::Record<crate::source::Unreadable>) -> Rejection {
    let (position, origin) = (record.position(), record.origin().clone());
    let crate::source::Unreadable { reason, text } = record.into_value();
    Rejection { position, origin, by: source.to_owned(), error: reason, attempts: 0, record: text }
}
