//! Many HTTP clients on a thread of their own, each posting one flight after the other over a kept connection.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_rt::Arbiter;
use awc::{Client, Connector};
use futures_util::future::join_all;
use tokio::sync::oneshot;

use crate::slice::{Posted, Slice};

/// What the clients saw.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Answered 201.
    pub(crate) created: usize,
    /// Answered 422, and rightly so.
    pub(crate) refused: usize,
    /// Answered with anything else, or not at all.
    pub(crate) wrong: usize,
    pub(crate) first_wrong: Option<String>,
    pub(crate) elapsed: Duration,
    /// From the request to its answer, one per answer.
    latencies: Vec<Duration>,
}

impl Tally {
    /// The latency that this share of all requests does not exceed.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let mut latencies = self.latencies.clone();
        latencies.sort_unstable();
        let at = (latencies.len() as f64 * share).ceil() as usize;
        latencies.get(at.saturating_sub(1)).copied().unwrap_or_default()
    }

    pub(crate) fn rows_per_second(&self) -> f64 {
        self.created as f64 / self.elapsed.as_secs_f64()
    }

    fn count(&mut self, refused: bool, answer: Result<u16, String>, latency: Duration) {
        match answer {
            Ok(201) if !refused => self.created += 1,
            Ok(422) if refused => self.refused += 1,
            other => {
                self.wrong += 1;
                self.first_wrong
                    .get_or_insert_with(|| other.map_or_else(|error| error, |status| format!("status {status}")));
            }
        }
        self.latencies.push(latency);
    }
}

/// Posts that many flights; `None` if the clients' thread went away.
pub(crate) async fn post(url: String, slice: Arc<Slice>, flights: usize, clients: usize) -> Option<Tally> {
    let (done, tally) = oneshot::channel();
    let thread = Arbiter::new();
    thread.spawn_fn(move || {
        actix_rt::spawn(async move { done.send(run(&url, &slice, flights, clients).await) });
    });
    let tally = tally.await.ok();
    thread.stop();
    tally
}

async fn run(url: &str, slice: &Slice, flights: usize, clients: usize) -> Tally {
    let connector = Connector::new().limit(clients);
    let http = Client::builder().connector(connector).timeout(Duration::from_secs(60)).finish();
    let (next, tally) = (RefCell::new(0..flights), RefCell::new(Tally::default()));
    let start = Instant::now();
    let client = async || {
        while let Some(n) = { next.borrow_mut().next() } {
            let Posted { body, refused } = slice.posted(n);
            let sent = Instant::now();
            let answer = post_one(&http, url, body).await;
            tally.borrow_mut().count(refused, answer, sent.elapsed());
        }
    };
    join_all((0..clients).map(|_| client())).await;
    Tally { elapsed: start.elapsed(), ..tally.take() }
}

/// The status, when the whole answer is in: only then is the connection free for the next one.
async fn post_one(http: &Client, url: &str, body: Vec<u8>) -> Result<u16, String> {
    let request = http.post(url).insert_header(("content-type", "application/json"));
    let mut answer = request.send_body(body).await.map_err(|error| error.to_string())?;
    answer.body().await.map_err(|error| error.to_string())?;
    Ok(answer.status().as_u16())
}
