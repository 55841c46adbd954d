//! Whether a batch may be sent: the breaker, the rate, the bound on batches in flight, a free worker.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    BreakerState, Dispatch, Order,
    breaker::{Circuit, Probe},
    family::Family,
    gate::Gate,
};

use crate::{
    error::{Blame, JobError},
    job::Job,
};

/// A call that has ended, as the breaker counts it.
#[derive(Clone, Copy)]
pub(super) struct Call {
    pub(super) took: Duration,
    pub(super) probe: Option<Probe>,
}

impl<J: Job> Dispatch<J> {
    /// What the breaker and the rate limit would say to a batch now.
    pub(super) fn gate(&self, now: Instant) -> Gate {
        match self.circuit.as_ref().map(|circuit| circuit.outlook(now)) {
            Some(gate @ (Gate::Closed(_) | Gate::Reject { .. })) => gate,
            Some(Gate::Open) | None => {
                let later = self.rules.rate_limit.as_ref().and_then(|limit| limit.look(now).err());
                later.map_or(Gate::Open, |later| Gate::Closed(Some(later)))
            }
        }
    }

    /// What the breaker says to the first ready batch.
    pub(super) fn ask_breaker(&mut self, now: Instant) -> Gate {
        let Some(circuit) = &mut self.circuit else { return Gate::Open };
        let before = circuit.state();
        let gate = circuit.ask(now);
        self.on_breaker_change(before);
        gate
    }

    pub(super) fn on_breaker_change(&mut self, before: BreakerState) {
        if let Some(state) = self.circuit.as_ref().map(Circuit::state).filter(|state| *state != before) {
            self.orders.push_back(Order::Breaker(state));
        }
    }

    /// A call for `jobs` jobs has ended; `failure` is the error that they share. If the batch will be split, it waits with its
    /// family for a verdict.
    pub(super) fn tell_breaker(
        &mut self,
        failure: Option<&JobError<J::Error>>,
        jobs: usize,
        family: &mut Option<Family>,
        call: Call,
        now: Instant,
    ) {
        let Some(circuit) = &mut self.circuit else { return };
        let before = circuit.state();
        let rules = &self.rules;
        let failure = failure.filter(|error| circuit.blames(error) && rules.blame(error) != Blame::Job);
        let is_suspect = failure.is_some_and(|error| rules.splits(error)) && (jobs > 1 || family.is_some());
        let failures = if is_suspect {
            family.get_or_insert_with(|| Family::new(jobs)).failed()
        } else {
            if let Some(family) = family.take().filter(|_| failure.is_none()) {
                family.succeeded();
            }
            Some(u32::from(failure.is_some()))
        };
        match failures {
            // It showed nothing yet: another batch may be the probe.
            None => circuit.unsent(call.probe),
            Some(0) => circuit.answered(false, call.took, call.probe, now),
            Some(failures) => (0..failures).for_each(|_| circuit.answered(true, call.took, call.probe, now)),
        }
        self.on_breaker_change(before);
    }

    /// A worker could not be prepared: for the breaker that is a failed call.
    pub(crate) fn prepare_failed(&mut self, now: Instant) {
        let Some(circuit) = &mut self.circuit else { return };
        let before = circuit.state();
        circuit.answered(true, Duration::ZERO, None, now);
        self.on_breaker_change(before);
    }

    pub(super) fn is_busy(&self) -> bool {
        self.free.is_empty() || self.is_at_limit()
    }

    pub(super) fn is_at_limit(&self) -> bool {
        self.rules.max_in_flight.is_some_and(|most| self.flights.len() >= most)
    }

    /// Nothing is ready, but the open batch may be waiting for a gate.
    pub(super) fn look_ahead(&mut self, now: Instant) {
        if !self.is_busy()
            && let Gate::Closed(until) = self.gate(now)
        {
            self.held_until = until;
        }
    }
}
