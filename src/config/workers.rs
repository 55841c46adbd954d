//! How many workers, and where they run.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// How many workers, and where they run.
///
/// In configuration: `{ "local": 2 }`, `{ "threads": 4 }` or `{ "threads": { "min": 1, "max": 8 } }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Place", from = "Place")]
pub struct Workers {
    min: usize,
    max: usize,
    threads: bool,
}

impl Workers {
    /// Workers on the collector's own arbiter, for processors that await. A processor that blocks the thread blocks the collector.
    pub const fn local(count: usize) -> Self {
        Self { min: count, max: count, threads: false }
    }

    /// Workers with an arbiter thread each, for processors that block or burn CPU.
    ///
    /// The next batch is prefetched for a single worker, which begins it as soon as the one before has succeeded, also while the collector's
    /// thread is busy. Until then it counts as ready, not as in flight, and a pause, a shutdown or a more urgent batch that the collector has heard
    /// of holds it back as any other batch that waits.
    pub const fn threads(count: usize) -> Self {
        Self { min: count, max: count, threads: true }
    }

    /// As many workers as the load asks for, instead of a fixed number. It starts with the smallest number.
    ///
    /// A worker is added when batches have waited for a worker for 100 ms without a break, and one is retired when a worker has been
    /// idle for 10 s without a break. Both clocks restart after each change.
    ///
    /// ```
    /// use actix_batch::Workers;
    ///
    /// let workers = Workers::threads(1).adaptive(1..=8);
    /// assert_eq!((workers.min(), workers.max()), (1, 8));
    /// ```
    pub const fn adaptive(self, range: RangeInclusive<usize>) -> Self {
        Self { min: *range.start(), max: *range.end(), ..self }
    }

    /// The smallest number.
    pub const fn min(self) -> usize {
        self.min
    }

    /// The largest number; the same as [`min`](Self::min) unless they are adaptive.
    pub const fn max(self) -> usize {
        self.max
    }

    /// Whether each worker has a thread of its own.
    pub const fn on_threads(self) -> bool {
        self.threads
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Place {
    Local(Number),
    Threads(Number),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Number {
    Fixed(usize),
    Adaptive { min: usize, max: usize },
}

impl From<Workers> for Place {
    fn from(Workers { min, max, threads }: Workers) -> Self {
        let number = if min == max { Number::Fixed(min) } else { Number::Adaptive { min, max } };
        if threads { Self::Threads(number) } else { Self::Local(number) }
    }
}

impl From<Place> for Workers {
    fn from(place: Place) -> Self {
        let (number, threads) = match place {
            Place::Local(number) => (number, false),
            Place::Threads(number) => (number, true),
        };
        match number {
            Number::Fixed(count) => Self { min: count, max: count, threads },
            Number::Adaptive { min, max } => Self { min, max, threads },
        }
    }
}

/// What happens to jobs while no worker is able to work: every one of them rests after too many restarts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoWorkers {
    /// They wait, within `max_pending`.
    #[default]
    Wait,
    /// They fail with [`JobError::NoWorkers`](crate::JobError::NoWorkers).
    Fail,
}
