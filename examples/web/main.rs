//! A web service that batches for its database: many requests at once, one SQL statement for all of them, and each is
//! answered on its own. `--help` says what can be set; `--load 20000` shows what batching buys.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "these numbers are only drawn and printed"
)]
#![allow(clippy::doc_markdown, reason = "clap prints the documentation of an option as it stands")]

mod chart;
mod clients;
mod flight;
mod health;
mod insert;
mod live;
mod load;
mod lookup;
mod metrics;
mod options;
mod page;
mod panel;
mod report;
mod routes;
mod rows;
mod service;
mod signal;
mod slice;
mod store;

use std::process::ExitCode;

use clap::Parser;

use crate::options::Options;
use crate::service::{Service, ServiceError};

/// The texts of a flight.
type Text = String;

#[actix_web::main]
async fn main() -> ExitCode {
    env_logger::init();
    let options = Options::parse();
    let done = match options.load {
        Some(flights) => load::compare(&options, flights).await.map_err(|error| error.to_string()),
        None => serve(&options).await.map_err(|error| error.to_string()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until Ctrl-C, then lets everyone who waits have their answer.
async fn serve(options: &Options) -> Result<(), ServiceError> {
    let interrupted = signal::interrupted()?;
    let service = Service::start(options).await?;
    println!(
        "database {}, synchronous={}; batches of up to {}, {} workers",
        options.database.display(),
        service.synchronous,
        options.max_size,
        options.workers,
    );
    println!("listening on http://{}", service.address);
    interrupted.await;
    println!("stopping: the last answers go out");
    report::ended(&service.stop().await?);
    Ok(())
}
