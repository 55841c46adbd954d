//! No more than so many records a second.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use super::{Output, Stage};
use crate::record::Record;

pub(crate) struct Throttle {
    per_second: f64,
    /// When the next record may pass.
    next: Mutex<Option<Instant>>,
}

impl Throttle {
    pub(crate) fn new(per_second: f64) -> Self {
        Self { per_second, next: Mutex::new(None) }
    }

    /// When this many records may pass, if they are asked for now.
    #[expect(clippy::cast_precision_loss, reason = "a chunk has far fewer than 2^52 records")]
    fn reserve(&self, records: usize, now: Instant) -> Instant {
        let mut next = self.next.lock();
        let at = next.map_or(now, |next| next.max(now));
        *next = Some(at + Duration::from_secs_f64(records as f64 / self.per_second));
        at
    }
}

impl<T: Send + Sync + 'static> Stage<T> for Throttle {
    type Out = T;

    fn name(&self) -> String {
        "throttle".to_owned()
    }

    async fn process(&self, records: Vec<Record<T>>, out: &mut Output<T>) {
        sleep_until(self.reserve(records.len(), Instant::now())).await;
        out.keep(records, |_| true);
    }
}
