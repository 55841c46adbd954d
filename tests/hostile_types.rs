//! Types of the user's that submit from where nobody expects it: a key's `Drop`, an output's `Clone`. Nothing may hang.
//!
//! The collectors are in statics, because such types have no other way to them.

use std::{
    hash::{Hash, Hasher},
    sync::{OnceLock, mpsc},
    thread,
    time::Duration,
};

use actix_batch::{JobError, prelude::*};

/// Fails if `test` does not end within 20 s.
fn ends(test: impl FnOnce() + Send + 'static) {
    let (ended, end) = mpsc::channel();
    thread::spawn(move || {
        test();
        ended.send(()).unwrap();
    });
    end.recv_timeout(Duration::from_secs(20)).expect("it hangs or panics");
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

struct Number(u64);
impl Job for Number {
    type Output = u64;
    type Error = String;
}

struct Numbers;
impl BatchProcessor for Numbers {
    type Job = Number;
    async fn process(&mut self, batch: &Batch<Number>) -> Result<Outcomes<Number>, String> {
        Ok(Outcomes::in_order(batch.iter().map(|number| number.0)))
    }
}

static NUMBERS: OnceLock<Collector<Number>> = OnceLock::new();

/// The number that a dropped key submits; its own key submits nothing.
const DROPPED: u64 = u64::MAX;

#[derive(Clone)]
struct Talkative(u64);

impl PartialEq for Talkative {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Talkative {}

impl Hash for Talkative {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Drop for Talkative {
    fn drop(&mut self) {
        if let Some(numbers) = NUMBERS.get().filter(|_| self.0 != DROPPED) {
            drop(numbers.try_submit(Number(DROPPED)));
        }
    }
}

#[test]
fn a_key_whose_drop_submits_hangs_nothing() {
    ends(|| {
        let numbers = Collector::builder(|| Numbers)
            .partition_by(|number| Talkative(number.0))
            .coalesce_by(|number| Talkative(number.0))
            .max_partitions(2)
            .start_on_thread()
            .unwrap();
        assert!(NUMBERS.set(numbers.clone()).is_ok());
        for number in 0..100 {
            assert_eq!(block_on(numbers.submit(Number(number))).unwrap(), number);
        }
        block_on(numbers.shutdown(Shutdown::drain())).unwrap();
    });
}

#[derive(Hash)]
struct Row(u64);
impl Job for Row {
    type Output = Copies;
    type Error = String;
}

struct Rows;
impl BatchProcessor for Rows {
    type Job = Row;
    async fn process(&mut self, batch: &Batch<Row>) -> Result<Outcomes<Row>, String> {
        Ok(Outcomes::in_order(batch.iter().map(|row| Copies(row.0))))
    }
}

static ROWS: OnceLock<Collector<Row>> = OnceLock::new();

/// Each copy asks for the same row again.
#[derive(Debug)]
struct Copies(u64);

impl Clone for Copies {
    fn clone(&self) -> Self {
        if let Some(rows) = ROWS.get() {
            drop(rows.try_submit(Row(self.0)));
        }
        Self(self.0)
    }
}

#[test]
fn an_output_whose_clone_submits_hangs_nothing() {
    ends(|| {
        let rows = Collector::builder(|| Rows)
            .idempotent_by(|row: &Row| row.0, Duration::from_secs(60))
            .start_on_thread()
            .unwrap();
        assert!(ROWS.set(rows.clone()).is_ok());
        for _ in 0..3 {
            let row: Result<Copies, JobError<String>> = block_on(rows.submit(Row(1)));
            assert_eq!(row.unwrap().0, 1);
        }
        block_on(rows.shutdown(Shutdown::drain())).unwrap();
    });
}
