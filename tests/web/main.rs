//! The web example from the outside: its binary is started on a free port and spoken to over HTTP.
#![cfg(unix)]

#[path = "../../examples/web/health.rs"]
mod health;
mod http;
mod page;
mod service;

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{Barrier, Mutex},
    thread,
    time::{Duration, Instant},
};

use actix_batch::prelude::*;
use serde_json::{Value, json};

use crate::{
    http::Connection,
    service::{Directory, Service, command},
};

/// The n-th of many flights, all of one aircraft on one morning.
fn flight(n: u64) -> Value {
    json!({
        "year": 2013, "month": 1, "day": 1, "dep_time": 517, "sched_dep_time": 515, "dep_delay": 2,
        "arr_time": 830, "sched_arr_time": 819, "arr_delay": 11, "carrier": "UA", "flight": n, "tailnum": "N14228",
        "origin": "EWR", "dest": "IAH", "air_time": 227, "distance": 1400, "hour": 5, "minute": 15,
        "time_hour": "2013-01-01T10:00:00Z",
    })
}

fn with(mut flight: Value, column: &str, value: Value) -> Value {
    flight[column] = value;
    flight
}

#[test]
fn each_request_is_answered_with_its_own_outcome() {
    let directory = Directory::new("outcomes");
    let service = Service::start(&directory);
    let mut client = service.connect();

    let created = client.post("/flights", &flight(1545).to_string()).unwrap();
    assert_eq!((created.status, &created.json()["status"]), (201, &json!("created")));
    let id = created.json()["id"].as_u64().unwrap();

    let again = client.post("/flights", &flight(1545).to_string()).unwrap();
    assert_eq!((again.status, again.json()), (200, json!({ "id": id, "status": "already known" })));

    let stored = client.get(&format!("/flights/{id}")).unwrap();
    assert_eq!((stored.status, stored.json()), (200, with(flight(1545), "id", json!(id))));

    for (column, value, reason) in [
        ("tailnum", Value::Null, "tailnum"),
        ("origin", Value::Null, "origin"),
        ("day", json!(32), "2013-1-32"),
        ("dep_time", json!(2560), "dep_time"),
    ] {
        let refused = client.post("/flights", &with(flight(1), column, value).to_string()).unwrap();
        assert_eq!(refused.status, 422, "{column}");
        assert!(refused.text().contains(reason), "{column}: {}", refused.text());
    }

    let mut cancelled = flight(2);
    for time in ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"] {
        cancelled[time] = Value::Null;
    }
    assert_eq!(client.post("/flights", &cancelled.to_string()).unwrap().status, 201);

    for unreadable in ["{", "[]", r#"{"year": "soon"}"#, r#"{"colour": "red"}"#] {
        let answer = client.post("/flights", unreadable).unwrap();
        assert_eq!(answer.status, 400, "{unreadable}: {}", answer.text());
    }
    for missing in ["/flights/999999", "/flights/-1", "/nothing"] {
        assert_eq!(client.get(missing).unwrap().status, 404, "{missing}");
    }
}

#[test]
fn metrics_and_health_say_what_the_collectors_do() {
    let directory = Directory::new("metrics");
    let service = Service::start(&directory);
    let mut client = service.connect();
    assert_eq!(client.post("/flights", &flight(1).to_string()).unwrap().status, 201);
    assert_eq!(client.post("/flights", &with(flight(1), "tailnum", Value::Null).to_string()).unwrap().status, 422);

    let metrics = client.get("/metrics").unwrap();
    assert_eq!(metrics.status, 200);
    let text = metrics.text();
    for line in [
        "# TYPE actix_batch_jobs_submitted_total counter",
        "actix_batch_jobs_submitted_total{collector=\"flights\"} 2",
        "actix_batch_jobs_completed_total{collector=\"flights\"} 1",
        "actix_batch_jobs_failed_total{collector=\"flights\",cause=\"failed\"} 1",
        "# TYPE actix_batch_batch_size histogram",
        "actix_batch_batch_size_bucket{collector=\"flights\",le=\"1\"} 2",
        "actix_batch_batch_size_bucket{collector=\"flights\",le=\"+Inf\"} 2",
        "actix_batch_batch_size_sum{collector=\"flights\"} 2",
        "actix_batch_process_seconds_count{collector=\"flights\"} 2",
        "actix_batch_jobs_rejected_total{collector=\"flights\",reason=\"overloaded\"} 0",
        "actix_batch_pending_jobs{collector=\"flights\"} 0",
        "actix_batch_jobs_submitted_total{collector=\"lookups\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    // The page has what is documented, each as the kind that it is said to be, and nothing else.
    let docs =
        include_str!("../../docs/observability.md").lines().filter_map(|line| line.strip_prefix("| `actix_batch_"));
    let mut documented: Vec<_> = docs.filter_map(|row| row.split_once("` | ")).collect();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE actix_batch_")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let row = documented.iter().position(|(documented, row)| *documented == name && row.starts_with(kind));
        documented.remove(row.unwrap_or_else(|| panic!("{line} is not documented")));
    }
    assert!(documented.is_empty(), "{documented:?} are not in the page");

    let health = client.get("/health").unwrap();
    assert_eq!((health.status, &health.json()["flights"]["able"]), (200, &json!(2)));
}

/// Prepares, or cannot.
struct Worker(Result<(), String>);

struct Nothing;

impl Job for Nothing {
    type Output = ();
    type Error = String;
}

impl BatchProcessor for Worker {
    type Job = Nothing;

    async fn prepare(&mut self) -> Result<(), String> {
        self.0.clone()
    }

    async fn process(&mut self, _: &Batch<Nothing>) -> Result<Outcomes<Nothing>, String> {
        Ok(Outcomes::all(()))
    }
}

#[test]
fn health_is_503_while_a_collector_has_no_worker_that_can_work() {
    System::new().block_on(async {
        let able = Collector::builder(|| Worker(Ok(()))).start().unwrap();
        let unable = Collector::builder(|| Worker(Err("no database".to_owned()))).start().unwrap();
        able.submit(Nothing).await.unwrap();
        let (able, unable) = (able.stats().await.unwrap(), unable.stats().await.unwrap());
        assert!(health::is_able(std::slice::from_ref(&able)));
        assert!(!health::is_able(&[able, unable]));
    });
}

/// Asks until the service is as healthy as that.
fn await_health(client: &mut Connection, status: u16) -> Value {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let health = client.get("/health").unwrap();
        if health.status == status {
            return health.json();
        }
        assert!(Instant::now() < deadline, "{} {}", health.status, health.text());
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_database_that_hangs_and_goes_away_is_a_503_until_it_is_back() {
    let directory = Directory::new("health");
    let (path, aside) = (directory.0.join("flights.sqlite"), directory.0.join("aside.sqlite"));
    let service = Service::start_with(&directory, &["--workers", "1", "--timeout", "300ms"]);
    let mut client = service.connect();
    assert_eq!(await_health(&mut client, 200)["flights"]["able"], 1);

    // Another process writes and does not end; then the file is gone.
    let writer = rusqlite::Connection::open(&path).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::fs::rename(&path, &aside).unwrap();
    std::fs::create_dir(&path).unwrap();
    let hung = client.post("/flights", &flight(1).to_string()).unwrap();
    assert_eq!(hung.status, 504, "{}", hung.text());
    let unable = await_health(&mut client, 503);
    assert_eq!((&unable["flights"]["able"], &unable["lookups"]["able"]), (&json!(0), &json!(1)));

    writer.execute_batch("ROLLBACK").unwrap();
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(&aside, &path).unwrap();
    assert_eq!(await_health(&mut client, 200)["flights"]["able"], 1);
    // Where the disk is slow a batch may take longer than that; it is stored all the same, and known then.
    let post = || client.post("/flights", &flight(2).to_string()).unwrap();
    let stored = std::iter::repeat_with(post).take(20).find(|answer| answer.status != 504).unwrap();
    assert!([200, 201].contains(&stored.status), "{}", stored.text());
}

#[test]
fn concurrent_requests_share_batches_and_each_gets_its_own_row() {
    const CLIENTS: u8 = 48;
    let directory = Directory::new("concurrent");
    let service = Service::start(&directory);
    let together = Barrier::new(CLIENTS.into());
    let ids = Mutex::new(HashSet::new());
    thread::scope(|scope| {
        for n in 1..=u64::from(CLIENTS) {
            let (together, ids, service) = (&together, &ids, &service);
            scope.spawn(move || {
                let mut client = service.connect();
                together.wait();
                let created = client.post("/flights", &flight(n).to_string()).unwrap();
                assert_eq!(created.status, 201);
                let id = created.json()["id"].as_u64().unwrap();
                assert!(ids.lock().unwrap().insert(id), "{id} was given twice");
                together.wait();
                assert_eq!(client.get(&format!("/flights/{id}")).unwrap().json()["flight"], n);
            });
        }
    });

    service.signal("INT");
    let (status, printed) = service.wait();
    assert!(status.success());
    let [accepted, answered, batches] = totals(&printed, "flights");
    assert_eq!((accepted, answered), (CLIENTS.into(), CLIENTS.into()));
    assert!(batches < u64::from(CLIENTS) / 2, "{batches} batches for {CLIENTS} flights that came together");
}

#[test]
fn of_many_clients_that_post_one_flight_at_once_one_creates_it() {
    let directory = Directory::new("one-flight");
    let service = Service::start(&directory);
    let together = Barrier::new(16);
    let answers: Vec<_> = thread::scope(|scope| {
        let client = || {
            let mut client = service.connect();
            together.wait();
            client.post("/flights", &flight(7).to_string()).unwrap()
        };
        let clients: Vec<_> = (0..16).map(|_| scope.spawn(client)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let ids: HashSet<_> = answers.iter().map(|answer| answer.json()["id"].as_u64()).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 15);
}

/// What many clients have been told, while they post as fast as they are answered.
#[derive(Debug, Default)]
struct Told {
    /// The id and the number of each flight that was answered 201.
    created: Vec<(u64, u64)>,
    /// Requests that got the whole of another answer.
    other: Vec<u16>,
    /// Requests on which the connection was closed without an answer.
    closed: usize,
}

/// Posts from many connections until the service is gone; `then` ends it, once it is under load.
fn post_until_the_end(address: SocketAddr, then: impl FnOnce()) -> Told {
    const CLIENTS: u32 = 32;
    let told = Mutex::new(Told::default());
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let told = &told;
            scope.spawn(move || {
                let mut connection = Connection::open(address).unwrap();
                for n in (0..).map(|round| u64::from(round * CLIENTS + client)) {
                    // Every request gets a whole answer or a close before the first byte of one: `unwrap` says so.
                    let answer = connection.try_post("/flights", &flight(n).to_string()).unwrap();
                    let mut told = told.lock().unwrap();
                    match answer {
                        Some(answer) if answer.status == 201 => {
                            told.created.push((answer.json()["id"].as_u64().unwrap(), n));
                        }
                        Some(answer) => told.other.push(answer.status),
                        None => {
                            told.closed += 1;
                            match Connection::open(address) {
                                Ok(new) => connection = new,
                                Err(_) => return,
                            }
                        }
                    }
                }
            });
        }
        while told.lock().unwrap().created.len() < 500 {
            thread::sleep(Duration::from_millis(5));
        }
        then();
    });
    told.into_inner().unwrap()
}

fn assert_stored(service: &Service, created: &[(u64, u64)]) {
    thread::scope(|scope| {
        for share in created.chunks(50) {
            scope.spawn(move || {
                let mut client = service.connect();
                for (id, n) in share {
                    let stored = client.get(&format!("/flights/{id}")).unwrap();
                    assert_eq!(stored.status, 200, "flight {n} was answered 201 with the id {id}, and is gone");
                    assert_eq!(stored.json()["flight"], *n);
                }
            });
        }
    });
}

#[test]
fn a_flight_that_was_answered_201_is_in_the_file_that_is_there_also_after_it_was_deleted() {
    let directory = Directory::new("deleted");
    let path = directory.0.join("flights.sqlite");
    let service = Service::start(&directory);
    let mut client = service.connect();
    assert_eq!(client.post("/flights", &flight(1).to_string()).unwrap().status, 201);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(client.post("/flights", &flight(2).to_string()).unwrap().status, 201);
    let database = rusqlite::Connection::open(&path).unwrap();
    let stored: i64 = database.query_row("SELECT flight FROM flights", [], |row| row.get(0)).unwrap();
    assert_eq!(stored, flight(2)["flight"]);
}

#[test]
fn ctrl_c_under_load_answers_what_it_accepted_and_ends_with_0() {
    let directory = Directory::new("ctrl-c");
    let service = Service::start(&directory);
    let told = post_until_the_end(service.address, || service.signal("INT"));
    let (status, printed) = service.wait();
    assert_eq!(status.code(), Some(0));

    let [accepted, answered, _] = totals(&printed, "flights");
    assert_eq!(accepted, answered);
    assert_eq!(told.created.len() as u64, accepted, "every accepted flight is stored, and its client knows");
    assert!(told.other.iter().all(|status| *status == 503), "{:?}", told.other);
    assert!(told.closed <= 64, "{} clients lost a connection", told.closed);

    assert_stored(&Service::start(&directory), &told.created);
}

#[test]
fn every_flight_that_was_answered_201_is_stored_after_a_kill() {
    let directory = Directory::new("kill");
    let service = Service::start(&directory);
    let told = post_until_the_end(service.address, || service.signal("KILL"));
    let (status, _) = service.wait();
    assert_eq!(status.code(), None, "a signal ended it");
    assert!(told.other.is_empty(), "{:?}", told.other);

    let service = Service::start(&directory);
    assert_stored(&service, &told.created);
    let (_, known) = told.created[0];
    assert_eq!(service.connect().post("/flights", &flight(known).to_string()).unwrap().status, 200);
}

#[test]
fn what_it_cannot_do_is_said_and_ends_with_an_error() {
    let directory = Directory::new("errors");
    let service = Service::start(&directory);
    let taken = service.address.port().to_string();
    for (option, value, said) in [
        ("--port", &*taken, "choose another one with --port"),
        ("--max-size", "0", "--max-size"),
        ("--interval", "soon", "5ms"),
        ("--database", "/dev/null/flights.sqlite", "/dev/null/flights.sqlite"),
    ] {
        let output = command(&directory).args([option, value]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{option} {value}");
        assert!(error.contains(said), "{option} {value}: {error}");
    }
}

/// The numbers of "flights: 12 accepted, 12 answered, in 3 batches", as the service prints them when it ends.
fn totals(printed: &str, collector: &str) -> [u64; 3] {
    let line = printed.split(&format!("{collector}: ")).nth(1).unwrap_or_else(|| panic!("no totals in {printed:?}"));
    let line = line.split(';').next().unwrap().replace(',', "");
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    numbers[..3].try_into().unwrap()
}
