//! A plain single-threaded collector: what the real one has to do, without futures, threads or locks. Time is a number of
//! milliseconds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use actix_batch::Trigger;

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) workers: usize,
    pub(crate) max_size: usize,
    pub(crate) max_pending: usize,
    pub(crate) interval: u64,
    /// Whether jobs fail while every worker rests.
    pub(crate) no_workers_fail: bool,
}

/// What a caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    Output,
    Failed,
    Mismatch,
    Panicked,
    Abandoned,
    NoWorkers,
    ShutDown,
    /// The job was never accepted.
    Overloaded,
    HandedBack,
}

/// A batch that a worker has begun with.
pub(crate) type Begun = (Vec<u64>, Trigger);

/// Jobs completed, jobs cut off, and how long it took.
pub(crate) type Report = (u64, u64, u64);

#[derive(Default)]
struct Worker {
    recent: VecDeque<u64>,
    streak: u32,
    /// When it comes back, and whether it rests until then.
    away: Option<(u64, bool)>,
}

struct Ending {
    since: u64,
    limit: Option<u64>,
    outstanding: u64,
    cut_off: u64,
}

/// Everything that can be seen from outside, but for replies and batches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Levels {
    pub(crate) accepted: u64,
    pub(crate) rejected: u64,
    pub(crate) settled: BTreeMap<Told, u64>,
    pub(crate) batches: BTreeMap<Trigger, u64>,
    pub(crate) restarts: u64,
    pub(crate) pending: usize,
    pub(crate) waiting: usize,
    pub(crate) ready: usize,
    pub(crate) in_flight: usize,
    pub(crate) able: usize,
    pub(crate) resting: usize,
    pub(crate) paused: bool,
}

pub(crate) struct Reference {
    settings: Settings,
    now: u64,
    open: Vec<u64>,
    opened_at: u64,
    line: VecDeque<u64>,
    ready: VecDeque<Begun>,
    flights: Vec<(usize, Vec<u64>)>,
    free: VecDeque<usize>,
    workers: Vec<Worker>,
    /// Jobs whose callers have gone in a way that is noticed.
    gone: BTreeSet<u64>,
    closed: bool,
    ending: Option<Ending>,
    levels: Levels,
    pub(crate) told: BTreeMap<u64, Told>,
    pub(crate) begun: Vec<Begun>,
    pub(crate) report: Option<Report>,
}

impl Reference {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
            now: 0,
            open: Vec::new(),
            opened_at: 0,
            line: VecDeque::new(),
            ready: VecDeque::new(),
            flights: Vec::new(),
            free: (0..settings.workers).collect(),
            workers: (0..settings.workers).map(|_| Worker::default()).collect(),
            gone: BTreeSet::new(),
            closed: false,
            ending: None,
            levels: Levels::default(),
            told: BTreeMap::new(),
            begun: Vec::new(),
            report: None,
        }
    }

    pub(crate) fn levels(&self) -> Levels {
        let away = self.workers.iter().filter_map(|worker| worker.away);
        let resting = away.clone().filter(|(_, resting)| *resting).count();
        Levels {
            waiting: self.line.len(),
            ready: self.ready.len(),
            in_flight: self.flights.len(),
            able: self.workers.len() - away.count(),
            resting,
            ..self.levels.clone()
        }
    }

    /// A job by one of the doors; `full` is what happens at a full collector: `None` waits in line.
    pub(crate) fn submit(&mut self, job: u64, closed: Told, full: Option<Told>) {
        if self.closed {
            self.refuse(job, closed);
        } else if !self.is_full() {
            self.join(job);
        } else if let Some(told) = full {
            self.refuse(job, told);
        } else {
            self.line.push_back(job);
        }
    }

    pub(crate) fn leave(&mut self, job: u64) {
        match self.line.iter().position(|waiting| *waiting == job) {
            Some(position) => drop(self.line.remove(position)),
            None => drop(self.gone.insert(job)),
        }
    }

    pub(crate) fn flush(&mut self) -> usize {
        let jobs = self.open.len();
        self.seal(Trigger::Manual);
        jobs
    }

    pub(crate) fn pause(&mut self, paused: bool) {
        self.levels.paused = paused && self.ending.is_none();
    }

    /// A worker answers its batch.
    pub(crate) fn answer(&mut self, flight: usize, told: impl Fn(u64) -> Told) {
        let (worker, jobs) = self.flights.remove(flight);
        self.workers[worker].streak = 0;
        self.free.push_back(worker);
        self.settle(&jobs, told);
    }

    pub(crate) fn panic(&mut self, flight: usize) {
        let (worker, jobs) = self.flights.remove(flight);
        self.levels.restarts += 1;
        self.workers[worker].fail(self.now);
        self.settle(&jobs, |_| Told::Panicked);
    }

    pub(crate) fn advance(&mut self, millis: u64) {
        let until = self.now + millis;
        while let Some(next) = self.next_event().filter(|next| *next <= until) {
            self.now = next;
            self.step();
        }
        self.now = until;
    }

    pub(crate) fn shut_down(&mut self, limit: Option<u64>) {
        if self.ending.is_none() {
            self.closed = true;
            self.levels.paused |= limit == Some(0);
            self.seal(Trigger::Drain);
            for job in std::mem::take(&mut self.line) {
                self.refuse(job, Told::ShutDown);
            }
            self.step();
            let outstanding = self.levels.pending as u64;
            self.ending = Some(Ending { since: self.now, limit: None, outstanding, cut_off: 0 });
            self.levels.paused = false;
        }
        let limit = limit.map(|limit| self.now + limit);
        if let Some(ending) = &mut self.ending {
            ending.limit = [ending.limit, limit].into_iter().flatten().min();
        }
    }

    fn next_event(&self) -> Option<u64> {
        let interval = (!self.open.is_empty()).then_some(self.opened_at + self.settings.interval);
        let back = self.workers.iter().filter_map(|worker| worker.away).map(|(until, _)| until);
        back.chain(interval).chain(self.limit()).min()
    }

    /// When the end cuts off what is left.
    fn limit(&self) -> Option<u64> {
        self.ending.as_ref().filter(|_| self.report.is_none()).and_then(|ending| ending.limit)
    }

    /// All that is to be done now.
    pub(crate) fn step(&mut self) {
        for at in 0..self.workers.len() {
            if self.workers[at].away.is_some_and(|(until, _)| until <= self.now) {
                self.workers[at].away = None;
                self.free.push_back(at);
            }
        }
        if self.limit().is_some_and(|limit| limit <= self.now) {
            self.cut_off();
        }
        while self.do_something() {}
        self.sweep();
        while self.do_something() {}
        self.finish();
    }

    /// Others need the room of those who have gone, if their batches have not begun.
    fn sweep(&mut self) {
        if !self.is_full() && self.line.is_empty() {
            return;
        }
        let mut all_gone = Vec::new();
        for (jobs, trigger) in std::mem::take(&mut self.ready) {
            let (gone, kept): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| self.gone.contains(job));
            all_gone.push(gone);
            if !kept.is_empty() {
                self.ready.push_back((kept, trigger));
            }
        }
        all_gone.iter().for_each(|gone| self.settle(gone, |_| Told::Abandoned));
    }

    fn do_something(&mut self) -> bool {
        if !self.open.is_empty() && self.opened_at + self.settings.interval <= self.now {
            self.seal(Trigger::Interval);
        }
        let all_rest = self.workers.iter().all(|worker| worker.away.is_some_and(|(_, resting)| resting));
        let refusing = all_rest && self.settings.no_workers_fail;
        if !refusing && (self.levels.paused || self.free.is_empty()) {
            return false;
        }
        let Some((jobs, trigger)) = self.ready.pop_front() else { return false };
        if refusing {
            self.settle(&jobs, |_| Told::NoWorkers);
            return true;
        }
        let (gone, kept): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| self.gone.contains(job));
        if gone.is_empty() {
            let worker = self.free.pop_front().expect("one is free");
            self.flights.push((worker, kept.clone()));
            self.begun.push((kept, trigger));
        } else {
            if !kept.is_empty() {
                self.ready.push_front((kept, trigger));
            }
            self.settle(&gone, |_| Told::Abandoned);
        }
        true
    }

    fn cut_off(&mut self) {
        let ready = std::mem::take(&mut self.ready).into_iter().map(|(jobs, _)| jobs);
        let flights = std::mem::take(&mut self.flights).into_iter().map(|(_, jobs)| jobs);
        for jobs in ready.chain(flights).collect::<Vec<_>>() {
            self.settle(&jobs, |_| Told::ShutDown);
            if let Some(ending) = &mut self.ending {
                ending.cut_off += jobs.len() as u64;
            }
        }
    }

    fn finish(&mut self) {
        if let (Some(Ending { since, outstanding, cut_off, .. }), None, 0) =
            (&self.ending, self.report, self.levels.pending)
        {
            self.report = Some((outstanding - cut_off, *cut_off, self.now - since));
        }
    }

    fn is_full(&self) -> bool {
        self.levels.pending >= self.settings.max_pending
    }

    fn join(&mut self, job: u64) {
        if self.open.is_empty() {
            self.opened_at = self.now;
        }
        self.open.push(job);
        self.levels.pending += 1;
        self.levels.accepted += 1;
        if self.open.len() == self.settings.max_size {
            self.seal(Trigger::Size);
        } else if self.is_full() {
            self.seal(Trigger::Full);
        }
    }

    fn seal(&mut self, trigger: Trigger) {
        if !self.open.is_empty() {
            *self.levels.batches.entry(trigger).or_default() += 1;
            self.ready.push_back((std::mem::take(&mut self.open), trigger));
        }
    }

    fn refuse(&mut self, job: u64, told: Told) {
        self.levels.rejected += 1;
        self.told.insert(job, told);
    }

    fn settle(&mut self, jobs: &[u64], told: impl Fn(u64) -> Told) {
        for job in jobs {
            self.told.insert(*job, told(*job));
            *self.levels.settled.entry(told(*job)).or_default() += 1;
        }
        self.levels.pending -= jobs.len();
        while !self.is_full() {
            let Some(job) = self.line.pop_front() else { return };
            self.join(job);
        }
    }
}

impl Worker {
    fn fail(&mut self, now: u64) {
        self.recent.push_back(now);
        self.recent.retain(|failure| failure + 30_000 > now);
        self.streak += 1;
        let back_off = 10_u64.saturating_mul(1 << (self.streak - 1).min(20)).min(5_000);
        self.away = Some(if self.recent.len() > 5 { (self.recent[0] + 30_000, true) } else { (now + back_off, false) });
    }
}
