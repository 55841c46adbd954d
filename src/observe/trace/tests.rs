use std::sync::{Arc, Mutex, mpsc};

use super::*;
use crate::{Observer, flush::replay::Incoming, job::JobId, observe::ShutdownReport};

fn header() -> Header {
    Header::new(&CollectorConfig { name: "a \"name\"\n".to_owned(), ..CollectorConfig::default() }, false)
}

fn outcome(batch: u64, jobs: usize) -> Attempted {
    let (waited, took) = (Duration::from_micros(7), Duration::from_micros(30));
    Attempted { batch, jobs, attempt: 1, status: AttemptStatus::Answered, waited, took }
}

/// A file in memory that can be broken, or held.
#[derive(Clone, Default)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    full_at: Option<usize>,
    held: Option<Arc<Mutex<mpsc::Receiver<()>>>>,
}

impl io::Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = self.bytes.lock().unwrap();
        if let Some(held) = self.held.as_ref().filter(|_| !written.is_empty()) {
            let _ = held.lock().unwrap().recv();
        }
        if self.full_at.is_some_and(|full| written.len() >= full) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let room = self.full_at.map_or(bytes.len(), |full| bytes.len().min(full - written.len()));
        written.extend(&bytes[..room]);
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Disk {
    fn read(&self) -> Trace {
        Trace::parse(&self.bytes.lock().unwrap()[..]).unwrap()
    }
}

fn accept(recorder: &TraceRecorder, jobs: usize) {
    (0..jobs).for_each(|_| recorder.accepted("", JobId(0)));
}

fn drained(recorder: &TraceRecorder) {
    recorder.drained("", &ShutdownReport { completed: 0, shut_down: 0, unclosed: 0, elapsed: Duration::ZERO });
}

#[test]
fn what_is_recorded_is_read_back() {
    let disk = Disk::default();
    let recorder = TraceRecorder::write_to(disk.clone(), header()).unwrap();
    accept(&recorder, 2_500);
    recorder.attempted("", &outcome(1, 1_000));
    recorder.attempted("", &outcome(0, 1_500));
    drop(recorder);
    let trace = disk.read();
    assert_eq!((trace.config.name.as_str(), trace.own_policy, trace.lost), ("a \"name\"\n", false, 0));
    assert_eq!((trace.jobs.len(), trace.batches.len(), trace.batches[0].batch), (2_500, 2, 1));
    assert!(trace.jobs.is_sorted_by_key(|job| job.at));
    assert_eq!(trace.batches[0].timing, trace.timings()[0]);
    assert_eq!((trace.batches[0].timing.waited.as_micros(), trace.batches[0].timing.took.as_micros()), (7, 30));
    let jobs: Vec<_> = trace.runs().into_iter().map(|(jobs, attempt)| (jobs, attempt.batch)).collect();
    assert_eq!(jobs, [(0..1_500, 0), (1_500..2_500, 1)]);
}

#[test]
fn the_end_of_a_shutdown_and_of_the_recorder_finds_everything_written() {
    let disk = Disk::default();
    let recorder = TraceRecorder::write_to(disk.clone(), header()).unwrap();
    for jobs in 1..4 {
        accept(&recorder, 1);
        drained(&recorder);
        assert_eq!(disk.read().jobs.len(), jobs);
    }
    accept(&recorder, 1);
    drop(recorder);
    assert_eq!(disk.read().jobs.len(), 4);
}

#[test]
fn a_disk_that_is_full_ends_the_recording_and_what_is_lost_is_counted() {
    let begin = serde_json::to_vec(&Line::Trace(header())).unwrap().len() + 1;
    let disk = Disk { full_at: Some(begin + 20), ..Disk::default() };
    let recorder = TraceRecorder::write_to(disk.clone(), header()).unwrap();
    accept(&recorder, 5_000);
    recorder.attempted("", &outcome(0, 5_000));
    drained(&recorder);
    assert_eq!(recorder.lost(), 5_001);
    accept(&recorder, 10);
    assert_eq!(recorder.lost(), 5_011);
    drop(recorder);
    assert_eq!(disk.read().jobs.len(), 0, "the torn line is left out");
}

#[test]
fn a_disk_that_hangs_makes_no_caller_wait_and_what_does_not_fit_is_counted() {
    let (release, held) = mpsc::channel();
    let disk = Disk { held: Some(Arc::new(Mutex::new(held))), ..Disk::default() };
    let recorder = TraceRecorder::write_to(disk.clone(), header()).unwrap();
    // The writer takes a part of it at most once, and hangs.
    accept(&recorder, 3 << 20);
    let lost = recorder.lost();
    assert!((1 << 20..=2 << 20).contains(&lost), "{lost}");
    drop(release);
    drop(recorder);
    let trace = disk.read();
    assert_eq!((trace.jobs.len() as u64 + trace.lost, trace.lost), (3 << 20, lost));
}

const BEGIN: &str = r#"{"trace":{"version":1,"started_at":0,"own_policy":true,"config":{"max_size":7}}}"#;

fn read(lines: &[&str]) -> Result<Trace, String> {
    Trace::parse((lines.join("\n") + "\n").as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn a_trace_reads_as_its_documentation_says() {
    let batch = r#"{"batch":{"id":0,"at":14020,"jobs":4,"attempt":1,"waited":5003,"took":7817,"status":"answered"}}"#;
    let trace = read(&[BEGIN, r#"{"arrivals":[1200,3,0,15]}"#, batch, r#"{"lost":3}"#]).unwrap();
    let jobs = [1200, 1203, 1203, 1218].map(|at| Incoming::at(Duration::from_micros(at)));
    assert_eq!((&trace.jobs[..], trace.config.max_size, trace.own_policy, trace.lost), (&jobs[..], 7, true, 3));
    assert_eq!((trace.batches[0].started.as_micros(), trace.batches[0].done.as_micros()), (6_203, 14_020));
}

#[test]
fn a_line_that_cannot_be_is_an_error_with_its_number() {
    for (line, problem) in [
        ("", "EOF"),
        ("[]", "expected"),
        (r#"{"arivals":[1]}"#, "unknown variant `arivals`, expected one of"),
        (r#"{"arrivals":[1,-1]}"#, "invalid value: integer `-1`"),
        (r#"{"arrivals":[1,18446744073709551615]}"#, "longer than ten years"),
        (r#"{"batch":{"id":0}}"#, "missing field `at`"),
        (BEGIN, "one header"),
    ] {
        let error = read(&[BEGIN, r#"{"arrivals":[]}"#, line, r#"{"lost":1}"#]).unwrap_err();
        assert!(error.starts_with("line 3: ") && error.contains(problem), "{error}");
    }
}

#[test]
fn what_is_no_trace_or_not_of_this_version_is_refused() {
    for text in ["", "{}", "id,at", r#"{"arrivals":[1]}"#, r#"{"trace":{}}"#] {
        assert!(read(&[text]).unwrap_err().starts_with("this is no trace"), "{text}");
    }
    let newer = BEGIN.replace("\"version\":1", "\"version\":2,\"more\":[]");
    assert_eq!(read(&[&newer]).unwrap_err(), "a trace of version 2; this version of actix-batch reads version 1");
    let unknown = BEGIN.replace("max_size", "max_sise");
    assert!(read(&[&unknown]).unwrap_err().starts_with("line 1: unknown field `max_sise`"));
}

#[test]
fn a_torn_last_line_is_left_out_wherever_it_is_torn() {
    let whole = [BEGIN, r#"{"arrivals":[1,2]}"#, r#"{"arrivals":[9]}"#, ""].join("\n");
    for end in BEGIN.len() + 1..=whole.len() {
        let jobs = whole[..end].matches("]}\n").count();
        assert_eq!(Trace::parse(&whole.as_bytes()[..end]).unwrap().jobs.len(), [0, 2, 3][jobs]);
    }
}

#[test]
fn only_a_trace_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.jsonl");
    let config = CollectorConfig::default();
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(TraceRecorder::create(&path, &config), Err(TraceError::NoTrace)));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    std::fs::write(&path, "").unwrap();
    for jobs in [3, 1] {
        let recorder = TraceRecorder::create(&path, &config).unwrap();
        accept(&recorder, jobs);
        drop(recorder);
        assert_eq!(Trace::read(&path).unwrap().jobs.len(), jobs);
    }
}
