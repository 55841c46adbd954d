//! The tables of the progress, in the database of the rows.

use actix_batch_pipeline::{
    Position,
    checkpoint::{Checkpoint, Interval, Intervals, RangeCheckpoint, RunId},
};
use futures_util::future::{try_join, try_join3};
use serde_json::Value;
use tokio_postgres::{Client, Error, Row, types::ToSql};

use super::session::Session;
use crate::fault::Fault;

/// The version of the tables.
pub(super) const VERSION: i32 = 1;

const TABLES: &str = r#"
CREATE TABLE IF NOT EXISTS _pipelines (
    pipeline text PRIMARY KEY, version int NOT NULL, plan text NOT NULL, identity text NOT NULL, cursor_version bigint NOT NULL
);
CREATE TABLE IF NOT EXISTS _pipeline_settled (
    pipeline text NOT NULL, "range" bigint NOT NULL, begins_after text, ends_with text, record bigint NOT NULL, cursor text,
    done boolean NOT NULL, PRIMARY KEY (pipeline, "range")
);
CREATE TABLE IF NOT EXISTS _pipeline_beyond (
    pipeline text NOT NULL, "range" bigint NOT NULL, first_record bigint NOT NULL, first_part bigint NOT NULL,
    last_record bigint NOT NULL, last_part bigint NOT NULL, PRIMARY KEY (pipeline, "range", first_record, first_part)
);
CREATE TABLE IF NOT EXISTS _pipeline_runs (pipeline text PRIMARY KEY, run bigint NOT NULL);
"#;

/// Two sessions that make a table at once would collide.
const ONE_BY_ONE: &str = "SELECT pg_advisory_xact_lock(hashtextextended('actix-batch:tables', 0))";
/// Writers share it; who must not miss what others are about to commit takes it alone.
const SHARED: &str = "SELECT pg_advisory_xact_lock_shared(hashtextextended('actix-batch:writers:' || $1::text, 0))";
const ALONE: &str = "SELECT pg_advisory_xact_lock(hashtextextended('actix-batch:writers:' || $1::text, 0))";

const SAVE_PLAN: &str = "INSERT INTO _pipelines (pipeline, version, plan, identity, cursor_version) VALUES ($1, $2, $3, $4, $5) \
    ON CONFLICT (pipeline) DO UPDATE SET version = excluded.version, plan = excluded.plan, identity = excluded.identity, \
    cursor_version = excluded.cursor_version";
const LOAD_CURSOR_VERSION: &str = "SELECT cursor_version FROM _pipelines WHERE pipeline = $1";
/// The prefix only moves forwards: a worker that was given up may still be writing.
const SAVE_RANGE: &str = "INSERT INTO _pipeline_settled AS old (pipeline, \"range\", begins_after, ends_with, record, cursor, done) \
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (pipeline, \"range\") DO UPDATE SET begins_after = excluded.begins_after, \
    ends_with = excluded.ends_with, record = excluded.record, cursor = excluded.cursor, done = excluded.done WHERE excluded.record >= old.record";
const TAKE_OVER: &str = "INSERT INTO _pipeline_runs (pipeline, run) VALUES ($1, $2) ON CONFLICT (pipeline) DO UPDATE SET run = excluded.run";
const LOAD_RUN: &str = "SELECT run FROM _pipeline_runs WHERE pipeline = $1";
const LOAD_RANGES: &str = "SELECT \"range\", begins_after, ends_with, record, cursor, done FROM _pipeline_settled \
    WHERE pipeline = $1 ORDER BY \"range\"";
const LOAD_PREFIX: &str = "SELECT record FROM _pipeline_settled WHERE pipeline = $1 AND \"range\" = $2";
const LOAD_NEAR: &str = "SELECT first_record, first_part, last_record, last_part FROM _pipeline_beyond \
    WHERE pipeline = $1 AND \"range\" = $2 AND first_record <= $3 AND last_record >= $4";
const ADD: &str = "INSERT INTO _pipeline_beyond (pipeline, \"range\", first_record, first_part, last_record, last_part) \
    SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])";
const FORGET_BEFORE: &str = "DELETE FROM _pipeline_beyond WHERE pipeline = $1 AND \"range\" = $2 AND last_record < $3";
const FORGET_RANGE: &str = "DELETE FROM _pipeline_settled WHERE pipeline = $1 AND \"range\" = $2";
const FORGET_INTERVALS: &str = "DELETE FROM _pipeline_beyond WHERE pipeline = $1 AND \"range\" = $2";
pub(super) const CLEAR: [&str; 3] = [
    "DELETE FROM _pipelines WHERE pipeline = $1",
    "DELETE FROM _pipeline_settled WHERE pipeline = $1",
    "DELETE FROM _pipeline_beyond WHERE pipeline = $1",
];

/// Makes the tables, if they are missing.
pub(super) async fn create(client: &mut Client) -> Result<(), Error> {
    one_by_one(client, TABLES).await
}

/// Runs SQL that makes tables, while no other session of this crate does.
pub(super) async fn one_by_one(client: &mut Client, sql: &str) -> Result<(), Error> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(ONE_BY_ONE).await?;
    transaction.batch_execute("SET LOCAL client_min_messages = warning").await?;
    transaction.batch_execute(sql).await?;
    transaction.commit().await
}

/// Makes this the run that may write.
pub(super) async fn take_over(session: &Session<'_>, run: &RunId) -> Result<(), Error> {
    session.query(lock(true), &[&run.pipeline]).await?;
    session.execute(TAKE_OVER, &[&run.pipeline, &run.token().cast_signed()]).await.map(drop)
}

/// Begins to write: waits for writers that must not be missed, makes sure that no other run has taken over meanwhile, and says what is held of
/// the ranges of a batch. The lease alone cannot say who may write: it ends with its connection, and the writers have connections of their own.
pub(super) async fn enter(
    session: &Session<'_>,
    run: &RunId,
    alone: bool,
    batch: &[(u32, Interval)],
) -> Result<Vec<Held>, Fault> {
    let failed = |error| Fault::of(&error, "storing the progress failed");
    // They travel together. Once all are prepared, they are sent in this order, and so nothing is read before the lock is held.
    for sql in [lock(alone), LOAD_RUN, LOAD_PREFIX, LOAD_NEAR] {
        session.prepared(sql).await.map_err(failed)?;
    }
    let pipeline: [&(dyn ToSql + Sync); 1] = [&run.pipeline];
    let (locked, known) = (session.query(lock(alone), &pipeline), session.query_opt(LOAD_RUN, &pipeline));
    let (_, known, held) = try_join3(locked, known, held(session, &run.pipeline, batch)).await.map_err(failed)?;
    match known.map(|row| row.get::<_, i64>(0)) {
        Some(known) if known != run.token().cast_signed() => {
            Err(Fault::fatal(format!("another run of pipeline `{}` has taken over", run.pipeline)))
        }
        _ => Ok(held),
    }
}

/// Waits until no writer of this pipeline has a transaction open, if `alone`; otherwise until nobody asks for that.
fn lock(alone: bool) -> &'static str {
    if alone { ALONE } else { SHARED }
}

/// The records of one range that are stored already, near a batch.
pub(super) struct Held {
    range: u32,
    prefix: u64,
    beyond: Intervals,
}

impl Held {
    pub(super) fn contains(&self, position: Position) -> bool {
        self.range == position.range && (position.record < self.prefix || self.beyond.contains(position))
    }
}

/// What is held of the ranges of a batch.
async fn held(session: &Session<'_>, pipeline: &str, batch: &[(u32, Interval)]) -> Result<Vec<Held>, Error> {
    let mut all: Vec<Held> = Vec::new();
    for (range, _) in batch {
        if all.iter().any(|held| held.range == *range) {
            continue;
        }
        let own = || batch.iter().filter(|(other, _)| other == range).map(|(_, interval)| interval);
        let first = own().map(|interval| interval.first.0).min().unwrap_or(0);
        let last = own().map(|interval| interval.last.0).max().unwrap_or(u64::MAX);
        let number = i64::from(*range);
        let (first, last) = (signed(first), signed(last));
        let near: [&(dyn ToSql + Sync); 4] = [&pipeline, &number, &last, &first];
        let (prefix, near) =
            try_join(session.query_opt(LOAD_PREFIX, &near[..2]), session.query(LOAD_NEAR, &near)).await?;
        let prefix = prefix.map_or(0, |row| unsigned(&row, 0));
        all.push(Held { range: *range, prefix, beyond: near.iter().map(interval).collect() });
    }
    Ok(all)
}

/// Adds the intervals of a batch.
pub(super) async fn add(session: &Session<'_>, pipeline: &str, written: &[(u32, Interval)]) -> Result<(), Error> {
    if written.is_empty() {
        return Ok(());
    }
    let column = |of: fn(&(u32, Interval)) -> i64| written.iter().map(of).collect::<Vec<i64>>();
    let ranges = column(|(range, _)| i64::from(*range));
    let (first, part) = (column(|(_, all)| signed(all.first.0)), column(|(_, all)| i64::from(all.first.1)));
    let (last, last_part) = (column(|(_, all)| signed(all.last.0)), column(|(_, all)| i64::from(all.last.1)));
    session.execute(ADD, &[&pipeline, &ranges, &first, &part, &last, &last_part]).await.map(drop)
}

/// Stores the ranges that have moved since a checkpoint that is stored already.
pub(super) async fn save_moved(
    session: &Session<'_>,
    pipeline: &str,
    moved: &Checkpoint,
    stored: Option<&Checkpoint>,
) -> Result<(), Error> {
    let state = |range: &RangeCheckpoint| (range.range, range.record, range.done, range.cursor.clone());
    for range in &moved.ranges {
        let is_stored = stored.is_some_and(|stored| stored.ranges.iter().any(|known| state(known) == state(range)));
        if !is_stored {
            save_range(session, pipeline, range).await?;
        }
    }
    Ok(())
}

/// Stores everything that a checkpoint holds. What the tables hold beyond a prefix stays: the sink may have written more than the checkpoint
/// knows.
pub(super) async fn save(session: &Session<'_>, pipeline: &str, checkpoint: &Checkpoint) -> Result<(), Error> {
    let identity = checkpoint.identity.to_string();
    let cursor_version = i64::from(checkpoint.cursor_version);
    let known = session.query_opt(LOAD_CURSOR_VERSION, &[&pipeline]).await?;
    let is_migrated = known.is_some_and(|row| row.get::<_, i64>(0) != cursor_version);
    session.execute(SAVE_PLAN, &[&pipeline, &VERSION, &checkpoint.plan, &identity, &cursor_version]).await?;
    // What cannot be read was refused when the run began; a fresh run overwrites it.
    for stored in load_ranges(session, pipeline).await?.unwrap_or_default() {
        let kept = checkpoint.ranges.iter().find(|range| range.range == stored.range);
        // Another piece of the source under the same number counts its records anew. Cursors in a new form are the same piece.
        if kept.is_none_or(|range| !is_migrated && (&range.from, &range.to) != (&stored.from, &stored.to)) {
            let number = i64::from(stored.range);
            session.execute(FORGET_RANGE, &[&pipeline, &number]).await?;
            session.execute(FORGET_INTERVALS, &[&pipeline, &number]).await?;
        }
    }
    for range in &checkpoint.ranges {
        save_range(session, pipeline, range).await?;
    }
    Ok(())
}

async fn save_range(session: &Session<'_>, pipeline: &str, range: &RangeCheckpoint) -> Result<(), Error> {
    let text = |json: &Option<Value>| json.as_ref().map(Value::to_string);
    let (from, to, cursor) = (text(&range.from), text(&range.to), text(&range.cursor));
    let (number, record) = (i64::from(range.range), signed(range.record));
    let (save, forget): ([&(dyn ToSql + Sync); 7], [&(dyn ToSql + Sync); 3]) =
        ([&pipeline, &number, &from, &to, &record, &cursor, &range.done], [&pipeline, &number, &record]);
    try_join(session.execute(SAVE_RANGE, &save), session.execute(FORGET_BEFORE, &forget)).await.map(drop)
}

/// The ranges, each with what lies beyond its prefix; or the text of one that is no JSON.
pub(super) async fn load_ranges(
    session: &Session<'_>,
    pipeline: &str,
) -> Result<Result<Vec<RangeCheckpoint>, String>, Error> {
    let mut ranges = Vec::new();
    for row in session.query(LOAD_RANGES, &[&pipeline]).await? {
        let number: i64 = row.get(0);
        let beyond = session.query(LOAD_NEAR, &[&pipeline, &number, &i64::MAX, &0_i64]).await?;
        let texts = [1, 2, 4].map(|at| row.get::<_, Option<String>>(at));
        let [from, to, cursor] =
            texts.map(|text| text.map(|text| serde_json::from_str(&text).map_err(|_| text)).transpose());
        let (Ok(from), Ok(to), Ok(cursor)) = (&from, &to, &cursor) else {
            return Ok(Err([from, to, cursor].into_iter().find_map(Result::err).unwrap_or_default()));
        };
        ranges.push(RangeCheckpoint {
            range: u32::try_from(number).unwrap_or(u32::MAX),
            from: from.clone(),
            to: to.clone(),
            record: unsigned(&row, 3),
            cursor: cursor.clone(),
            done: row.get(5),
            beyond: beyond.iter().map(interval).collect(),
        });
    }
    Ok(Ok(ranges))
}

fn interval(row: &Row) -> Interval {
    let part = |at| u32::try_from(row.get::<_, i64>(at)).unwrap_or(u32::MAX);
    Interval { first: (unsigned(row, 0), part(1)), last: (unsigned(row, 2), part(3)) }
}

/// PostgreSQL's integers have a sign, and no source has 2⁶³ records.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(row: &Row, at: usize) -> u64 {
    u64::try_from(row.get::<_, i64>(at)).unwrap_or(0)
}
