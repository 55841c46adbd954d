//! The virtual collector: it jumps from event to event.
//!
//! Invariants:
//! - The jobs up to `first` have left, the open batch holds those from `first` on.
//! - A batch is in `ready` from the moment it leaves until a worker begins with it. As batches wait in one line, and its end is
//!   known with its beginning, it is told then, and in the order in which they left.
//! - Nothing happens before `wake` but that a job comes.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    ops::Range,
    time::Duration,
};

use tokio::time::Instant;

use super::{Cut, Moment, Setting};
use crate::{
    batch::Trigger,
    flush::{Arrival, Decision, FlushPolicy, OnFree, OpenBatch, Timing},
};

pub(super) struct Machine<'a, P, W, T> {
    policy: P,
    reads_clock: bool,
    setting: &'a Setting,
    watch: W,
    tell: T,
    start: Instant,
    now: Duration,
    /// When something happens next, if no job comes before.
    wake: Option<Duration>,
    open: OpenBatch,
    /// The open batch's first job.
    first: usize,
    opened: Duration,
    /// When the last job came.
    last: Duration,
    /// Batches that wait for a worker.
    ready: VecDeque<Waiting>,
    /// Until when, where, and how it goes.
    busy: BinaryHeap<Reverse<(Duration, usize, Went)>>,
    /// Seats of the workers that are free; the first one sits foremost.
    free: BinaryHeap<Reverse<usize>>,
    started: usize,
    /// When the last worker will be done.
    done: Duration,
}

/// A batch that waits for a worker.
struct Waiting {
    jobs: Range<usize>,
    trigger: Trigger,
    opened: Duration,
    left: Duration,
}

/// Jobs, how long they waited, and how long the worker takes.
type Went = (usize, Duration, Duration);

impl<'a, P: FlushPolicy, W: FnMut(Moment<'_, P>), T: FnMut(Cut)> Machine<'a, P, W, T> {
    /// An `Instant` so much later exists on every platform.
    const LONGEST: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

    pub(super) fn new(mut policy: P, setting: &'a Setting, watch: W, tell: T) -> Self {
        let start = Instant::now();
        policy.start(start);
        Self {
            reads_clock: policy.reads_clock(),
            policy,
            setting,
            watch,
            tell,
            start,
            now: Duration::ZERO,
            wake: None,
            open: OpenBatch { idle: true, ..OpenBatch::default() },
            first: 0,
            opened: Duration::ZERO,
            last: Duration::ZERO,
            ready: VecDeque::new(),
            busy: BinaryHeap::new(),
            free: (0..setting.workers.max(1)).map(Reverse).collect(),
            started: 0,
            done: Duration::ZERO,
        }
    }

    /// What happens until this time, and all that happens with it, unless it is now: what comes together, comes first.
    pub(super) fn run_to(&mut self, time: Duration) {
        if time <= self.now {
            return;
        }
        self.run_through(time);
        self.now = time;
    }

    fn run_through(&mut self, time: Duration) {
        while let Some(wake) = self.wake.filter(|wake| *wake <= time) {
            self.now = self.now.max(wake);
            self.settle();
        }
    }

    pub(super) fn arrive(&mut self, weight: u64) {
        let job = Arrival { weight, at: self.reads_clock.then(|| self.instant()) };
        let decision = match self.policy.on_job(&self.open, &job) {
            Decision::SendThenAdd(_) if self.open.jobs == 0 => Decision::Add,
            Decision::SendThenAdd(trigger) => {
                self.cut(trigger);
                self.policy.on_job(&self.open, &job)
            }
            decision => decision,
        };
        self.last = self.now;
        if self.open.jobs == 0 {
            self.open.opened_at = Some(self.instant());
            self.opened = self.now;
        }
        self.open.jobs += 1;
        self.open.weight = self.open.weight.saturating_add(weight);
        self.open.last_at = job.at;
        match decision {
            Decision::AddAndSend(trigger) => self.cut(trigger),
            _ if self.open.jobs >= self.setting.max_size => self.cut(Trigger::Size),
            // What a free worker wants, and what is due, is seen at once.
            _ if self.open.jobs == 1 => self.wake = Some(self.now),
            _ => {}
        }
    }

    /// Everything has come: what is under way goes on to its end, and the rest is drained.
    pub(super) fn end(mut self) {
        self.run_through(Duration::MAX);
        self.now = self.done.max(self.last);
        self.cut(Trigger::Drain);
        self.run_through(Duration::MAX);
    }

    fn instant(&self) -> Instant {
        self.start + self.now.min(Self::LONGEST)
    }

    fn cut(&mut self, trigger: Trigger) {
        if self.open.jobs == 0 {
            return;
        }
        let jobs = self.first..self.first + self.open.jobs;
        self.first = jobs.end;
        self.ready.push_back(Waiting { jobs, trigger, opened: self.opened, left: self.now });
        self.open = OpenBatch { idle: false, ..OpenBatch::default() };
        self.wake = Some(self.now);
    }

    /// All that happens at this moment; then it is known what comes next.
    fn settle(&mut self) {
        loop {
            let before = (self.first, self.ready.len(), self.busy.len());
            self.finish();
            if self.due().is_some_and(|due| due <= self.now) {
                self.cut(Trigger::Interval);
            }
            self.hand_out();
            self.open.idle = self.ready.is_empty() && !self.free.is_empty();
            if self.open.idle && self.open.jobs > 0 && self.policy.on_free(&self.open) == OnFree::Send {
                self.cut(Trigger::Idle);
            }
            if before == (self.first, self.ready.len(), self.busy.len()) {
                break;
            }
        }
        (self.watch)(Moment { policy: &self.policy, open: &self.open, idle: self.open.idle });
        let done = self.busy.peek().map(|Reverse((done, ..))| *done);
        self.wake = [self.due(), done].into_iter().flatten().min();
    }

    fn finish(&mut self) {
        while let Some(&Reverse((done, worker, (jobs, waited, took)))) = self.busy.peek()
            && done <= self.now
        {
            self.busy.pop();
            self.free.push(Reverse(worker));
            self.policy.on_done(&Timing { jobs, waited, took });
        }
    }

    fn hand_out(&mut self) {
        while !self.ready.is_empty()
            && let Some(Reverse(worker)) = self.free.pop()
            && let Some(Waiting { jobs, trigger, opened, left }) = self.ready.pop_front()
        {
            let (started, took) = (self.now, self.setting.cost.of(self.started, jobs.len()));
            let (done, waited) = (started.saturating_add(took), started.saturating_sub(opened));
            self.busy.push(Reverse((done, worker, (jobs.len(), waited, took))));
            self.done = self.done.max(done);
            self.started += 1;
            (self.tell)(Cut { jobs, trigger, left, started, done, worker });
        }
    }

    /// When the open batch leaves by time, its alarm being late.
    fn due(&self) -> Option<Duration> {
        self.open.opened_at?;
        let due = self.policy.due(&self.open)?.saturating_duration_since(self.start);
        Some(due.saturating_add(self.setting.late))
    }
}
