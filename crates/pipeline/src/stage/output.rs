//! What a stage makes of a chunk.

use std::{convert::Infallible, fmt::Display};

use crate::{panics::catch, record::Record, rejection::Rejection};

/// The size in bytes of a small record's value.
const SMALL: usize = 64;

/// Where a stage puts its records.
#[derive(Debug)]
pub struct Output<T> {
    pub(super) records: Vec<Record<T>>,
    pub(super) rejected: Vec<Rejection>,
    pub(super) filtered: u64,
    pub(super) produced: u64,
    stage: String,
    /// How many records will come, as a rule.
    expected: usize,
    /// The source record whose parts came last, and the next part's number.
    parts: (u64, u32),
}

impl<T> Output<T> {
    /// For so many records at least.
    pub(super) fn new(stage: String, expected: usize) -> Self {
        let (records, rejected, parts) = (Vec::new(), Vec::new(), (u64::MAX, 0));
        Self { records, rejected, filtered: 0, produced: 0, stage, expected, parts }
    }

    /// Passes a record on.
    #[inline]
    pub fn emit(&mut self, record: Record<T>) {
        if self.records.capacity() == 0 {
            self.records.reserve(self.expected);
        }
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
        // An error that panics when it is shown or dropped is this record's, too.
        let error = catch(move || error.to_string()).unwrap_or_else(|panic| panic);
        self.rejected.push(Rejection {
            position: record.position(),
            origin: record.origin().clone(),
            by: self.stage.clone(),
            error,
            attempts: 0,
            record: None,
        });
    }

    /// Makes another value of each record, in the same memory where that is possible. An error, or a panic of `f`, rejects that record.
    #[inline]
    pub(super) fn map<I, E: Display>(&mut self, records: Vec<Record<I>>, f: impl Fn(I) -> Result<T, E>) {
        if size_of::<I>() > SMALL || size_of::<T>() > size_of::<I>() {
            self.each(records, f, |out, place, value| out.emit(place.map(|()| value)));
            return;
        }
        let made = records.into_iter().filter_map(|record| {
            let (value, place) = record.take();
            match catch(|| f(value)) {
                Ok(Ok(made)) => return Some(place.map(|()| made)),
                Ok(Err(error)) => self.reject(&place, error),
                Err(panic) => self.reject(&place, panic),
            }
            None
        });
        let made = made.collect();
        self.records = made;
    }

    /// Calls `f` for each record's value, and `put` for what it returns. An error, or a panic of `f`, rejects that record.
    #[inline]
    pub(super) fn each<I, R, E: Display>(
        &mut self,
        records: Vec<Record<I>>,
        f: impl Fn(I) -> Result<R, E>,
        put: impl Fn(&mut Self, Record<()>, R),
    ) {
        // Each catch copies what it is given and what it returns, which is cheap for a small record alone.
        if size_of::<I>() <= SMALL {
            for record in records {
                let (value, place) = record.take();
                match catch(|| f(value)) {
                    Ok(Ok(made)) => put(self, place, made),
                    Ok(Err(error)) => self.reject(&place, error),
                    Err(panic) => self.reject(&place, panic),
                }
            }
            return;
        }
        let (mut records, mut at_hand) = (records.into_iter(), None);
        while let Err(panic) = catch(|| {
            for record in records.by_ref() {
                let (value, place) = record.take();
                at_hand = Some(place);
                let made = f(value);
                let Some(place) = at_hand.take() else { continue };
                match made {
                    Ok(made) => put(self, place, made),
                    Err(error) => self.reject(&place, error),
                }
            }
        }) {
            // The rest begins anew.
            if let Some(place) = at_hand.take() {
                self.reject(&place, panic);
            }
        }
    }

    /// Passes the records for which `keep` returns true on, and filters the others. If it panics, that record is rejected.
    #[inline]
    pub(super) fn keep(&mut self, records: Vec<Record<T>>, mut keep: impl FnMut(&Record<T>) -> bool) {
        self.try_keep(records, |record| Ok::<_, Infallible>(keep(record)));
    }

    /// As [`keep`](Self::keep); an error rejects that record, too.
    #[inline]
    pub(super) fn try_keep<E: Display>(
        &mut self,
        mut records: Vec<Record<T>>,
        mut keep: impl FnMut(&Record<T>) -> Result<bool, E>,
    ) {
        let (mut kept, rejected) = (Vec::with_capacity(records.len()), self.rejected.len());
        while kept.len() < records.len() {
            let looked = catch(|| {
                for record in &records[kept.len()..] {
                    let is_kept = keep(record).unwrap_or_else(|error| {
                        self.reject(record, error);
                        false
                    });
                    kept.push(is_kept);
                }
            });
            if let Err(panic) = looked {
                self.reject(&records[kept.len()], panic);
                kept.push(false);
            }
        }
        let (mut kept, before) = (kept.into_iter(), records.len());
        // Nothing is moved unless something goes.
        records.retain(|_| kept.next().unwrap_or(true));
        let rejected = self.rejected.len() - rejected;
        self.filtered += (before - records.len() - rejected) as u64;
        self.records = records;
    }

    /// How many of the records that went in this accounts for.
    pub(super) fn accounted_for(&self) -> u64 {
        (self.records.len() + self.rejected.len()) as u64 + self.filtered - self.produced
    }
}
