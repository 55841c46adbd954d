//! HTTP on one side, the collectors on the other: a handler submits one job and answers with that job's outcome.

use std::fmt::Display;

use actix_batch::prelude::*;
use actix_batch::{Closed, WorkerStats};
use actix_web::error::{JsonPayloadError, PathError, ResponseError};
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, RETRY_AFTER};
use actix_web::web::{Data, Json, JsonConfig, Path, PathConfig, ServiceConfig};
use actix_web::{HttpResponse, get, post};
use serde_json::json;
use thiserror::Error;

use crate::flight::Flight;
use crate::health::is_able;
use crate::insert::{InsertError, InsertFlight};
use crate::live::Live;
use crate::lookup::{GetFlight, LookupError, StoredFlight};
use crate::metrics;
use crate::store::Stored;

const NO_FLIGHT: &str = "no flight has this id";

pub(crate) fn routes(app: &mut ServiceConfig) {
    let bad_json = |error: JsonPayloadError, _: &_| ApiError::new(error.status_code(), error).into();
    let bad_id = |_: PathError, _: &_| ApiError::new(StatusCode::NOT_FOUND, NO_FLIGHT).into();
    app.app_data(JsonConfig::default().error_handler(bad_json))
        .app_data(PathConfig::default().error_handler(bad_id))
        .service((post_flight, get_flight, page, events, all_metrics, health));
}

#[post("/flights")]
async fn post_flight(
    flights: Data<Collector<InsertFlight>>,
    Json(flight): Json<Flight>,
) -> Result<HttpResponse, ApiError> {
    Ok(match ask(&flights, InsertFlight(flight)).await? {
        Stored::Created(id) => HttpResponse::Created().json(json!({ "id": id, "status": "created" })),
        Stored::AlreadyKnown(id) => HttpResponse::Ok().json(json!({ "id": id, "status": "already known" })),
    })
}

#[get("/flights/{id}")]
async fn get_flight(lookups: Data<Collector<GetFlight>>, id: Path<i64>) -> Result<Json<StoredFlight>, ApiError> {
    Ok(Json(ask(&lookups, GetFlight(*id)).await?))
}

#[get("/")]
async fn page(live: Data<Live>) -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(live.page())
}

#[get("/events")]
async fn events(live: Data<Live>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-store"))
        .streaming(live.events())
}

#[get("/metrics")]
async fn all_metrics(
    flights: Data<Collector<InsertFlight>>,
    lookups: Data<Collector<GetFlight>>,
) -> Result<HttpResponse, ApiError> {
    let collectors = [flights.stats().await?, lookups.stats().await?];
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(metrics::render(&collectors)))
}

/// 200 while each collector has a worker that can work, 503 otherwise.
#[get("/health")]
async fn health(
    flights: Data<Collector<InsertFlight>>,
    lookups: Data<Collector<GetFlight>>,
) -> Result<HttpResponse, ApiError> {
    let collectors = [flights.stats().await?, lookups.stats().await?];
    let workers = collectors.iter().map(|stats| {
        let WorkerStats { total, able, resting, .. } = stats.workers;
        (stats.collector.clone(), json!({ "total": total, "able": able, "resting": resting }))
    });
    let workers: serde_json::Map<_, _> = workers.collect();
    let status = if is_able(&collectors) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(HttpResponse::build(status).json(workers))
}

/// A full collector refuses at once, so that the caller hears of it instead of waiting in line.
async fn ask<J: Job>(collector: &Collector<J>, job: J) -> JobResult<J> {
    match collector.try_submit(job) {
        Ok(answer) => answer.await,
        Err(rejected) => Err(rejected.reason.into()),
    }
}

/// An error as the client sees it: a status, and `{"error": "why"}`.
#[derive(Debug, Error)]
#[error("{message}")]
struct ApiError {
    status: StatusCode,
    message: String,
}

impl ApiError {
    fn new(status: StatusCode, message: impl Display) -> Self {
        Self { status, message: message.to_string() }
    }

    /// What the collector itself answers when no processor did.
    fn of_collector<E: Display>(error: &JobError<E>) -> Self {
        let status = match error {
            JobError::Overloaded | JobError::NoWorkers | JobError::ShutDown => StatusCode::SERVICE_UNAVAILABLE,
            JobError::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error)
    }
}

impl From<Closed> for ApiError {
    fn from(closed: Closed) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, closed)
    }
}

impl From<JobError<InsertError>> for ApiError {
    fn from(error: JobError<InsertError>) -> Self {
        let JobError::Failed(reason) = &error else { return Self::of_collector(&error) };
        let status = match **reason {
            InsertError::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, reason)
    }
}

impl From<JobError<LookupError>> for ApiError {
    fn from(error: JobError<LookupError>) -> Self {
        match &error {
            JobError::NoResult => Self::new(StatusCode::NOT_FOUND, NO_FLIGHT),
            JobError::Failed(reason) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, reason),
            other => Self::of_collector(other),
        }
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut answer = HttpResponse::build(self.status);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            answer.insert_header((RETRY_AFTER, "1"));
        }
        answer.json(json!({ "error": self.message }))
    }
}
