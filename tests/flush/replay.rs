//! What a policy makes of arrivals, on a virtual clock: a collector's open batch, ready queue and workers, and nothing else.

use std::{collections::VecDeque, time::Duration};

use actix_batch::{
    Trigger,
    flush::{Arrival, Decision, FlushPolicy, OnFree, OpenBatch, Timing},
};
use tokio::time::Instant;

/// Microseconds since the start.
pub(crate) type Micros = u64;

/// A job that comes so long after the one before it. At the same moment: before anything else can happen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Coming {
    pub(crate) after: Micros,
    pub(crate) weight: u64,
}

/// Around the policy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) max_size: usize,
    pub(crate) workers: usize,
    /// What a worker needs for a batch, and for each job of it.
    pub(crate) cost: (Micros, Micros),
    /// How late every alarm is.
    pub(crate) late: Micros,
}

/// A job that has joined a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) number: usize,
    pub(crate) weight: u64,
    pub(crate) at: Micros,
}

/// A batch that has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) jobs: Vec<Joined>,
    pub(crate) trigger: Trigger,
    pub(crate) left: Micros,
}

/// What can be seen when all that can happen at a moment has happened.
pub(crate) struct Moment<'a, P> {
    pub(crate) policy: &'a P,
    pub(crate) open: &'a OpenBatch,
    /// A worker is free, and no batch waits for it.
    pub(crate) idle: bool,
}

pub(crate) struct Replay<P> {
    policy: P,
    setting: Setting,
    start: Instant,
    now: Micros,
    open: OpenBatch,
    inside: Vec<Joined>,
    ready: VecDeque<(usize, Micros)>,
    busy: Vec<(Micros, Timing)>,
    cuts: Vec<Cut>,
}

/// The batches that the policy makes of these jobs, in the order in which they leave; the last one is drained.
pub(crate) fn replay<P: FlushPolicy>(
    policy: P,
    setting: Setting,
    coming: &[Coming],
    mut watch: impl FnMut(Moment<'_, P>),
) -> Vec<Cut> {
    let mut replay = Replay::new(policy, setting);
    for (number, job) in coming.iter().enumerate() {
        if job.after > 0 {
            replay.run_until(replay.now + job.after, &mut watch);
        }
        replay.arrive(number, job.weight);
    }
    replay.run_until(Micros::MAX, &mut watch);
    replay.cut(Trigger::Drain);
    replay.cuts
}

impl<P: FlushPolicy> Replay<P> {
    fn new(mut policy: P, setting: Setting) -> Self {
        let start = Instant::now();
        policy.start(start);
        Self {
            policy,
            setting,
            start,
            now: 0,
            open: OpenBatch::default(),
            inside: Vec::new(),
            ready: VecDeque::new(),
            busy: Vec::new(),
            cuts: Vec::new(),
        }
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_micros(self.now)
    }

    fn arrive(&mut self, number: usize, weight: u64) {
        let mut job = Arrival::default();
        job.weight = weight;
        job.at = self.policy.reads_clock().then(|| self.instant());
        let mut decision = self.policy.on_job(&self.open, &job);
        if let Decision::SendThenAdd(trigger) = decision {
            self.cut(trigger);
            decision = self.policy.on_job(&self.open, &job);
        }
        self.inside.push(Joined { number, weight, at: self.now });
        self.open.jobs += 1;
        self.open.weight += weight;
        self.open.last_at = job.at;
        self.open.opened_at = self.open.opened_at.or(Some(self.instant()));
        match decision {
            Decision::AddAndSend(trigger) => self.cut(trigger),
            _ if self.open.jobs == self.setting.max_size => self.cut(Trigger::Size),
            _ => {}
        }
    }

    fn cut(&mut self, trigger: Trigger) {
        if self.inside.is_empty() {
            return;
        }
        self.ready.push_back((self.inside.len(), self.inside[0].at));
        self.cuts.push(Cut { jobs: std::mem::take(&mut self.inside), trigger, left: self.now });
        let idle = self.open.idle;
        self.open = OpenBatch::default();
        self.open.idle = idle;
    }

    fn run_until(&mut self, end: Micros, watch: &mut impl FnMut(Moment<'_, P>)) {
        loop {
            self.settle();
            watch(Moment { policy: &self.policy, open: &self.open, idle: self.is_idle() });
            match self.next_event() {
                Some(next) if next <= end => self.now = next,
                _ => break,
            }
        }
        self.now = self.now.max(if end == Micros::MAX { 0 } else { end });
    }

    /// All that happens at this moment.
    fn settle(&mut self) {
        loop {
            let before = (self.cuts.len(), self.ready.len(), self.busy.len());
            self.finish();
            if self.due().is_some_and(|due| due <= self.now) {
                self.cut(Trigger::Interval);
            }
            self.hand_out();
            self.open.idle = self.is_idle();
            if self.open.idle && self.open.jobs > 0 && self.policy.on_free(&self.open) == OnFree::Send {
                self.cut(Trigger::Idle);
            }
            if before == (self.cuts.len(), self.ready.len(), self.busy.len()) {
                return;
            }
        }
    }

    fn finish(&mut self) {
        let (done, busy): (Vec<_>, Vec<_>) = self.busy.iter().copied().partition(|(until, _)| *until <= self.now);
        self.busy = busy;
        for (_, timing) in done {
            self.policy.on_done(&timing);
        }
    }

    fn hand_out(&mut self) {
        while self.busy.len() < self.setting.workers {
            let Some((jobs, opened)) = self.ready.pop_front() else { return };
            let (batch, each) = self.setting.cost;
            let took = batch + each * jobs as Micros;
            let mut timing = Timing::default();
            timing.jobs = jobs;
            timing.waited = Duration::from_micros(self.now - opened);
            timing.took = Duration::from_micros(took);
            self.busy.push((self.now + took, timing));
        }
    }

    fn is_idle(&self) -> bool {
        self.ready.is_empty() && self.busy.len() < self.setting.workers
    }

    fn due(&self) -> Option<Micros> {
        let due = self.policy.due(&self.open)?.saturating_duration_since(self.start);
        Some(Micros::try_from(due.as_micros()).unwrap_or(Micros::MAX).saturating_add(self.setting.late))
    }

    fn next_event(&self) -> Option<Micros> {
        let free = self.busy.iter().map(|(until, _)| *until).min();
        [self.due(), free].into_iter().flatten().min()
    }
}
