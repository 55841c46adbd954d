//! Histories that were recorded are replayed: the workflow decides today what it decided then. One that was tampered with is refused.
//!
//! `RECORD_HISTORIES=1 TEMPORAL_CLI=… cargo test --test replay` records new ones, after a change that is meant to change decisions.

use std::{env, fs, path::PathBuf};

use actix_batch_temporal::PipelineWorkflow;
use support::{Place, Server};
use temporalio_client::WorkflowHistory;
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};

mod support;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/histories")
}

async fn replay(json: &[u8]) -> Result<(), String> {
    let options = WorkflowReplayerOptions::new().register_workflow::<PipelineWorkflow>().unwrap().build();
    let history = WorkflowHistory::from_json(json).map_err(|error| error.to_string())?;
    let replayer = WorkflowReplayer::new(options).map_err(|error| error.to_string())?;
    replayer.replay_workflow(history).await.map(drop).map_err(|error| error.to_string())
}

#[actix_rt::test]
async fn each_recorded_history_is_replayed_and_none_that_was_tampered_with() {
    let mut replayed = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let json = fs::read_to_string(&path).unwrap();
        replay(json.as_bytes()).await.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let tampered = json.replacen("actix-batch.copy", "actix-batch.other", 1);
        assert_ne!(tampered, json);
        assert!(replay(tampered.as_bytes()).await.is_err(), "{}: tampered with, and replayed", path.display());
        replayed += 1;
    }
    assert!(replayed > 0, "no history was recorded");
}

#[actix_rt::test]
async fn histories_from_the_server_are_replayed_and_a_range_takes_six_events_and_little_history() {
    let Some(server) = Server::start().await else { return };
    let (runner, _worker) = (server.runner().await, server.worker(2));
    for (name, ranges_per_run, rows_per_range) in [
        ("whole", 500, Some(200)),
        ("last-part", 8, Some(200)),
        ("measured", 500, None),
        ("measured-last-part", 5, None),
    ] {
        let place = Place::new(4_000);
        let mut start = runner.start(&place.copy(100)).ranges_per_run(ranges_per_run).in_flight(3);
        if let Some(rows) = rows_per_range {
            start = start.rows_per_range(rows);
        }
        let run = start.run_as(name).await.unwrap();
        run.pause().await.unwrap();
        run.set_in_flight(2).await.unwrap();
        run.resume().await.unwrap();
        run.report().await.unwrap();
        let history = run.history().await.unwrap();
        replay(&history).await.unwrap();
        let text = String::from_utf8(history).unwrap();
        let (events, ranges) =
            (text.matches("\"event_id\"").count(), text.matches("\"name\":\"actix-batch.copy\"").count());
        let bytes = server.history_bytes(name);
        println!("{name}: {events} events and {bytes} bytes for {ranges} ranges");
        // Begin and end, the plans, and what was told, besides the ranges. A run that measures plans a few times more.
        let besides = if rows_per_range.is_some() { 30 } else { 60 };
        assert!(events <= 6 * ranges + besides, "{events} events for {ranges} ranges");
        assert!(bytes <= 1_500 * ranges as u64 + 20_000, "{bytes} bytes for {ranges} ranges");
        if env::var_os("RECORD_HISTORIES").is_some() {
            fs::create_dir_all(folder()).unwrap();
            fs::write(folder().join(format!("{name}.json")), text).unwrap();
        }
    }
}
