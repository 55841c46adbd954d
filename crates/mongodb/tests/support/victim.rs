//! A run that is killed: the test starts itself as another process. The run says by itself that it has written something, because the test server
//! looks at all documents to count them, and would do little else.

use std::{env, os::unix::process::ExitStatusExt, process::Stdio, time::Duration};

use actix_batch_pipeline::{PipelineHandle, Report};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

const WRITTEN: &str = "it has written";

/// The test `victim` in a process of its own.
pub(crate) struct Victim {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Victim {
    pub(crate) fn start(environment: &[(&str, String)]) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "victim", "--ignored", "--nocapture"]).envs(environment.iter().cloned());
        let mut process = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    /// Waits until it has written something, or has ended.
    pub(crate) async fn has_written(&mut self) {
        let told = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                if line.ends_with(WRITTEN) {
                    return;
                }
            }
        };
        timeout(Duration::from_secs(60), told).await.expect("the run writes nothing");
    }

    /// Kills it. Returns whether it had not come to its end. One that fails by itself fails the test.
    pub(crate) async fn kill(mut self) -> bool {
        // It may have ended already.
        let _ = self.process.start_kill();
        let ended = self.process.wait().await.unwrap();
        let was_killed = ended.signal().is_some();
        assert!(ended.success() || was_killed, "the run itself fails, with what stands above");
        was_killed
    }

    /// Lets it come to its end.
    pub(crate) async fn end(mut self) {
        while self.lines.next_line().await.unwrap().is_some() {}
        assert!(self.process.wait().await.unwrap().success());
    }
}

/// Says so once the run has written so many records, and returns its report.
pub(crate) async fn told(run: PipelineHandle, records: u64) -> Report {
    // The actor ends with its run.
    while run.progress().written < records && run.addr().connected() {
        actix_rt::time::sleep(Duration::from_millis(1)).await;
    }
    println!("{WRITTEN}");
    run.report().await.unwrap()
}
