//! `--load`: the same flights through a batching service and through one that writes each row by itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::clients::{self, Tally};
use crate::options::Options;
use crate::report;
use crate::service::{Service, ServiceError};
use crate::signal;
use crate::slice::Slice;

/// What one service did with the load.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) max_size: usize,
    pub(crate) synchronous: &'static str,
    pub(crate) batches: u64,
    pub(crate) tally: Tally,
}

#[derive(Debug, Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error("the committed slice of flights is broken: {0}")]
    Slice(#[from] csv::Error),
    #[error("the clients ended without a result")]
    Clients,
    #[error("{count} of the answers were not the expected ones; the first: {first}")]
    Answers { count: usize, first: String },
    #[error("interrupted")]
    Interrupted,
}

/// Runs both services one after the other and prints them side by side.
pub(crate) async fn compare(options: &Options, flights: usize) -> Result<(), LoadError> {
    let interrupted = signal::interrupted().map_err(ServiceError::Signal)?;
    tokio::select! {
        done = run_both(options, flights) => done,
        () = interrupted => Err(LoadError::Interrupted),
    }
}

async fn run_both(options: &Options, flights: usize) -> Result<(), LoadError> {
    let slice = Arc::new(Slice::read()?);
    report::announce(flights, &slice);
    let batched = run(options, &slice, flights, options.max_size).await?;
    let single = run(&Options { record: None, ..options.clone() }, &slice, flights, 1).await?;
    report::side_by_side(options, &batched, &single);
    match batched.tally.first_wrong.or(single.tally.first_wrong) {
        Some(first) => Err(LoadError::Answers { count: batched.tally.wrong + single.tally.wrong, first }),
        None => Ok(()),
    }
}

async fn run(options: &Options, slice: &Arc<Slice>, flights: usize, max_size: usize) -> Result<Run, LoadError> {
    let database = Temporary::beside(&options.database);
    let options = Options { database: database.0.clone(), port: 0, max_size, ..options.clone() };
    let service = Service::start(&options).await?;
    eprintln!("batches of up to {max_size}: watch it on http://{}", service.address);
    let url = format!("http://{}/flights", service.address);
    let times = options.rate.map(|rate| clients::times(flights, rate));
    let tally =
        clients::post(url, Arc::clone(slice), flights, options.clients, times).await.ok_or(LoadError::Clients)?;
    let stats = service.flights.stats().await.map_err(ServiceError::from)?;
    let synchronous = service.synchronous;
    service.stop().await?;
    Ok(Run { max_size, synchronous, batches: stats.batches.values().sum(), tally })
}

/// A database that goes away when its run is over. It lies beside the real one, because what is measured is that disk.
struct Temporary(PathBuf);

impl Temporary {
    fn beside(database: &Path) -> Self {
        let temporary = Self(database.with_file_name(format!("load-{}.sqlite", std::process::id())));
        temporary.remove();
        temporary
    }

    fn remove(&self) {
        for end in ["", "-wal", "-shm"] {
            let mut file = self.0.clone().into_os_string();
            file.push(end);
            // Nothing to remove is as good as removed.
            let _ = std::fs::remove_file(file);
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.remove();
    }
}
