//! Downstream systems whose requests cost something, however many jobs they carry.

use std::{convert::Infallible, fs, thread, time::Duration};

use actix_batch::{Strategy, prelude::*};
use rusqlite::Connection;

use crate::report;

/// A downstream system, as one connection to it.
pub(crate) trait Downstream: 'static {
    const NAME: &'static str;

    fn connect() -> Self;

    /// One request for all of these jobs; blocks until it is done.
    fn request(&mut self, jobs: &[Insert]);
}

/// A round trip: 1 ms per request and 10 µs per job, during which nobody computes anything.
pub(crate) struct RoundTrip;

impl Downstream for RoundTrip {
    const NAME: &'static str = "1 ms + 10 µs per job";

    fn connect() -> Self {
        Self
    }

    fn request(&mut self, jobs: &[Insert]) {
        let jobs = u32::try_from(jobs.len()).unwrap_or(u32::MAX);
        thread::sleep(Duration::from_millis(1) + Duration::from_micros(10) * jobs);
    }
}

/// An `SQLite` file on the disk that holds `target`: a transaction per request, which waits until it is written.
pub(crate) struct Sqlite {
    connection: Connection,
}

impl Downstream for Sqlite {
    const NAME: &'static str = "SQLite inserts";

    fn connect() -> Self {
        fs::create_dir_all(report::folder()).expect("`target/bench` can be made");
        let connection = Connection::open(report::folder().join("open-loop.sqlite")).expect("SQLite opens its file");
        connection.pragma_update(None, "journal_mode", "WAL").expect("SQLite has a write-ahead log");
        connection.pragma_update(None, "synchronous", "FULL").expect("SQLite waits for the disk");
        connection.execute_batch(TABLE).expect("SQLite makes a table");
        Self { connection }
    }

    fn request(&mut self, jobs: &[Insert]) {
        self.insert(jobs).expect("SQLite inserts");
    }
}

/// A table as people have them: with a key, and with an index that does not grow at its end.
const TABLE: &str = "
    DROP TABLE IF EXISTS users;
    CREATE TABLE users (id INTEGER NOT NULL, name TEXT NOT NULL, profile TEXT NOT NULL);
    CREATE INDEX users_by_name ON users (name);
";

const PROFILE: &str = "two lines of text about somebody, who likes to walk, to read and to be left alone on Sundays, and \
                       who would rather not be asked about it again; last seen in spring";

/// A name that says nothing about when its row was inserted.
fn scattered(number: u64) -> String {
    format!("user {:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

impl Sqlite {
    fn insert(&mut self, jobs: &[Insert]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO users VALUES (?1, ?2, ?3)")?;
            for Insert(number) in jobs {
                insert.execute((number.cast_signed(), scattered(*number), PROFILE))?;
            }
        }
        transaction.commit()
    }
}

/// A row.
pub(crate) struct Insert(pub(crate) u64);

impl Insert {
    /// From 1 to 9: a request may carry many small ones, or few that are large.
    fn weight(&self) -> u64 {
        1 + self.0 % 9
    }
}

impl Job for Insert {
    type Output = ();
    type Error = Infallible;
}

/// Sends each batch downstream as one request.
pub(crate) struct Requests<D> {
    downstream: D,
}

impl<D: Downstream> BatchProcessor for Requests<D> {
    type Job = Insert;

    async fn process(&mut self, batch: &Batch<Insert>) -> Result<Outcomes<Insert>, Infallible> {
        self.downstream.request(batch);
        Ok(Outcomes::all(()))
    }
}

/// Starts a collector with one blocking worker in front of `D`.
pub(crate) fn collector<D: Downstream>(config: CollectorConfig) -> Collector<Insert> {
    let weighs = config.strategy == Strategy::Weight;
    let collector = Collector::builder(|| Requests { downstream: D::connect() })
        .config(config)
        // An open loop does not care whether there is room: it sends.
        .max_pending(4_000_000)
        .workers(Workers::threads(1));
    let collector = if weighs { collector.weigh(Insert::weight) } else { collector };
    collector.start_on_thread().expect("the collector starts")
}
