//! How often a collector wakes up while nobody submits.

use std::{convert::Infallible, fs, io, thread, time::Duration};

use actix_batch::prelude::*;

use crate::host::Host;

const WORKERS: usize = 8;

/// Wake-ups per second, over all threads, of a collector with 8 workers on threads of their own: voluntary context switches as
/// Linux counts them. `None` elsewhere.
pub(crate) fn run(smoke: bool) -> Option<f64> {
    let collector =
        Collector::builder(|| Echo).workers(Workers::threads(WORKERS)).start_on_thread().expect("the collector starts");
    work_a_little(&collector);
    let wakeups = per_second(Duration::from_secs(if smoke { 1 } else { 4 }));
    match &wakeups {
        Ok(wakeups) => println!("an idle collector with {WORKERS} workers wakes up {wakeups:.2} times a second"),
        Err(error) => println!("wake-ups of an idle collector: not counted here ({error})"),
    }
    wakeups.ok()
}

/// A collector that has never worked has armed no timer yet.
fn work_a_little(collector: &Collector<Nothing>) {
    let replies: Vec<_> = (0..1_000).map(|_| collector.submit(Nothing)).collect();
    Host::CurrentThread.run(async {
        for reply in replies {
            reply.await.expect("the processor answers");
        }
    });
    thread::sleep(Duration::from_millis(300));
}

fn per_second(window: Duration) -> io::Result<f64> {
    let before = switches_of_the_others()?;
    thread::sleep(window);
    Ok((switches_of_the_others()? - before) as f64 / window.as_secs_f64())
}

/// Of every thread of this process but the one that counts.
fn switches_of_the_others() -> io::Result<u64> {
    let own = fs::read_link("/proc/thread-self")?;
    let mut switches = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?;
        if Some(task.file_name().as_os_str()) != own.file_name() {
            switches += voluntary_switches(&fs::read_to_string(task.path().join("status"))?);
        }
    }
    Ok(switches)
}

fn voluntary_switches(status: &str) -> u64 {
    let field = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    field.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

struct Nothing;

impl Job for Nothing {
    type Output = ();
    type Error = Infallible;
}

struct Echo;

impl BatchProcessor for Echo {
    type Job = Nothing;

    async fn process(&mut self, _: &Batch<Nothing>) -> Result<Outcomes<Nothing>, Infallible> {
        Ok(Outcomes::all(()))
    }
}
