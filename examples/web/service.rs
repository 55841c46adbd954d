//! The service as a whole: how its parts are started, and the order in which they end.

use std::net::SocketAddr;
use std::path::PathBuf;

use actix_batch::{Closed, StartError, WaitError};
use actix_batch::{Stats, prelude::*};
use actix_web::dev::ServerHandle;
use actix_web::web::Data;
use actix_web::{App, HttpServer};
use thiserror::Error;

use crate::insert::{FlightInserter, InsertFlight};
use crate::live::Live;
use crate::lookup::{FlightLookup, GetFlight};
use crate::options::Options;
use crate::page;
use crate::panel::Panel;
use crate::routes::routes;
use crate::store::Database;

/// A service that takes requests.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    /// As SQLite reports it.
    pub(crate) synchronous: &'static str,
    pub(crate) flights: Collector<InsertFlight>,
    pub(crate) lookups: Collector<GetFlight>,
    live: Data<Live>,
    server: ServerHandle,
}

#[derive(Debug, Error)]
pub(crate) enum ServiceError {
    #[error("cannot use the database {}: {error}", path.display())]
    Database { path: PathBuf, error: rusqlite::Error },
    #[error("cannot listen on 127.0.0.1:{port}: {error}; choose another one with --port")]
    Port { port: u16, error: std::io::Error },
    #[error(transparent)]
    Collector(#[from] StartError),
    #[error("cannot listen for Ctrl-C: {0}")]
    Signal(#[from] std::io::Error),
    #[error("a collector ended before it was told to")]
    Closed(#[from] Closed),
    #[error("a collector did not shut down: {0}")]
    Shutdown(#[from] WaitError),
}

impl Service {
    pub(crate) async fn start(options: &Options) -> Result<Self, ServiceError> {
        let database = Database::at(&options.database);
        let synchronous = check(&database, options)?;
        let flights = collect_flights(&database, options)?;
        let lookups = collect_lookups(&database, options)?;
        let live = Data::new(
            Live::start(
                page::template(options, synchronous),
                (flights.clone(), Panel::new("flights", options.max_size)),
                (lookups.clone(), Panel::new("lookups", options.max_size)),
            )
            .await,
        );
        let shared = (Data::new(flights.clone()), Data::new(lookups.clone()), live.clone());
        let app = move || {
            let (flights, lookups, live) = shared.clone();
            App::new().app_data(flights).app_data(lookups).app_data(live).configure(routes)
        };
        let server = HttpServer::new(app)
            // Signals are main's: the collectors have a part in the end as well.
            .disable_signals()
            .shutdown_timeout(5)
            .bind(("127.0.0.1", options.port))
            .map_err(|error| ServiceError::Port { port: options.port, error })?;
        let address = server.addrs()[0];
        let server = server.run();
        let handle = server.handle();
        actix_rt::spawn(server);
        Ok(Self { address, synchronous, flights, lookups, live, server: handle })
    }

    /// Ends the service without leaving anyone who was accepted without an answer, and says what it has done.
    ///
    /// No new connections, and the open ones close with the answer that they wait for; the batches that hold these
    /// answers leave at once instead of at their interval; when the last answer is out, the server is done.
    pub(crate) async fn stop(self) -> Result<[Stats; 2], ServiceError> {
        let stopped = self.server.stop(true);
        self.live.end();
        self.flights.shutdown(Shutdown::drain()).await?;
        self.lookups.shutdown(Shutdown::drain()).await?;
        stopped.await;
        Ok([self.flights.stats().await?, self.lookups.stats().await?])
    }
}

/// Opens the file once before anything is promised, so that a bad path ends the start and not the first batch.
fn check(database: &Database, options: &Options) -> Result<&'static str, ServiceError> {
    let opened = database.open().and_then(|store| store.synchronous());
    opened.map_err(|error| ServiceError::Database { path: options.database.clone(), error })
}

/// SQLite blocks the thread that calls it, so each processor has a thread of its own.
fn collect_flights(database: &Database, options: &Options) -> Result<Collector<InsertFlight>, StartError> {
    let database = database.clone();
    let flights = Collector::builder(move || FlightInserter::new(database.clone()))
        .name("flights")
        .max_size(options.max_size)
        .interval(options.interval)
        .max_pending(options.max_pending)
        .timeout(options.timeout)
        .workers(Workers::threads(options.workers));
    match &options.record {
        Some(trace) => flights.record(trace).start(),
        None => flights.start(),
    }
}

fn collect_lookups(database: &Database, options: &Options) -> Result<Collector<GetFlight>, StartError> {
    let database = database.clone();
    Collector::builder(move || FlightLookup::new(database.clone()))
        .name("lookups")
        .max_size(options.max_size)
        .interval(options.interval)
        .max_pending(options.max_pending)
        .timeout(options.timeout)
        .workers(Workers::threads(options.workers))
        .start()
}
