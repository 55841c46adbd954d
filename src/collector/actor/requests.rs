//! Answers what handles and messages ask.

use actix::dev::OneshotSender;
use tokio::time::Instant;
use tracing::trace;

use super::CollectorActor;
use crate::{
    collector::request::Request,
    job::{JobId, JobState},
    observe::Stats,
    processor::BatchProcessor,
};

impl<P: BatchProcessor> CollectorActor<P> {
    pub(super) fn answer_requests(&mut self, now: Instant) {
        for request in self.shared.requests() {
            trace!(collector = &*self.shared.name, ?request, "asked");
            self.answer_request(request, now);
        }
    }

    fn answer_request(&mut self, request: Request, now: Instant) {
        match request {
            Request::Flush(sender) => answer(sender, self.shared.intake.flush()),
            Request::Barrier(sender) => {
                self.shared.intake.flush();
                let before = self.shared.intake.next_number();
                self.barriers.extend(sender.map(|sender| (before, sender)));
            }
            Request::Pause(sender) => {
                self.dispatch.pause(true);
                answer(sender, ());
            }
            Request::Resume(sender) => {
                self.dispatch.pause(false);
                answer(sender, ());
            }
            Request::SetMaxInFlight(batches, sender) => {
                self.dispatch.limit_in_flight(batches);
                answer(sender, ());
            }
            Request::Subscribe(recipient, sender) => {
                self.journal.tracker().subscribe(recipient);
                answer(sender, ());
            }
            Request::Unsubscribe(recipient, sender) => {
                answer(sender, self.journal.unsubscribe(&recipient));
            }
            Request::GetJobState(job, sender) => answer(sender, self.job_state(job, now)),
            Request::GetStats(sender) => answer(sender, self.stats(now)),
            Request::Shutdown(shutdown, sender) => self.shut_down(shutdown, sender, now),
        }
    }

    /// Answers the barriers before which nothing is left. Each look scans the batches that the collector has.
    pub(super) fn pass_barriers(&mut self) {
        let (intake, dispatch) = (&self.shared.intake, &self.dispatch);
        let passed = |(before, _): &mut (u64, _)| !intake.holds_before(*before) && !dispatch.holds_before(*before);
        let passed: Vec<_> = self.barriers.extract_if(.., passed).collect();
        passed.into_iter().for_each(|(_, sender)| answer(Some(sender), ()));
    }

    fn job_state(&mut self, job: JobId, now: Instant) -> Option<JobState> {
        if !self.journal.is_tracking() {
            return None;
        }
        self.send_batches(now);
        self.shared.intake.find(job).or_else(|| self.journal.job_state(job))
    }

    fn stats(&mut self, now: Instant) -> Stats {
        let view = self.send_batches(now);
        let levels = self.levels(&view);
        let lost = self.dead_letters.as_ref().map_or(0, |dead_letters| dead_letters.lost);
        self.journal.stats(levels, lost)
    }
}

fn answer<T>(sender: Option<OneshotSender<T>>, answer: T) {
    if let Some(sender) = sender {
        let _ = sender.send(answer);
    }
}
