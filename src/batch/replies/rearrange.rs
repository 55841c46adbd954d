//! Rearranges replies: appends, deals and partitions them. Only runs move; slots stay where they are.

use std::{mem, sync::Arc, vec};

use super::{Replies, Requester};
use crate::{
    batch::{BatchMetadata, Block, run::Run},
    job::{Job, JobId},
};

/// Where one reply waits.
enum ReplyPlace<'r, J: Job> {
    Slot(&'r Arc<Block<J>>, u32),
    Requester(JobId, Requester<J>),
}

impl<'r, J: Job> ReplyPlace<'r, J> {
    /// The place at this offset of a run. The run's requesters are taken in their order.
    fn of(run: &'r Run<J>, offset: u32, requesters: &mut vec::IntoIter<Requester<J>>) -> Self {
        match run {
            Run::Slots { block, at, .. } => Self::Slot(block, at + offset),
            Run::Requesters { first, .. } => {
                Self::Requester(JobId(first + u64::from(offset)), requesters.next().flatten())
            }
        }
    }
}

impl<J: Job> Replies<J> {
    /// Adds other replies and their metadata at the end.
    pub(crate) fn append(&mut self, mut others: Self) {
        let mut requesters = mem::take(&mut others.requesters).into_iter();
        for run in mem::take(&mut others.runs) {
            for offset in 0..run.len() {
                self.push(ReplyPlace::of(&run, offset, &mut requesters));
            }
        }
        others.len = 0;
        if let Some(metadata) = others.metadata.take() {
            self.metadata.get_or_insert_default().append(*metadata);
        }
    }

    /// Divides the replies among batches. Each batch lists the positions of its replies. A reply that no batch lists is `Lost`.
    pub(crate) fn deal(mut self, batches: &[Vec<usize>]) -> Vec<Self> {
        let runs = mem::take(&mut self.runs);
        let mut metadata = self.metadata.take();
        let mut requesters = mem::take(&mut self.requesters).into_iter();
        let places = runs.iter().flat_map(|run| (0..run.len()).map(move |offset| (run, offset)));
        let mut places: Vec<_> =
            places.map(|(run, offset)| Some(ReplyPlace::of(run, offset, &mut requesters))).collect();
        self.len = 0;
        let dealt = batches.iter().map(|batch| {
            let mut replies = Self::default();
            for place in batch.iter().filter_map(|at| places.get_mut(*at)?.take()) {
                replies.push(place);
            }
            replies.take_metadata(&mut metadata);
            replies
        });
        let dealt = dealt.collect();
        places.into_iter().flatten().for_each(|place| self.push(place));
        dealt
    }

    fn push(&mut self, place: ReplyPlace<'_, J>) {
        match place {
            ReplyPlace::Slot(block, at) => self.push_slot(block, at),
            ReplyPlace::Requester(job, requester) => self.push_requester(job, requester),
        }
    }

    /// Divides the replies in two, in order: those at the positions for which `take` returns true, and the rest.
    pub(crate) fn partition(mut self, mut take: impl FnMut(usize) -> bool) -> (Self, Self) {
        let (mut taken, mut rest) = (Self::default(), Self::default());
        let mut requesters = mem::take(&mut self.requesters).into_iter();
        let mut position = 0;
        for run in mem::take(&mut self.runs) {
            for offset in 0..run.len() {
                let side = if take(position) { &mut taken } else { &mut rest };
                position += 1;
                side.push(ReplyPlace::of(&run, offset, &mut requesters));
            }
        }
        self.len = 0;
        let mut metadata = self.metadata.take();
        taken.take_metadata(&mut metadata);
        rest.take_metadata(&mut metadata);
        (taken, rest)
    }

    /// Moves the metadata of these jobs here, out of the whole batch's.
    fn take_metadata(&mut self, whole: &mut Option<Box<BatchMetadata>>) {
        if let Some(whole) = whole {
            let taken = whole.take(&self.ids());
            self.metadata = if taken.is_empty() { None } else { Some(Box::new(taken)) };
        }
    }
}
