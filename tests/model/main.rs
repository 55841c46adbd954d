//! The collector does what a plain single-threaded one does: the same replies, the same batches, whatever the sequence of
//! submits, answers, failures, panics, pauses and ends.
//!
//! `PROPTEST_CASES` sets how many sequences are tried.
#![cfg(feature = "test-util")]

use std::{cell::RefCell, collections::BTreeMap, panic, rc::Rc, sync::Once};

use actix_batch::{
    NoWorkers, ShutdownReport, Stats, Trigger,
    prelude::*,
    test_util::{Ledger, Recorded},
};
use proptest::{collection::vec, prelude::*};
use tokio::{
    task::{JoinHandle, spawn_local},
    time::sleep,
};

use self::{
    reference::{Begun, Levels, Reference, Report, Settings, Told},
    support::{Broken, Clerk, Desk, Held, Tenfold, balanced, guarded, ms, paused_system, quiet},
};

mod reference;
#[path = "../support/mod.rs"]
mod support;

/// One step of a sequence. A number picks one of what there is, round and round; where there is nothing, nothing happens.
#[derive(Debug, Clone, Copy)]
enum Step {
    Submit {
        jobs: usize,
    },
    TrySubmit,
    Send,
    DoSend,
    Leave(usize),
    Flush,
    Pause,
    Resume,
    Advance(u64),
    Answer(usize, Answer),
    Panic(usize),
    /// So many panics, one after the other: enough of them rest a worker.
    Storm {
        panics: usize,
    },
    Shutdown(Option<u64>),
}

impl Step {
    /// A storm is many steps.
    fn parts(self) -> Vec<Self> {
        match self {
            // Longer than the back-off of the sixth panic in a row.
            Self::Storm { panics } => {
                [Self::Submit { jobs: 1 }, Self::Flush, Self::Panic(0), Self::Advance(350)].repeat(panics)
            }
            step => vec![step],
        }
    }
}

/// How a processor answers.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Outputs,
    /// Jobs with an odd number fail.
    Mixed,
    Error,
    TooMany,
}

impl Answer {
    fn told(self, job: u64) -> Told {
        match self {
            Self::Mixed if job % 2 == 1 => Told::Failed,
            Self::Outputs | Self::Mixed => Told::Output,
            Self::Error => Told::Failed,
            Self::TooMany => Told::Mismatch,
        }
    }

    fn outcomes(self, batch: &Batch<Tenfold>) -> Result<Outcomes<Tenfold>, Broken> {
        let numbers = batch.iter().map(|job| job.0);
        match self {
            Self::Outputs => Ok(Outcomes::in_order(numbers)),
            Self::Mixed => {
                Ok(Outcomes::each(numbers.map(|job| if job % 2 == 1 { Err(Broken("odd")) } else { Ok(job) })))
            }
            Self::Error => Err(Broken("refused")),
            Self::TooMany => Ok(Outcomes::in_order(numbers.chain([0]))),
        }
    }
}

fn settings() -> impl Strategy<Value = Settings> {
    (1..=3_usize, 1..=8_usize, 0..=7_usize, 1..=9_u64, any::<bool>()).prop_map(
        |(workers, max_size, more, interval, no_workers_fail)| Settings {
            workers,
            max_size,
            max_pending: max_size + more,
            interval,
            no_workers_fail,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let answers = prop_oneof![
        4 => Just(Answer::Outputs),
        2 => Just(Answer::Mixed),
        1 => Just(Answer::Error),
        1 => Just(Answer::TooMany),
    ];
    prop_oneof![
        8 => (1..=2_usize).prop_map(|jobs| Step::Submit { jobs }),
        6 => (3..=9_usize).prop_map(|jobs| Step::Submit { jobs }),
        3 => Just(Step::TrySubmit),
        3 => Just(Step::Send),
        2 => Just(Step::DoSend),
        4 => any::<usize>().prop_map(Step::Leave),
        2 => Just(Step::Flush),
        1 => Just(Step::Pause),
        2 => Just(Step::Resume),
        10 => (1..=3_u64).prop_map(Step::Advance),
        4 => (4..=12_u64).prop_map(Step::Advance),
        1 => (1_000..=31_000_u64).prop_map(Step::Advance),
        14 => (any::<usize>(), answers).prop_map(|(batch, answer)| Step::Answer(batch, answer)),
        5 => any::<usize>().prop_map(Step::Panic),
        1 => (2..=14_usize).prop_map(|panics| Step::Storm { panics }),
        1 => prop_oneof![Just(None), (0..=40_u64).prop_map(Some)].prop_map(Step::Shutdown),
    ]
}

/// The real collector, driven step by step.
struct Real {
    jobs: Collector<Tenfold>,
    door: Recipient<SubmitJob<Tenfold>>,
    ledger: Ledger<Tenfold>,
    desk: Desk<Tenfold>,
    held: Vec<Held<Tenfold>>,
    begun: Vec<Begun>,
    told: Rc<RefCell<BTreeMap<u64, Told>>>,
    /// Callers that wait, and whether their going is noticed.
    callers: Vec<(u64, bool, JoinHandle<()>)>,
    reports: Vec<JoinHandle<ShutdownReport>>,
    next: u64,
}

impl Real {
    async fn start(settings: &Settings) -> Self {
        let (desk, factory) = Desk::<Tenfold>::new();
        let jobs = builder(settings, factory).start().unwrap();
        quiet().await;
        Self {
            door: jobs.recipient().unwrap(),
            ledger: Ledger::new(&jobs),
            jobs,
            desk,
            held: Vec::new(),
            begun: Vec::new(),
            told: Rc::default(),
            callers: Vec::new(),
            reports: Vec::new(),
            next: 0,
        }
    }

    fn next(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    fn call(&mut self, job: u64, noticed: bool, reply: Recorded<impl Into<Reply> + 'static>) {
        let told = Rc::clone(&self.told);
        let caller = spawn_local(async move {
            let reply: Reply = reply.await.into();
            told.borrow_mut().insert(job, reply.0);
        });
        self.callers.push((job, noticed, caller));
    }

    /// Takes the step here and in the model.
    async fn take(&mut self, step: &Step, model: &mut Reference) {
        match step {
            Step::Submit { jobs } => {
                for _ in 0..*jobs {
                    let job = self.next();
                    let reply = self.ledger.submit(Tenfold(job));
                    self.call(job, true, reply);
                    model.submit(job, Told::ShutDown, None);
                }
            }
            Step::TrySubmit => {
                let job = self.next();
                match self.ledger.try_submit(Tenfold(job)) {
                    Ok(reply) => self.call(job, true, reply),
                    Err(_) => drop(self.told.borrow_mut().insert(job, Told::HandedBack)),
                }
                model.submit(job, Told::HandedBack, Some(Told::HandedBack));
            }
            Step::Send => {
                let job = self.next();
                let reply = self.ledger.send(&self.door, Tenfold(job));
                self.call(job, false, reply);
                model.submit(job, Told::ShutDown, Some(Told::Overloaded));
            }
            Step::DoSend => {
                let job = self.next();
                self.ledger.do_send(&self.door, Tenfold(job));
                model.submit(job, Told::ShutDown, Some(Told::Overloaded));
            }
            Step::Leave(number) => {
                self.callers.retain(|(_, _, caller)| !caller.is_finished());
                if !self.callers.is_empty() {
                    let (job, noticed, caller) = self.callers.remove(number % self.callers.len());
                    caller.abort();
                    if noticed {
                        model.leave(job);
                    }
                }
            }
            Step::Flush => assert_eq!(self.jobs.flush().await, Ok(model.flush())),
            Step::Pause => {
                self.jobs.pause().await.unwrap();
                model.pause(true);
            }
            Step::Resume => {
                self.jobs.resume().await.unwrap();
                model.pause(false);
            }
            Step::Advance(millis) => {
                sleep(ms(*millis)).await;
                model.advance(*millis);
            }
            Step::Answer(number, answer) => {
                let answer = *answer;
                if let Some(batch) = self.pick(*number) {
                    self.held.remove(batch).answer(move |batch| answer.outcomes(batch));
                    model.answer(batch, |job| answer.told(job));
                }
            }
            Step::Panic(number) => {
                if let Some(batch) = self.pick(*number) {
                    self.held.remove(batch).panic();
                    model.panic(batch);
                }
            }
            Step::Storm { .. } => unreachable!("it is taken in its parts"),
            Step::Shutdown(limit) => {
                let (jobs, shutdown) = (self.jobs.clone(), Shutdown::drain());
                let shutdown = limit.map_or(shutdown, |limit| shutdown.within(ms(limit)));
                self.reports.push(spawn_local(async move { jobs.shutdown(shutdown).await.unwrap() }));
                model.shut_down(*limit);
            }
        }
        model.step();
        self.settle().await;
    }

    fn pick(&self, number: usize) -> Option<usize> {
        (!self.held.is_empty()).then(|| number % self.held.len())
    }

    /// Everything that there is to be done now is done, and what workers have begun with is on the table.
    async fn settle(&mut self) {
        quiet().await;
        while let Some(held) = self.desk.try_next() {
            self.begun.push((held.numbers(), held.trigger));
            self.held.push(held);
        }
        // What was cut off is no longer waited for.
        self.held.retain(|held| !held.is_given_up());
    }

    /// Nothing that can be seen differs from the model.
    async fn compare(&mut self, model: &Reference) {
        assert_eq!(self.begun, model.begun, "the batches");
        for (job, told) in self.told.borrow().iter() {
            assert_eq!(Some(told), model.told.get(job), "job {job}");
        }
        for (job, _, caller) in &self.callers {
            assert!(caller.is_finished() == model.told.contains_key(job), "job {job}: {:?}", model.told.get(job));
        }
        let mut levels = levels(&self.jobs.stats().await.unwrap());
        if model.report.is_some() {
            // The workers have left; the model does not follow them any further.
            let Levels { restarts, able, resting, .. } = model.levels();
            levels = Levels { restarts, able, resting, ..levels };
        }
        assert_eq!(levels, model.levels());
        for report in &self.reports {
            assert_eq!(report.is_finished(), model.report.is_some(), "{:?}", model.report);
        }
    }

    async fn reports(self) -> Vec<Report> {
        let mut reports = Vec::new();
        for report in self.reports {
            let ShutdownReport { completed, shut_down, elapsed, .. } = report.await.unwrap();
            reports.push((completed, shut_down, u64::try_from(elapsed.as_millis()).unwrap()));
        }
        reports
    }
}

fn builder(
    settings: &Settings,
    factory: impl Fn() -> Clerk<Tenfold> + Send + Sync + 'static,
) -> CollectorBuilder<Clerk<Tenfold>> {
    Collector::builder(factory)
        .workers(Workers::local(settings.workers))
        .max_size(settings.max_size)
        .max_pending(settings.max_pending)
        .interval(ms(settings.interval))
        .no_workers(if settings.no_workers_fail { NoWorkers::Fail } else { NoWorkers::Wait })
}

/// A reply, as the model sees it.
struct Reply(Told);

impl From<JobResult<Tenfold>> for Reply {
    fn from(reply: JobResult<Tenfold>) -> Self {
        Self(match reply {
            Ok(_) => Told::Output,
            Err(JobError::Failed(_)) => Told::Failed,
            Err(JobError::Mismatch { .. }) => Told::Mismatch,
            Err(JobError::Panicked) => Told::Panicked,
            Err(JobError::NoWorkers) => Told::NoWorkers,
            Err(JobError::ShutDown) => Told::ShutDown,
            Err(JobError::Overloaded) => Told::Overloaded,
            Err(other) => panic!("nothing in the model ends so: {other}"),
        })
    }
}

impl From<Result<JobResult<Tenfold>, MailboxError>> for Reply {
    fn from(reply: Result<JobResult<Tenfold>, MailboxError>) -> Self {
        reply.expect("the actor lives").into()
    }
}

/// The statistics, as the model sees them.
fn levels(stats: &Stats) -> Levels {
    let settled = [
        (Told::Output, stats.succeeded),
        (Told::Failed, stats.failed.failed),
        (Told::Mismatch, stats.failed.mismatch),
        (Told::Panicked, stats.failed.panicked),
        (Told::Abandoned, stats.failed.abandoned),
        (Told::NoWorkers, stats.failed.no_workers),
        (Told::ShutDown, stats.failed.shut_down),
    ];
    assert_eq!(settled.iter().map(|(_, jobs)| jobs).sum::<u64>(), stats.succeeded + stats.failed.total());
    Levels {
        accepted: stats.intake.accepted,
        rejected: stats.intake.rejected.total(),
        settled: settled.into_iter().filter(|(_, jobs)| *jobs > 0).collect(),
        batches: stats.batches.iter().map(|(trigger, batches): (&Trigger, &u64)| (*trigger, *batches)).collect(),
        restarts: stats.restarts,
        pending: stats.intake.pending,
        waiting: stats.intake.waiting,
        ready: stats.ready,
        in_flight: stats.in_flight,
        able: stats.workers.able,
        resting: stats.workers.resting,
        paused: stats.paused,
    }
}

/// Both take the same steps; then everything that is left is answered, and both end.
async fn compare(settings: Settings, mut steps: Vec<Step>) {
    let (mut real, mut model) = (Real::start(&settings).await, Reference::new(&settings));
    for step in steps.drain(..).flat_map(Step::parts).chain([Step::Resume]) {
        real.take(&step, &mut model).await;
        real.compare(&model).await;
    }
    while model.levels().pending > 0 {
        let all = (0..real.held.len()).map(|_| Step::Answer(0, Answer::Outputs)).collect::<Vec<_>>();
        for step in all.into_iter().chain([Step::Advance(1_000)]) {
            real.take(&step, &mut model).await;
            real.compare(&model).await;
        }
    }
    real.take(&Step::Shutdown(None), &mut model).await;
    real.compare(&model).await;
    balanced(&real.ledger, &real.jobs).await;
    assert!(real.reports().await.into_iter().all(|report| Some(report) == model.report));
}

/// The panics that the test commands are no news.
fn silence_commanded_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let (payload, commanded) = (info.payload(), support::COMMANDED);
            let text = payload.downcast_ref::<&str>().copied();
            let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
            if text != Some(commanded) {
                usual(info);
            }
        }));
    });
}

proptest! {
    #[test]
    fn the_collector_does_what_the_reference_does(settings in settings(), steps in vec(step(), 1..60)) {
        silence_commanded_panics();
        guarded(move || paused_system().block_on(compare(settings, steps)));
    }
}
