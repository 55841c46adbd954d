//! The way of one range's records to the sinks.

use std::sync::Arc;

use actix_batch::Collector;

use super::replies::Replies;
use crate::{checkpoint::RangeCheckpoint, outlet::Outlet, record::Record, rejection::Rejection};

/// The sinks of a run, as one range sees them.
pub(super) struct Lanes<T: Send + Sync + 'static> {
    outlet: Arc<dyn Outlet<T>>,
    is_one: bool,
    each: Vec<Lane<T>>,
}

/// Where a record has gone.
pub(super) enum Sent {
    ToSinks,
    /// No sink wants it: it is filtered.
    ToNone,
    /// It is not known where it goes. That is counted by its replies.
    Rejected(Rejection),
}

/// One sink, and what it holds of the range already.
struct Lane<T: Send + Sync + 'static> {
    collector: Collector<Record<T>>,
    /// What an earlier run has written; `None` once that lies behind.
    written: Option<RangeCheckpoint>,
    sequence: u64,
}

impl<T: Send + Sync + 'static> Lanes<T> {
    /// `written`: for each sink, what it holds of this range.
    pub(super) fn new(
        outlet: Arc<dyn Outlet<T>>,
        collectors: &[Collector<Record<T>>],
        written: impl IntoIterator<Item = Option<RangeCheckpoint>>,
    ) -> Self {
        let lanes = collectors.iter().zip(written).map(|(collector, written)| Lane {
            collector: collector.clone(),
            written,
            sequence: 0,
        });
        Self { is_one: outlet.is_one(), outlet, each: lanes.collect() }
    }

    /// A record that was rejected lies between what was sent and what comes.
    pub(super) fn mark_gap(&mut self) {
        self.each.iter_mut().for_each(|lane| lane.sequence += 1);
    }

    /// Sends a record to its sinks.
    #[inline]
    pub(super) fn send(&mut self, record: Record<T>, replies: &mut Replies<T>) -> Sent {
        let Self { outlet, is_one, each: lanes } = self;
        // A large record is not moved through a call that has nothing to choose.
        if let (true, [lane]) = (*is_one, lanes.as_mut_slice()) {
            replies.push_one(lane.send(record));
            return Sent::ToSinks;
        }
        let (mut is_wanted, mut several) = (false, Vec::new());
        let (position, origin) = (record.position(), record.origin().clone());
        let sent = outlet.send(record, &mut |sink, record| {
            if let Some(lane) = lanes.get_mut(sink) {
                is_wanted = true;
                several.extend(lane.send(record));
            }
        });
        if let Err(error) = sent {
            replies.push_rejected(several);
            self.mark_gap();
            let by = self.outlet.describe().join(" | ");
            return Sent::Rejected(Rejection { position, origin, by, error, attempts: 0, record: None });
        }
        if !is_wanted {
            return Sent::ToNone;
        }
        replies.push(several);
        Sent::ToSinks
    }

    /// No more records come: what the collectors have buffered is sent at once.
    pub(super) fn flush(&self) {
        for lane in &self.each {
            let collector = lane.collector.clone();
            // A collector that has ended answers its records itself.
            actix_rt::spawn(async move {
                let _ = collector.flush().await;
            });
        }
    }
}

impl<T: Send + Sync + 'static> Lane<T> {
    /// Sends a record, unless the sink holds it.
    #[inline]
    fn send(&mut self, mut record: Record<T>) -> Option<actix_batch::Submit<Record<T>>> {
        if self.holds(&record) {
            self.sequence += 1;
            return None;
        }
        self.sequence += 1;
        record.set_sequence(self.sequence);
        Some(self.collector.submit(record))
    }

    fn holds(&mut self, record: &Record<T>) -> bool {
        let Some(written) = &self.written else { return false };
        let position = record.position();
        let holds = position.record < written.record || written.beyond.contains(position);
        let is_last = written.beyond.iter().last().is_none_or(|last| last.last.0 < position.record);
        if position.record >= written.record && is_last {
            self.written = None;
        }
        holds
    }
}
