//! The tables of the progress, in the database of the rows.

use std::collections::BTreeMap;

use rusqlite::{CachedStatement, Connection, Error, OptionalExtension, Result, Row, params};
use serde_json::Value as Json;

use crate::{
    checkpoint::{Checkpoint, Interval, Intervals, RangeCheckpoint},
    record::Position,
};

/// The version of the tables.
pub(super) const VERSION: i64 = 1;

const TABLES: &str = r#"
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS _pipelines (
    pipeline TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL, plan TEXT NOT NULL, identity TEXT NOT NULL,
    cursor_version INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _pipeline_settled (
    pipeline TEXT NOT NULL, "range" INTEGER NOT NULL, begins_after TEXT, ends_with TEXT, record INTEGER NOT NULL, cursor TEXT,
    done INTEGER NOT NULL, PRIMARY KEY (pipeline, "range")
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _pipeline_beyond (
    pipeline TEXT NOT NULL, "range" INTEGER NOT NULL, first_record INTEGER NOT NULL, first_part INTEGER NOT NULL,
    last_record INTEGER NOT NULL, last_part INTEGER NOT NULL, PRIMARY KEY (pipeline, "range", first_record, first_part)
) WITHOUT ROWID;
COMMIT;
"#;

/// What is there already is not written again: a transaction that changes nothing need not wait for the disk.
const SAVE_PLAN: &str = "INSERT INTO _pipelines (pipeline, version, plan, identity, cursor_version) VALUES (?1, ?2, ?3, ?4, ?5) \
    ON CONFLICT DO UPDATE SET version = excluded.version, plan = excluded.plan, identity = excluded.identity, \
    cursor_version = excluded.cursor_version \
    WHERE (version, plan, identity, cursor_version) IS NOT \
    (excluded.version, excluded.plan, excluded.identity, excluded.cursor_version)";
const LOAD_CURSOR_VERSION: &str = "SELECT cursor_version FROM _pipelines WHERE pipeline = ?1";
/// The prefix only moves forwards: a worker that was given up may still be writing.
const SAVE_RANGE: &str = "INSERT INTO _pipeline_settled (pipeline, \"range\", begins_after, ends_with, record, cursor, done) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE SET begins_after = excluded.begins_after, ends_with = excluded.ends_with, \
    record = excluded.record, cursor = excluded.cursor, done = excluded.done WHERE excluded.record >= _pipeline_settled.record \
    AND (begins_after, ends_with, _pipeline_settled.record, cursor, done) IS NOT \
    (excluded.begins_after, excluded.ends_with, excluded.record, excluded.cursor, excluded.done)";
const LOAD_RANGES: &str = "SELECT \"range\", begins_after, ends_with, record, cursor, done FROM _pipeline_settled \
    WHERE pipeline = ?1 ORDER BY \"range\"";
const LOAD_PREFIX: &str = "SELECT record FROM _pipeline_settled WHERE pipeline = ?1 AND \"range\" = ?2";
const ADD_INTERVAL: &str = "INSERT INTO _pipeline_beyond (pipeline, \"range\", first_record, first_part, last_record, last_part) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const LOAD_INTERVALS: &str = "SELECT first_record, first_part, last_record, last_part FROM _pipeline_beyond \
    WHERE pipeline = ?1 AND \"range\" = ?2";
/// The intervals that may overlap another one. Without ORDER BY: with it, SQLite would prepare the statement anew each time, because it
/// compares the values that are bound.
const NEAR_INTERVALS: &str = "SELECT first_record, first_part, last_record, last_part FROM _pipeline_beyond \
    WHERE pipeline = ?1 AND \"range\" = ?2 AND first_record <= ?3 AND last_record >= ?4";
const FORGET_BEFORE: &str =
    "DELETE FROM _pipeline_beyond WHERE pipeline = ?1 AND \"range\" = ?2 AND first_record < ?3 AND last_record < ?3";
const FORGET_INTERVALS: &str = "DELETE FROM _pipeline_beyond WHERE pipeline = ?1 AND \"range\" = ?2";
const FORGET_RANGE: &str = "DELETE FROM _pipeline_settled WHERE pipeline = ?1 AND \"range\" = ?2";

/// Makes the tables, if they are missing.
pub(super) fn create(connection: &Connection) -> Result<()> {
    let made = connection.execute_batch(TABLES);
    if made.is_err() && !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    made
}

/// The progress of one pipeline, inside a transaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress<'a> {
    connection: &'a Connection,
    pipeline: &'a str,
}

/// What some ranges hold already: records of a batch that comes a second time.
#[derive(Debug, Default)]
pub(super) struct Held(BTreeMap<u32, (u64, Intervals)>);

impl Held {
    /// Whether nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a record has been settled or written.
    pub(super) fn contains(&self, position: Position) -> bool {
        let range = self.0.get(&position.range);
        range.is_some_and(|(record, beyond)| position.record < *record || beyond.contains(position))
    }
}

impl<'a> Progress<'a> {
    pub(super) fn new(connection: &'a Connection, pipeline: &'a str) -> Self {
        Self { connection, pipeline }
    }

    /// Stores everything that a checkpoint holds. What the tables hold beyond a prefix stays: the sink may have written more than the
    /// checkpoint knows.
    pub(super) fn save(self, checkpoint: &Checkpoint) -> Result<()> {
        let version = self.statement(LOAD_CURSOR_VERSION)?.query_row([self.pipeline], |row| row.get(0)).optional()?;
        let is_migrated = version.is_some_and(|version: u32| version != checkpoint.cursor_version);
        self.save_plan(checkpoint)?;
        for stored in self.load_ranges()? {
            let same = |range: &&RangeCheckpoint| range.range == stored.range;
            let kept = checkpoint.ranges.iter().find(same);
            // Another piece of the source under the same number counts its records anew. Cursors in a new form are the same piece.
            if kept.is_none_or(|range| !is_migrated && (&range.from, &range.to) != (&stored.from, &stored.to)) {
                self.forget(stored.range)?;
            }
        }
        for range in &checkpoint.ranges {
            self.save_range(range)?;
            if !range.beyond.is_empty() {
                self.join(range.range, range.beyond.iter().copied())?;
            }
            self.forget_before(range)?;
        }
        Ok(())
    }

    /// Stores the ranges that have moved since a checkpoint that is stored already.
    pub(super) fn save_moved(self, checkpoint: &Checkpoint, stored: &Checkpoint) -> Result<()> {
        let state = |range: &RangeCheckpoint| (range.range, range.record, range.done, range.cursor.clone());
        for range in &checkpoint.ranges {
            if stored.ranges.iter().all(|known| state(known) != state(range)) {
                self.save_range(range)?;
                self.forget_before(range)?;
            }
        }
        Ok(())
    }

    fn save_plan(self, checkpoint: &Checkpoint) -> Result<()> {
        let identity = checkpoint.identity.to_string();
        let mut statement = self.statement(SAVE_PLAN)?;
        statement.execute(params![self.pipeline, VERSION, checkpoint.plan, identity, checkpoint.cursor_version])?;
        Ok(())
    }

    fn save_range(self, range: &RangeCheckpoint) -> Result<()> {
        let text = |json: &Option<Json>| json.as_ref().map(Json::to_string);
        let (from, to, cursor) = (text(&range.from), text(&range.to), text(&range.cursor));
        let record = integer(range.record)?;
        self.statement(SAVE_RANGE)?.execute(params![
            self.pipeline,
            range.range,
            from,
            to,
            record,
            cursor,
            range.done
        ])?;
        Ok(())
    }

    fn forget_before(self, range: &RangeCheckpoint) -> Result<()> {
        let record = integer(range.record)?;
        self.statement(FORGET_BEFORE)?.execute(params![self.pipeline, range.range, record])?;
        Ok(())
    }

    fn forget(self, range: u32) -> Result<()> {
        self.statement(FORGET_RANGE)?.execute(params![self.pipeline, range])?;
        self.statement(FORGET_INTERVALS)?.execute(params![self.pipeline, range])?;
        Ok(())
    }

    /// What is held of the records of a batch. It costs two look-ups if it is nothing.
    pub(super) fn held(self, batch: &[(u32, Interval)]) -> Result<Held> {
        let mut held = Held::default();
        for (range, interval) in batch {
            if !held.0.contains_key(range) && self.holds_some_of(*range, *interval)? {
                held.0.insert(*range, (self.prefix(*range)?, self.intervals(*range)?));
            }
        }
        Ok(held)
    }

    fn holds_some_of(self, range: u32, interval: Interval) -> Result<bool> {
        if self.prefix(range)? > interval.first.0 {
            return Ok(true);
        }
        let place = params![self.pipeline, range, integer(interval.last.0)?, integer(interval.first.0)?];
        let mut statement = self.statement(NEAR_INTERVALS)?;
        for near in statement.query_map(place, stored_interval)? {
            let near = near?;
            if near.first <= interval.last && near.last >= interval.first {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn prefix(self, range: u32) -> Result<u64> {
        let record =
            self.statement(LOAD_PREFIX)?.query_row(params![self.pipeline, range], |row| number(row, 0)).optional()?;
        Ok(record.unwrap_or(0))
    }

    /// The intervals of a range.
    pub(super) fn intervals(self, range: u32) -> Result<Intervals> {
        self.statement(LOAD_INTERVALS)?.query_map(params![self.pipeline, range], stored_interval)?.collect()
    }

    /// Adds the intervals of a batch.
    pub(super) fn add(self, written: &[(u32, Interval)], held: &Held) -> Result<()> {
        for (range, interval) in written {
            if held.0.contains_key(range) {
                self.join(*range, [*interval])?;
            } else {
                self.insert(*range, *interval)?;
            }
        }
        Ok(())
    }

    /// Adds intervals to those that they may overlap.
    fn join(self, range: u32, added: impl IntoIterator<Item = Interval>) -> Result<()> {
        let mut all = self.intervals(range)?;
        added.into_iter().for_each(|interval| all.insert(interval));
        self.statement(FORGET_INTERVALS)?.execute(params![self.pipeline, range])?;
        all.iter().try_for_each(|interval| self.insert(range, *interval))
    }

    fn insert(self, range: u32, interval: Interval) -> Result<()> {
        let (first, last) = (interval.first, interval.last);
        let values = params![self.pipeline, range, integer(first.0)?, first.1, integer(last.0)?, last.1];
        self.statement(ADD_INTERVAL)?.execute(values)?;
        Ok(())
    }

    /// The ranges, without what lies beyond their prefixes.
    pub(super) fn load_ranges(self) -> Result<Vec<RangeCheckpoint>> {
        let mut statement = self.statement(LOAD_RANGES)?;
        let ranges = statement.query_map([self.pipeline], |row| {
            Ok(RangeCheckpoint {
                range: row.get(0)?,
                from: json(row, 1)?,
                to: json(row, 2)?,
                record: number(row, 3)?,
                cursor: json(row, 4)?,
                done: row.get(5)?,
                beyond: Intervals::default(),
            })
        })?;
        ranges.collect()
    }

    fn statement(self, sql: &str) -> Result<CachedStatement<'a>> {
        self.connection.prepare_cached(sql)
    }
}

fn stored_interval(row: &Row<'_>) -> Result<Interval> {
    let place = |record, part| Ok::<_, Error>((number(row, record)?, row.get(part)?));
    Ok(Interval { first: place(0, 1)?, last: place(2, 3)? })
}

/// SQLite's integers have a sign.
pub(super) fn integer(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|error| Error::ToSqlConversionFailure(error.into()))
}

fn number(row: &Row<'_>, column: usize) -> Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| Error::IntegralValueOutOfRange(column, number))
}

fn json(row: &Row<'_>, column: usize) -> Result<Option<Json>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| parse(&text, column)).transpose()
}

/// Reads JSON that a column holds.
pub(super) fn parse(text: &str, column: usize) -> Result<Json> {
    serde_json::from_str(text)
        .map_err(|error| Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error.into()))
}
