//! How often memory is allocated, counted in the same run that is timed.
//!
//! The counters are one per thread, so counting costs every contender the same two nanoseconds or so per allocation, and never a
//! cache line that two threads fight for.

use alloc_tracker::{Allocator, Operation, ProcessSpan, ReportOperation, Session, ThreadSpan};

#[global_allocator]
static ALLOCATOR: Allocator<std::alloc::System> = Allocator::system();

/// Counts the allocations of the whole process until it is asked for them.
pub(crate) struct Allocations {
    session: Session,
    span: ProcessSpan,
}

impl Allocations {
    pub(crate) fn start() -> Self {
        let session = session();
        let span = operation(&session).measure_process();
        Self { session, span }
    }

    pub(crate) fn stop(self) -> u64 {
        drop(self.span.iterations(1));
        read(&self.session, ReportOperation::total_allocations_count)
    }
}

/// Watches how many bytes this thread holds more than at the start.
pub(crate) struct Held {
    session: Session,
    span: ThreadSpan,
}

impl Held {
    pub(crate) fn start() -> Self {
        let session = session();
        let span = operation(&session).measure_thread();
        Self { session, span }
    }

    /// The most that was held at any moment.
    pub(crate) fn stop(self) -> f64 {
        drop(self.span.iterations(1));
        read(&self.session, |operation| operation.peak_outstanding_bytes().unwrap_or(0.0))
    }
}

fn session() -> Session {
    Session::new().no_stdout().no_file()
}

fn operation(session: &Session) -> Operation {
    session.operation("window")
}

fn read<T: Default>(session: &Session, figure: impl Fn(&ReportOperation) -> T) -> T {
    session.to_report().operations().next().map(|(_, operation)| figure(operation)).unwrap_or_default()
}
