//! What an actix-web client is told: `?` in a handler turns each error into a response.

use std::time::Duration;

use actix_web::{
    HttpResponse, HttpResponseBuilder, ResponseError,
    http::{StatusCode, header},
};

use crate::error::{Closed, JobError, RejectReason, Rejected, WaitError};

/// What `Retry-After` says, in seconds: a full collector has room again within a few batches.
const RETRY_AFTER: u64 = 1;

/// With the feature `actix-web`, a handler that submits a job is one line.
///
/// | error | status | why |
/// |---|---|---|
/// | `Failed` | the error's own | its `ResponseError` writes the response, status, headers and body. The downstream's faults arrive here, so 502 is yours to say |
/// | `Overloaded`, `NoWorkers`, `ShutDown` | 503, `Retry-After: 1` | asking again, here or at another instance, may succeed |
/// | `CircuitOpen` | 503, `Retry-After`: until the breaker's next probe, in whole seconds | the downstream is known to fail |
/// | `TimedOut`, `Expired` | 504 | there was no answer in time |
/// | `KeyConflict` | 422 | the idempotency key stands for another request |
/// | `EarlierFailed` | 424 | an earlier job of the same key failed, and this one with it |
/// | `TooLarge` | 413 | the downstream refuses this job alone |
/// | `NoResult` | 404 | the downstream has nothing under this job's key |
/// | `Mismatch`, `DuplicateKey` | 500 | the processor does not fit what it is asked: a defect of this service |
/// | `Panicked`, `Lost` | 500 | the job may have taken effect, so no client is invited to send it again |
/// | `Abandoned` | 500 | never sent: its caller has gone |
///
/// The body is the error's `Display` as plain text.
///
/// ```
/// use actix_batch::prelude::*;
/// use actix_web::{Result, http::StatusCode, test, web};
///
/// struct GetUser(u64);
/// impl Job for GetUser {
///     type Output = String;
///     type Error = std::io::Error; // anything that is a `ResponseError`: an `impl ResponseError for DbError {}` will do
/// }
///
/// async fn user(users: web::Data<Collector<GetUser>>, id: web::Path<u64>) -> Result<String> {
///     Ok(users.submit(GetUser(*id)).await?)
/// }
/// # struct UserLookup;
/// # impl BatchProcessor for UserLookup {
/// #     type Job = GetUser;
/// #     async fn process(&mut self, batch: &Batch<GetUser>) -> std::io::Result<Outcomes<GetUser>> {
/// #         Ok(Outcomes::lookup(batch, vec!["user 7".to_owned()], |job| format!("user {}", job.0), String::clone))
/// #     }
/// # }
/// # actix_web::rt::System::new().block_on(async {
/// # let users = web::Data::new(Collector::builder(|| UserLookup).start().unwrap());
/// # let app = actix_web::App::new().app_data(users).route("/users/{id}", web::get().to(user));
/// # let app = test::init_service(app).await;
/// # let answer = test::call_service(&app, test::TestRequest::get().uri("/users/7").to_request()).await;
/// # assert_eq!(answer.status(), StatusCode::OK);
/// let answer = test::call_service(&app, test::TestRequest::get().uri("/users/8").to_request()).await;
/// assert_eq!(answer.status(), StatusCode::NOT_FOUND);
/// # });
/// ```
impl<E: ResponseError> ResponseError for JobError<E> {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Failed(error) => error.status_code(),
            Self::Overloaded | Self::NoWorkers | Self::ShutDown | Self::CircuitOpen { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::TimedOut | Self::Expired => StatusCode::GATEWAY_TIMEOUT,
            Self::KeyConflict => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoResult => StatusCode::NOT_FOUND,
            Self::EarlierFailed => StatusCode::FAILED_DEPENDENCY,
            Self::Mismatch { .. }
            | Self::DuplicateKey
            | Self::Panicked
            | Self::Lost
            | Self::Abandoned
            | Self::PrepareFailed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        match self {
            Self::Failed(error) => error.error_response(),
            Self::CircuitOpen { retry_in } => plain(self, whole_seconds(*retry_in).max(RETRY_AFTER)),
            other => plain(other, RETRY_AFTER),
        }
    }
}

/// 503 with `Retry-After: 1` (422 for a `KeyConflict`), so that a handler that would rather refuse than let its caller wait is one line as well:
///
/// ```
/// # use actix_batch::prelude::*;
/// # use actix_web::{Result, web};
/// # struct GetUser(u64);
/// # impl Job for GetUser { type Output = String; type Error = std::io::Error; }
/// async fn user(users: web::Data<Collector<GetUser>>, id: web::Path<u64>) -> Result<String> {
///     Ok(users.try_submit(GetUser(*id))?.await?)
/// }
/// # let _ = user;
/// ```
impl<J> ResponseError for Rejected<J> {
    fn status_code(&self) -> StatusCode {
        match self.reason {
            RejectReason::Overloaded | RejectReason::ShutDown => StatusCode::SERVICE_UNAVAILABLE,
            RejectReason::Expired => StatusCode::GATEWAY_TIMEOUT,
            RejectReason::KeyConflict => StatusCode::UNPROCESSABLE_ENTITY,
        }
    }

    fn error_response(&self) -> HttpResponse {
        plain(self, RETRY_AFTER)
    }
}

/// 503 with `Retry-After: 1`: a handler that asks an ended collector for its statistics.
impl ResponseError for Closed {
    fn status_code(&self) -> StatusCode {
        StatusCode::SERVICE_UNAVAILABLE
    }

    fn error_response(&self) -> HttpResponse {
        plain(self, RETRY_AFTER)
    }
}

/// 503 with `Retry-After: 1`: a handler that waits for a collector that has ended.
impl ResponseError for WaitError {
    fn status_code(&self) -> StatusCode {
        StatusCode::SERVICE_UNAVAILABLE
    }

    fn error_response(&self) -> HttpResponse {
        plain(self, RETRY_AFTER)
    }
}

/// Rounded up: a client that comes back too early is refused again.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn plain(error: &impl ResponseError, retry_after: u64) -> HttpResponse {
    let mut response = HttpResponseBuilder::new(error.status_code());
    if error.status_code() == StatusCode::SERVICE_UNAVAILABLE {
        response.insert_header((header::RETRY_AFTER, retry_after));
    }
    response.content_type("text/plain; charset=utf-8").body(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::{fmt, sync::Arc};

    use actix_web::{
        App, Result,
        body::to_bytes,
        test::{TestRequest, call_service, init_service},
        web::{Data, Path, get},
    };

    use super::*;
    use crate::prelude::*;

    /// An error with a response of its own.
    #[derive(Debug)]
    struct Teapot;

    impl fmt::Display for Teapot {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("short and stout")
        }
    }

    impl ResponseError for Teapot {
        fn status_code(&self) -> StatusCode {
            StatusCode::IM_A_TEAPOT
        }

        fn error_response(&self) -> HttpResponse {
            HttpResponseBuilder::new(self.status_code()).insert_header(("x-spout", "left")).body("tip me over")
        }
    }

    #[derive(Debug)]
    struct Brew(u64);

    impl Job for Brew {
        type Output = String;
        type Error = Teapot;
    }

    /// 1 is brewed, 2 fails, of all others there is no result.
    struct Kitchen;

    impl BatchProcessor for Kitchen {
        type Job = Brew;

        async fn process(&mut self, batch: &Batch<Brew>) -> std::result::Result<Outcomes<Brew>, Teapot> {
            if batch.iter().any(|job| job.0 == 2) {
                return Err(Teapot);
            }
            Ok(Outcomes::by_key(batch, vec!["cup 1".to_owned()], |job| format!("cup {}", job.0), String::clone))
        }
    }

    async fn brew(kitchen: Data<Collector<Brew>>, id: Path<u64>) -> Result<String> {
        Ok(kitchen.submit(Brew(*id)).await?)
    }

    async fn brew_now(kitchen: Data<Collector<Brew>>, id: Path<u64>) -> Result<String> {
        Ok(kitchen.try_submit(Brew(*id))?.await?)
    }

    async fn brewed(kitchen: Data<Collector<Brew>>) -> Result<String> {
        Ok(kitchen.stats().await?.succeeded.to_string())
    }

    async fn body(response: HttpResponse) -> String {
        String::from_utf8(to_bytes(response.into_body()).await.unwrap().to_vec()).unwrap()
    }

    fn header<'a>(response: &'a HttpResponse, name: &str) -> Option<&'a str> {
        response.headers().get(name).map(|value| value.to_str().unwrap())
    }

    #[actix_rt::test]
    async fn every_error_has_its_status_and_says_itself() {
        let circuit_open = |millis| JobError::CircuitOpen { retry_in: Duration::from_millis(millis) };
        let expected = [
            (JobError::Overloaded, 503, Some("1")),
            (JobError::NoWorkers, 503, Some("1")),
            (JobError::ShutDown, 503, Some("1")),
            (circuit_open(0), 503, Some("1")),
            (circuit_open(4_001), 503, Some("5")),
            (JobError::TimedOut, 504, None),
            (JobError::TooLarge, 413, None),
            (JobError::NoResult, 404, None),
            (JobError::mismatch(3, 2), 500, None),
            (JobError::DuplicateKey, 500, None),
            (JobError::Panicked, 500, None),
            (JobError::Lost, 500, None),
            (JobError::Abandoned, 500, None),
        ];
        for (error, status, retry_after) in expected {
            let error: JobError<Teapot> = error;
            assert_eq!(error.status_code().as_u16(), status, "{error}");
            let response = error.error_response();
            assert_eq!(response.status().as_u16(), status, "{error}");
            assert_eq!(header(&response, "retry-after"), retry_after, "{error}");
            assert_eq!(header(&response, "content-type"), Some("text/plain; charset=utf-8"));
            assert_eq!(body(response).await, error.to_string());
        }
    }

    #[actix_rt::test]
    async fn a_processors_own_error_writes_its_own_response() {
        let error = JobError::Failed(Arc::new(Teapot));
        assert_eq!(error.status_code(), StatusCode::IM_A_TEAPOT);
        let response = error.error_response();
        assert_eq!((response.status().as_u16(), header(&response, "x-spout")), (418, Some("left")));
        assert_eq!(body(response).await, "tip me over");
    }

    #[actix_rt::test]
    async fn a_rejected_job_is_answered_with_503_and_the_reason() {
        let kitchen = Collector::builder(|| Kitchen).max_size(1).max_pending(1).start().unwrap();
        kitchen.pause().await.unwrap();
        let _held = kitchen.submit(Brew(1));
        let response = kitchen.try_submit(Brew(1)).unwrap_err().error_response();
        assert_eq!((response.status().as_u16(), header(&response, "retry-after")), (503, Some("1")));
        assert_eq!(body(response).await, "the job was rejected: the collector is full");
    }

    #[actix_rt::test]
    async fn a_handler_of_one_line_answers_for_every_end_of_a_job() {
        let kitchen = Collector::builder(|| Kitchen).start().unwrap();
        let app = App::new()
            .app_data(Data::new(kitchen.clone()))
            .route("/brew/{id}", get().to(brew))
            .route("/now/{id}", get().to(brew_now))
            .route("/brewed", get().to(brewed));
        let app = init_service(app).await;
        for (uri, status) in [("/brew/1", 200), ("/brew/2", 418), ("/brew/3", 404), ("/now/1", 200), ("/brewed", 200)] {
            let answer = call_service(&app, TestRequest::get().uri(uri).to_request()).await;
            assert_eq!(answer.status().as_u16(), status, "{uri}");
        }
        kitchen.shutdown(Shutdown::drain()).await.unwrap();
        for uri in ["/brew/1", "/now/1"] {
            let answer = call_service(&app, TestRequest::get().uri(uri).to_request()).await;
            assert_eq!(answer.status().as_u16(), 503, "{uri}");
        }
    }
}
