//! What a stage makes of a chunk.

use std::fmt::Display;

use crate::{panics::catch, record::Record, rejection::Rejection};

/// Where a stage puts its records.
#[derive(Debug)]
pub struct Output<T> {
    pub(super) records: Vec<Record<T>>,
    pub(super) rejected: Vec<Rejection>,
    pub(super) filtered: u64,
    pub(super) produced: u64,
    stage: String,
    /// The source record whose parts came last, and the next part's number.
    parts: (u64, u32),
}

impl<T> Output<T> {
    pub(super) fn new(stage: String, capacity: usize) -> Self {
        let records = Vec::with_capacity(capacity);
        Self { records, rejected: Vec::new(), filtered: 0, produced: 0, stage, parts: (u64::MAX, 0) }
    }

    /// Passes a record on.
    #[inline]
    pub fn emit(&mut self, record: Record<T>) {
        self.records.push(record);
    }

    /// Passes on all that was made of one record, each as a part of it. Nothing at all means that the record was filtered.
    pub fn emit_parts(&mut self, record: &Record<()>, values: impl IntoIterator<Item = T>) {
        let number = record.position().record;
        let mut part = if self.parts.0 == number { self.parts.1 } else { 0 };
        let before = self.records.len();
        for value in values {
            let mut made = record.clone().map(|()| value);
            made.set_part(part);
            part += 1;
            self.records.push(made);
        }
        self.parts = (number, part);
        match (self.records.len() - before) as u64 {
            0 => self.filtered += 1,
            made => self.produced += made - 1,
        }
    }

    /// The record is not wanted.
    #[inline]
    pub fn filter<R>(&mut self, _record: Record<R>) {
        self.filtered += 1;
    }

    /// The record is wrong: it goes to the dead letters.
    pub fn reject<R>(&mut self, record: &Record<R>, error: impl Display) {
        self.rejected.push(Rejection {
            position: record.position(),
            origin: record.origin().clone(),
            by: self.stage.clone(),
            error: error.to_string(),
            attempts: 0,
            record: None,
        });
    }

    /// Calls `f` for each record's value, and `put` for what it returns. If `f` panics, that record is rejected.
    #[inline]
    pub(super) fn each<I, R>(
        &mut self,
        records: Vec<Record<I>>,
        f: impl Fn(I) -> R,
        put: impl Fn(&mut Self, Record<()>, R),
    ) {
        for record in records {
            let (value, place) = record.take();
            match catch(|| f(value)) {
                Ok(made) => put(self, place, made),
                Err(panic) => self.reject(&place, panic),
            }
        }
    }

    /// As [`each`](Self::each), for closures that only look at a record.
    #[inline]
    pub(super) fn each_ref<R>(
        &mut self,
        records: Vec<Record<T>>,
        f: impl Fn(&Record<T>) -> R,
        mut put: impl FnMut(&mut Self, Record<T>, R),
    ) {
        for record in records {
            match catch(|| f(&record)) {
                Ok(seen) => put(self, record, seen),
                Err(panic) => self.reject(&record, panic),
            }
        }
    }

    /// How many of the records that went in this accounts for.
    pub(super) fn accounted_for(&self) -> u64 {
        (self.records.len() + self.rejected.len()) as u64 + self.filtered - self.produced
    }
}
