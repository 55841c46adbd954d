//! Many HTTP clients on a thread of their own, each posting one flight after the other over a kept connection: when it has its
//! answer, or when a flight's time has come.

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
    /// From the request, or from the time at which it should have been sent, to its answer; one per answer.
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

/// When each flight is to be posted: so many per second, at random. The same ones each time, so that runs compare.
pub(crate) fn times(flights: usize, rate: usize) -> Vec<Duration> {
    let (mut random, mut now) = (fastrand::Rng::with_seed(1), 0.0);
    let next = |_| {
        now -= (1.0 - random.f64()).ln() / rate as f64;
        Duration::from_secs_f64(now)
    };
    (0..flights).map(next).collect()
}

/// Posts that many flights, at these times if there are any; `None` if the clients' thread went away.
pub(crate) async fn post(
    url: String,
    slice: Arc<Slice>,
    flights: usize,
    clients: usize,
    times: Option<Vec<Duration>>,
) -> Option<Tally> {
    let (done, tally) = oneshot::channel();
    let thread = Arbiter::new();
    thread.spawn_fn(move || {
        actix_rt::spawn(async move { done.send(run(&url, &slice, flights, clients, times.as_deref()).await) });
    });
    let tally = tally.await.ok();
    thread.stop();
    tally
}

async fn run(url: &str, slice: &Slice, flights: usize, clients: usize, times: Option<&[Duration]>) -> Tally {
    let connector = Connector::new().limit(clients);
    let http = Client::builder().connector(connector).timeout(Duration::from_secs(60)).finish();
    let (next, tally) = (RefCell::new(0..flights), RefCell::new(Tally::default()));
    let start = Instant::now();
    let client = async || {
        while let Some(n) = { next.borrow_mut().next() } {
            let Posted { body, refused } = slice.posted(n);
            let sent = match times {
                Some(times) => its_time(start + times[n]).await,
                None => Instant::now(),
            };
            let answer = post_one(&http, url, body).await;
            tally.borrow_mut().count(refused, answer, sent.elapsed());
        }
    };
    join_all((0..clients).map(|_| client())).await;
    Tally { elapsed: start.elapsed(), ..tally.take() }
}

/// A client that is late for it counts from then as well.
async fn its_time(time: Instant) -> Instant {
    actix_rt::time::sleep_until(time.into()).await;
    time
}

/// The status, when the whole answer is in: only then is the connection free for the next one.
async fn post_one(http: &Client, url: &str, body: Vec<u8>) -> Result<u16, String> {
    let request = http.post(url).insert_header(("content-type", "application/json"));
    let mut answer = request.send_body(body).await.map_err(|error| error.to_string())?;
    answer.body().await.map_err(|error| error.to_string())?;
    Ok(answer.status().as_u16())
}
