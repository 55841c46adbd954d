//! Runs on a real server: every record once, and what the runner tells a run takes effect.

use std::time::Duration;

use actix_batch_pipeline::{Pipeline, RunError, prelude::Definition};
use actix_batch_temporal::{ClusterError, TemporalRunner, TemporalWorker};
use serde::{Deserialize, Serialize};
use support::{Place, Server, Worker, until};
use tokio::time::{sleep, timeout};

mod support;

#[actix_rt::test]
async fn a_run_copies_every_record_once_over_several_runs_of_the_workflow() {
    let Some(server) = Server::start().await else { return };
    let (place, _worker) = (Place::new(20_000), server.worker(4));
    let start = server.runner().await.start(&place.copy(0)).rows_per_range(1_000).ranges_per_run(6);
    let report = start.run_as("copy").await.unwrap().report().await.unwrap();
    assert_eq!((report.totals.records, report.totals.rejected, report.failed.len()), (20_000, 200, 0));
    assert!((15..=25).contains(&report.totals.ranges), "{report:?}");
    assert_eq!(place.counts(), (19_800, 19_800, 200));
}

#[actix_rt::test]
async fn a_run_can_be_paused_and_throttled_and_resumed() {
    let Some(server) = Server::start().await else { return };
    let (place, _worker) = (Place::new(4_000), server.worker(4));
    let start = server.runner().await.start(&place.copy(500)).rows_per_range(200).in_flight(2);
    let run = start.run_as("paused").await.unwrap();
    until(&run, |progress| progress.totals.ranges >= 2).await;
    run.pause().await.unwrap();
    let held = until(&run, |progress| progress.paused && progress.running == 0).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(run.progress().await.unwrap().totals, held.totals, "a paused run copies nothing");
    assert_eq!(run.set_in_flight(4).await.unwrap(), 2);
    for refused in [0, 1_001] {
        let error = run.set_in_flight(refused).await.unwrap_err().to_string();
        assert!(error.contains("`in_flight` must be from 1 to 1,000"), "{error}");
    }
    run.resume().await.unwrap();
    assert_eq!(until(&run, |progress| progress.running == 4).await.in_flight, 4);
    assert_eq!(run.report().await.unwrap().totals.records, 4_000);
    assert_eq!(place.counts(), (3_960, 3_960, 40));
}

#[actix_rt::test]
async fn a_run_that_is_stopped_says_where_another_one_goes_on() {
    let Some(server) = Server::start().await else { return };
    let (place, _worker) = (Place::new(4_000), server.worker(2));
    let (runner, copy) = (server.runner().await, place.copy(500));
    let run = runner.start(&copy).rows_per_range(200).in_flight(2).run_as("first").await.unwrap();
    until(&run, |progress| progress.totals.ranges >= 3).await;
    run.stop().await.unwrap();
    let first = run.report().await.unwrap();
    assert!(first.stopped && first.totals.records < 4_000, "{first:?}");
    let rest = runner.start(&copy).rows_per_range(200).go_on_after(first.copied_up_to);
    let rest = rest.run_as("rest").await.unwrap().report().await.unwrap();
    assert_eq!(first.totals.records + rest.totals.records, 4_000);
    assert_eq!(place.counts(), (3_960, 3_960, 40));
}

#[actix_rt::test]
async fn a_run_of_the_same_name_copies_nothing_again() {
    let Some(server) = Server::start().await else { return };
    let (place, _worker) = (Place::new(2_000), server.worker(2));
    let runner = server.runner().await;
    for _ in 0..2 {
        let start = runner.start(&place.copy(0)).rows_per_range(500);
        assert_eq!(start.run_as("again").await.unwrap().report().await.unwrap().totals.records, 2_000);
    }
    assert_eq!(place.counts(), (1_980, 1_980, 20));
}

#[actix_rt::test]
async fn a_run_that_is_cancelled_ends_and_another_one_of_its_name_finishes_it() {
    let Some(server) = Server::start().await else { return };
    let (place, _worker) = (Place::new(4_000), server.worker(4));
    let (runner, copy) = (server.runner().await, place.copy(500));
    let run = runner.start(&copy).rows_per_range(1_000).run_as("cancelled").await.unwrap();
    until(&run, |progress| progress.running > 0).await;
    run.cancel().await.unwrap();
    let error = run.report().await.unwrap_err();
    assert!(matches!(error, ClusterError::Ended { how: "cancelled", .. }), "{error}");
    let again = runner.start(&copy).rows_per_range(1_000).run_as("cancelled").await.unwrap();
    assert_eq!(again.report().await.unwrap().totals.records, 4_000);
    assert_eq!(place.counts(), (3_960, 3_960, 40));
}

/// A definition that the workers do not know.
#[derive(Serialize, Deserialize)]
struct Unknown;

impl Definition for Unknown {
    const NAME: &'static str = "unknown";

    fn build(&self) -> Result<Pipeline, RunError> {
        unreachable!("no worker knows it")
    }
}

#[actix_rt::test]
async fn a_definition_that_the_workers_do_not_know_fails_the_run_by_name() {
    let Some(server) = Server::start().await else { return };
    let _worker = server.worker(1);
    let run = server.runner().await.start(&Unknown).run_as("unknown").await.unwrap();
    let error = run.report().await.unwrap_err().to_string();
    assert!(error.contains("it is not registered here; registered are: copy"), "{error}");
}

#[actix_rt::test]
async fn a_range_that_always_fails_ends_the_run_with_the_whole_chain_of_causes() {
    let Some(server) = Server::start().await else { return };
    let (place, _worker) = (Place::new(100), server.worker(1));
    let mut copy = place.copy(0);
    copy.rows = copy.rows.with_extension("missing");
    let run = server.runner().await.start(&copy).run_as("missing").await.unwrap();
    let error = run.report().await.unwrap_err().to_string();
    assert!(error.contains("cannot be planned") && error.contains("rows.missing does not exist"), "{error}");
}

#[actix_rt::test]
async fn a_run_and_its_report_survive_a_server_that_crashes_and_comes_back() {
    let Some(mut server) = Server::start().await else { return };
    let (place, _worker) = (Place::new(6_000), server.worker(2));
    let start = server.runner().await.start(&place.copy(500)).rows_per_range(500).in_flight(2);
    let run = start.run_as("crash").await.unwrap();
    let waiting = actix_rt::spawn({
        let run = server.runner().await.run("crash");
        async move { run.report().await }
    });
    until(&run, |progress| progress.totals.ranges >= 2).await;
    server.crash();
    sleep(Duration::from_secs(1)).await;
    server.restart();
    let report = timeout(Duration::from_secs(90), waiting).await.expect("the run ends").unwrap().unwrap();
    assert_eq!(report.totals.records, 6_000);
    assert_eq!(place.counts(), (5_940, 5_940, 60));
}

#[actix_rt::test]
async fn a_run_finds_the_size_of_its_ranges_and_another_one_of_its_name_cuts_the_same() {
    let Some(server) = Server::start().await else { return };
    let (place, _worker) = (Place::new(40_000), server.worker(2));
    let runner = server.runner().await;
    let mut ranges = Vec::new();
    // It continues as new meanwhile; and the second time nothing is left to measure.
    for _ in 0..2 {
        let run = runner.start(&place.copy(0)).in_flight(2).ranges_per_run(3).run_as("measured").await.unwrap();
        let totals = run.report().await.unwrap().totals;
        assert_eq!(totals.records, 40_000);
        ranges.push(totals.ranges);
    }
    assert!(ranges[0] < 30 && ranges[0] == ranges[1], "they stayed as small as the first ones: {ranges:?}");
    assert_eq!(place.counts(), (39_600, 39_600, 400));
}

#[actix_rt::test]
async fn a_run_that_measured_and_was_cancelled_is_finished_by_another_one_of_its_name() {
    let Some(server) = Server::start().await else { return };
    let (place, _worker) = (Place::new(20_000), server.worker(4));
    let runner = server.runner().await;
    let run = runner.start(&place.copy(300)).in_flight(4).run_as("cancelled").await.unwrap();
    until(&run, |progress| progress.totals.ranges >= 6).await;
    run.cancel().await.unwrap();
    run.report().await.unwrap_err();
    // Its rows take no time, so that it would measure other sizes.
    let again = runner.start(&place.copy(0)).in_flight(2).run_as("cancelled").await.unwrap();
    assert_eq!(again.report().await.unwrap().totals.records, 20_000);
    assert_eq!(place.counts(), (19_800, 19_800, 200));
}

#[actix_rt::test]
async fn a_runner_and_a_worker_can_share_a_client_and_it_outlives_a_crash_of_the_server() {
    let Some(mut server) = Server::start().await else { return };
    let (place, client) = (Place::new(4_000), server.client().await);
    let _worker = Worker::run(TemporalWorker::with_client(&client).slots(2));
    let start = TemporalRunner::with_client(&client).start(&place.copy(500)).rows_per_range(500).in_flight(2);
    let run = start.run_as("shared").await.unwrap();
    until(&run, |progress| progress.totals.ranges >= 1).await;
    server.crash();
    server.restart();
    let report = timeout(Duration::from_secs(90), run.report()).await.expect("the run ends").unwrap();
    assert_eq!(report.totals.records, 4_000);
    assert_eq!(place.counts(), (3_960, 3_960, 40));
}
