//! How often memory is allocated, counted in the same run that is timed.
//!
//! The counters are one per thread, so counting costs every contender the same two nanoseconds or so per allocation, and never a
//! cache line that two threads fight for.

use alloc_tracker::{Allocator, Operation, ProcessSpan, ReportOperation, Session as Counters, ThreadSpan};

#[global_allocator]
static ALLOCATOR: Allocator<std::alloc::System> = Allocator::system();

/// Counts the allocations of the whole process until it is asked for them.
pub(crate) struct Allocations {
    counters: Counters,
    span: ProcessSpan,
}

impl Allocations {
    pub(crate) fn start() -> Self {
        let counters = counters();
        let span = operation(&counters).measure_process();
        Self { counters, span }
    }

    pub(crate) fn stop(self) -> u64 {
        drop(self.span.iterations(1));
        read(&self.counters, ReportOperation::total_allocations_count)
    }
}

/// Watches how many bytes this thread holds more than at the start.
pub(crate) struct Held {
    counters: Counters,
    span: ThreadSpan,
}

impl Held {
    pub(crate) fn start() -> Self {
        let counters = counters();
        let span = operation(&counters).measure_thread();
        Self { counters, span }
    }

    /// The most that was held at any moment.
    pub(crate) fn stop(self) -> f64 {
        drop(self.span.iterations(1));
        read(&self.counters, |operation| operation.peak_outstanding_bytes().unwrap_or(0.0))
    }
}

fn counters() -> Counters {
    Counters::new().no_stdout().no_file()
}

fn operation(counters: &Counters) -> Operation {
    counters.operation("window")
}

fn read<T: Default>(counters: &Counters, figure: impl Fn(&ReportOperation) -> T) -> T {
    counters.to_report().operations().next().map(|(_, operation)| figure(operation)).unwrap_or_default()
}
