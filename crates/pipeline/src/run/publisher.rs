//! How far a range has settled, told to the checkpoint and, once that is stored, to the source.

use std::collections::VecDeque;

use super::{Shared, prefix::Mark};
use crate::{
    error::RunError,
    source::{Cursor, Reader, SourceError},
};

/// Moves the shared prefix of a range forward, once the letters of the records before it are durable.
pub(super) struct Publisher<C> {
    range: u32,
    /// This far as soon as this many letters are durable.
    next: Option<(Mark<C>, u64)>,
    /// What came after `next` was chosen.
    latest: Option<(Mark<C>, u64)>,
    /// What the source has not been told yet: this far, once so many records are in the checkpoint.
    unacknowledged: VecDeque<(u64, C)>,
}

impl<C: Cursor> Publisher<C> {
    pub(super) fn new(range: u32) -> Self {
        Self { range, next: None, latest: None, unacknowledged: VecDeque::new() }
    }

    pub(super) fn moved(&mut self, mark: Mark<C>, letters: u64) {
        let place = if self.next.is_none() { &mut self.next } else { &mut self.latest };
        *place = Some((mark, letters));
    }

    pub(super) fn publish(&mut self, shared: &Shared) -> Result<(), RunError> {
        while let Some((mark, _)) = self.next.take_if(|(_, letters)| *letters <= shared.letters.synced()) {
            self.next = self.latest.take();
            let cursor = mark.cursor.as_ref().map(serde_json::to_value).transpose();
            let cursor = cursor.map_err(|error| SourceError::config(format!("the cursor is no JSON: {error}")))?;
            self.unacknowledged.extend(mark.cursor.map(|cursor| (mark.record, cursor)));
            shared.settled.update(self.range, |range| {
                range.record = mark.record;
                range.cursor = cursor.or(range.cursor.take());
            });
        }
        Ok(())
    }

    /// Whether there is something to tell the source that the checkpoint holds.
    pub(super) fn has_news(&self, shared: &Shared) -> bool {
        self.unacknowledged.front().is_some_and(|(record, _)| *record <= shared.saves.saved(self.range))
    }

    /// Whether there will be, once a checkpoint is stored.
    pub(super) fn waits(&self) -> bool {
        self.next.is_some() || !self.unacknowledged.is_empty()
    }

    pub(super) fn last_unacknowledged(&self) -> Option<u64> {
        self.unacknowledged.back().map(|(record, _)| *record)
    }

    /// Tells the source what the checkpoint holds, and asks for a checkpoint if there is more to tell.
    pub(super) async fn acknowledge<R: Reader<Cursor = C>>(
        &mut self,
        reader: &mut R,
        shared: &Shared,
    ) -> Result<(), SourceError> {
        if !R::ACKNOWLEDGES {
            self.unacknowledged.clear();
            return Ok(());
        }
        let saved = shared.saves.saved(self.range);
        let told = self.unacknowledged.iter().take_while(|(record, _)| *record <= saved).count();
        let cursor = self.unacknowledged.drain(..told).last().map(|(_, cursor)| cursor);
        if !self.unacknowledged.is_empty() {
            shared.saves.ask();
        }
        match cursor {
            Some(cursor) => reader.settled(&cursor).await,
            None => Ok(()),
        }
    }
}
