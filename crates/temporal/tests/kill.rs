//! Workers that are killed: processes of their own, ended by SIGKILL.
#![cfg(unix)]

use std::{
    env,
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime},
};

use actix_batch_pipeline::prelude::Definition;
use actix_batch_temporal::{PipelineWorkflow, RunHandle, TemporalWorker};
use support::{Copy, Place, Server, until};
use temporalio_client::{Client, WorkflowDescribeOptions, WorkflowHandle};
use tokio::time::{sleep, timeout};

mod support;

/// Longer than every time-out that a dead worker can run into: heartbeats 2 s, tasks of the workflow 10 s.
const OUTAGE: Duration = Duration::from_secs(15);

/// The worker that is killed; it does nothing in a usual run of the tests.
#[actix_rt::test]
async fn worker() {
    let Ok(server) = env::var("WORKER_OF") else { return };
    TemporalWorker::new(&server).register::<Copy>().slots(2).run().await.unwrap();
}

/// A process with a worker, killed when this is dropped.
struct Process(Child);

impl Process {
    fn start(server: &Server) -> Self {
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "worker", "--nocapture"])
            .env("WORKER_OF", server.url())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    /// A worker is named by its process and its machine.
    fn is(&self, worker: &str) -> bool {
        worker.starts_with(&format!("{}@", self.0.id()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[actix_rt::test]
async fn a_run_outlives_all_its_workers_and_its_table_is_that_of_a_plain_run() {
    let Some(server) = Server::start().await else { return };
    let (place, plain) = (Place::new(6_000), Place::new(6_000));
    plain.copy(0).build().unwrap().run().await.unwrap();
    let workers = [Process::start(&server), Process::start(&server)];
    let start = server.runner().await.start(&place.copy(1_000)).rows_per_range(500).in_flight(4);
    let run = start.run_as("outage").await.unwrap();
    until(&run, |progress| progress.totals.ranges >= 2 && progress.running == 4).await;
    drop(workers);
    assert!(place.rows().len() < plain.rows().len(), "the run was over before its workers were killed");
    sleep(OUTAGE).await;
    let _workers = [Process::start(&server), Process::start(&server)];
    let report = timeout(Duration::from_mins(2), run.report()).await.expect("the run ends").unwrap();
    assert_eq!((report.totals.records, report.failed.len()), (6_000, 0));
    assert_eq!(place.rows(), plain.rows());
    assert_eq!(place.counts(), plain.counts());
}

/// A range that a worker has begun.
#[derive(Debug, PartialEq)]
struct Begun {
    activity: String,
    worker: String,
    attempt: i32,
    time: SystemTime,
}

async fn begun(client: &Client, run: &RunHandle) -> Vec<Begun> {
    let workflow: WorkflowHandle<Client, PipelineWorkflow> = client.get_workflow_handle(run.name());
    let described = workflow.describe(WorkflowDescribeOptions::default()).await.unwrap();
    let pending = described.raw_description.pending_activities.into_iter();
    pending
        .filter(|activity| activity.state().as_str_name() == "PENDING_ACTIVITY_STATE_STARTED")
        .filter(|activity| activity.activity_type.as_ref().unwrap().name == "actix-batch.copy")
        .map(|activity| Begun {
            activity: activity.activity_id,
            worker: activity.last_worker_identity,
            attempt: activity.attempt,
            time: activity.last_started_time.unwrap().try_into().unwrap(),
        })
        .collect()
}

/// Asks until there is an answer.
async fn ask<T>(question: impl AsyncFn() -> Option<T>) -> T {
    let answered = async {
        loop {
            match question().await {
                Some(answer) => return answer,
                None => sleep(Duration::from_millis(50)).await,
            }
        }
    };
    timeout(Duration::from_secs(30), answered).await.expect("there is an answer within 30 s")
}

#[actix_rt::test]
async fn the_range_of_a_killed_worker_is_begun_by_another_one_within_seconds() {
    let Some(server) = Server::start().await else { return };
    let (place, client) = (Place::new(6_000), server.client().await);
    let mut workers = vec![Process::start(&server), Process::start(&server)];
    // Each range takes six seconds and more, and whichever worker is left has a free slot.
    let start = server.runner().await.start(&place.copy(4_000)).rows_per_range(1_500).in_flight(2);
    let run = start.run_as("killed").await.unwrap();
    let (run, client) = (&run, &client);
    let lost = ask(async || begun(client, run).await.into_iter().next()).await;
    let killed = workers.iter().position(|worker| worker.is(&lost.worker)).unwrap();
    let killed = workers.remove(killed);
    let time = SystemTime::now();
    drop(killed);
    let again = ask(async || {
        let mut all = begun(client, run).await.into_iter();
        all.find(|range| range.activity == lost.activity && range.attempt > lost.attempt)
    })
    .await;
    let took = again.time.duration_since(time).unwrap();
    println!("begun again {} ms after the worker was killed", took.as_millis());
    assert!(workers[0].is(&again.worker) && again.attempt == 2, "{} {}", again.worker, again.attempt);
    assert!(took < Duration::from_secs(10), "{took:?}");
    run.report().await.unwrap();
    assert_eq!(place.counts(), (5_940, 5_940, 60));
}
