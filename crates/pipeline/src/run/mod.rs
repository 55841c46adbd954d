//! One run of a pipeline: finds out where to go on, copies the ranges, saves checkpoints, and ends in order.

use std::{pin::pin, sync::Arc};

use actix_batch::{Collector, StartError};
use futures_util::{
    StreamExt,
    future::{Either, LocalBoxFuture, select},
    stream::FuturesUnordered,
};
use tokio::{
    sync::oneshot,
    time::{MissedTickBehavior, interval},
};

use crate::{
    checkpoint::{RunId, Settled},
    dead_letters::{DeadLetterQueue, Letters, PendingLetters},
    error::RunError,
    guarantee::{Guarantee, Rest},
    outlet::{Outlet, OutletContext},
    progress::{Counters, Display, Report},
    record::Record,
    source::{Reader, Source},
    stage::Chain,
};

#[cfg(feature = "metrics")]
use crate::progress::Metrics;

mod budget;
mod control;
mod dry;
mod end;
mod interrupt;
mod lanes;
mod prefix;
mod publisher;
mod range;
mod replies;
mod resume;
mod saves;
mod settings;
mod shared;
mod source_range;

use budget::Budget;
use control::Command;
pub(crate) use control::Control;
use interrupt::Interrupt;
use lanes::Lanes;
use range::RangeCopy;
use resume::{Resume, Stores};
use saves::Saves;
pub(crate) use settings::Settings;
use shared::Shared;
pub use source_range::SourceRange;

/// What is to be run.
pub(crate) struct Plan<S: Source, T: Send + Sync + 'static> {
    pub(crate) source: Arc<S>,
    pub(crate) stages: Arc<dyn Chain<S::Record, T>>,
    pub(crate) outlet: Arc<dyn Outlet<T>>,
    pub(crate) settings: Settings,
}

impl<S: Source, T: Send + Sync + 'static> Plan<S, T> {
    /// Runs to the end, or until `control` stops it.
    pub(crate) async fn run(&self, control: &Control, counters: &Arc<Counters>) -> Result<Report, RunError> {
        self.validate()?;
        let run = RunId::new(&self.settings.name);
        let mut stores = self.stores(&run);
        stores.lease().await?;
        let ended = self.run_leased(run, &mut stores, control, counters).await;
        self.source.release().await;
        ended
    }

    async fn run_leased(
        &self,
        run: RunId,
        stores: &mut Stores,
        control: &Control,
        counters: &Arc<Counters>,
    ) -> Result<Report, RunError> {
        if self.settings.fresh || self.settings.start_at.is_some() {
            stores.clear().await?;
        }
        let resume = self.resume(stores).await?;
        let shared = Arc::new(self.shared(&resume, stores, control, counters)?);
        *counters.size.lock() = self.source.size().await;
        // From here on a run that is killed goes on, also before its first batch.
        stores.save(&resume.checkpoint, &PendingLetters::default()).await?;
        let context = self.context(run, &shared);
        self.stages.begin();
        let collectors = self.outlet.start(&context).map_err(|error| self.explained(error))?;
        let _interrupt = self.settings.stop_on_ctrl_c.then(|| Interrupt::listen(control.clone()));
        let display = self.settings.show_progress.then(|| Display::start(Arc::clone(counters), resume.goes_on));
        #[cfg(feature = "metrics")]
        let metrics = self.settings.metrics.then(|| Metrics::start(Arc::clone(counters)));
        let copied = self.copy(&shared, &resume, &collectors, stores).await;
        drop(display);
        #[cfg(feature = "metrics")]
        drop(metrics);
        self.end(copied, &shared, &resume, &collectors, stores).await
    }

    /// How often a record takes effect.
    pub(crate) fn guarantee(&self) -> Guarantee {
        let rest = match (self.source.is_resumable(), S::Reader::ACKNOWLEDGES) {
            (true, _) => Rest::Unsettled,
            (false, true) => Rest::Unacknowledged,
            (false, false) => Rest::Nothing,
        };
        Guarantee::of(rest, &self.outlet.promises())
    }

    /// The plan in words: its checkpoints belong to it.
    pub(crate) fn fingerprint(&self) -> String {
        let stages = self.stages.names().into_iter();
        let words = std::iter::once(self.source.describe()).chain(stages).chain(self.outlet.describe());
        words.collect::<Vec<_>>().join(" → ")
    }

    pub(crate) fn validate(&self) -> Result<(), RunError> {
        self.settings.validate()?;
        self.check_dead_letters()?;
        if self.guarantee().may_duplicate() && !self.settings.accept_duplicates {
            return Err(RunError::Duplicates { pair: self.fingerprint() });
        }
        Ok(())
    }

    /// Letters wait in one queue, so only one sink can store them.
    fn check_dead_letters(&self) -> Result<(), RunError> {
        let stores = self.outlet.stores(&RunId::new(&self.settings.name));
        match stores.iter().flatten().filter(|store| store.keeps_dead_letters()).count() {
            0 | 1 => Ok(()),
            sinks => Err(RunError::Config {
                key: "dead_letters_table",
                value: format!("{sinks} sinks"),
                allowed: "set for one sink of a pipeline".to_owned(),
            }),
        }
    }

    fn stores(&self, run: &RunId) -> Stores {
        let sinks = self.outlet.stores(run);
        let own = self.settings.store.as_ref().filter(|_| sinks.iter().any(Option::is_none)).map(|make| make());
        Stores { sinks, own }
    }

    async fn resume(&self, stores: &mut Stores) -> Result<Resume, RunError> {
        if stores.is_empty() || self.settings.start_at.is_some() {
            let cursor = self.settings.start_at.clone();
            return Resume::start_at(self, cursor, stores.sinks.len()).await;
        }
        Resume::find(self, stores).await
    }

    fn shared(
        &self,
        resume: &Resume,
        stores: &Stores,
        control: &Control,
        counters: &Arc<Counters>,
    ) -> Result<Shared, RunError> {
        let settings = &self.settings;
        let settled = Arc::new(Settled::new(resume.checkpoint.clone()));
        let letters = self.letters(resume, stores.keep_dead_letters().then(|| Arc::clone(settled.dead_letters())))?;
        Ok(Shared {
            source: self.source.describe(),
            chunk: settings.chunk,
            look_ahead: settings.look_ahead,
            cursor_version: resume.checkpoint.cursor_version,
            max_rejected: settings.max_rejected,
            max_batches: settings.max_batches,
            counters: Arc::clone(counters),
            settled,
            letters: Arc::new(letters),
            monitor: Arc::default(),
            budget: Budget::new(settings.max_records),
            control: control.clone(),
            saves: Saves::default(),
        })
    }

    fn letters(&self, resume: &Resume, queue: Option<Arc<DeadLetterQueue>>) -> Result<Letters, RunError> {
        let mut letters = Letters::new(&self.settings.name);
        if let Some(queue) = queue {
            letters = letters.beside_the_rows(queue);
        }
        let Some(path) = &self.settings.dead_letters else { return Ok(letters) };
        let in_file = letters.in_file(path, resume.goes_on, |position| resume.has_settled(position));
        in_file.map_err(|error| RunError::DeadLetters { path: path.clone(), error })
    }

    fn context(&self, run: RunId, shared: &Shared) -> OutletContext {
        let ahead = self.settings.look_ahead + self.chunks_ahead();
        OutletContext {
            run,
            settled: Arc::clone(&shared.settled),
            letters: Arc::clone(&shared.letters),
            max_pending: ahead.saturating_mul(self.settings.readers),
            monitor: Arc::clone(&shared.monitor),
        }
    }

    /// Each reader may send a few chunks beyond its look-ahead; a `flat_map` makes more of them, which then wait.
    fn chunks_ahead(&self) -> usize {
        4 * self.settings.chunk
    }

    /// A batch that is larger than what may be on its way would never be full: the user set one by `max_size`, the other by `look_ahead`.
    fn explained(&self, error: StartError) -> RunError {
        match error {
            StartError::Config(error) if error.key == "max_size" && error.allowed.contains("max_pending") => {
                let of_each_reader = |size: usize| size.div_ceil(self.settings.readers);
                let least = error.value.parse().map_or(0, of_each_reader).saturating_sub(self.chunks_ahead());
                RunError::Config {
                    key: "look_ahead",
                    value: self.settings.look_ahead.to_string(),
                    allowed: format!(
                        "at least {least}, so that a batch of the sink's `max_size`, {}, can be full",
                        error.value
                    ),
                }
            }
            error => error.into(),
        }
    }

    /// Copies all ranges and saves checkpoints meanwhile. Returns whether all came to their ends.
    async fn copy(
        &self,
        shared: &Arc<Shared>,
        resume: &Resume,
        collectors: &[Collector<Record<T>>],
        stores: &mut Stores,
    ) -> Result<bool, RunError> {
        let (copied, until) = oneshot::channel::<()>();
        let copying = pin!(self.copy_ranges(shared, resume, collectors));
        let saving = pin!(self.save_regularly(until, shared, stores));
        match select(copying, saving).await {
            Either::Left((complete, saving)) => {
                drop(copied);
                // A save that is under way ends before the last one begins.
                let saved = saving.await;
                complete.and_then(|complete| saved.map(|()| complete))
            }
            // It ends by itself only if a save fails.
            Either::Right((saved, _)) => saved.map(|()| false),
        }
    }

    /// Saves a checkpoint whenever one is due or asked for, while the ranges are copied on.
    async fn save_regularly(
        &self,
        mut until: oneshot::Receiver<()>,
        shared: &Shared,
        stores: &mut Stores,
    ) -> Result<(), RunError> {
        let mut ticks = interval(self.settings.checkpoint_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            tokio::select! {
                biased;
                _ = &mut until => return Ok(()),
                _ = ticks.tick() => shared.save(stores).await?,
                () = shared.saves.asked() => shared.save(stores).await?,
            }
        }
    }

    /// Copies all ranges. Returns whether all came to their ends.
    async fn copy_ranges(
        &self,
        shared: &Arc<Shared>,
        resume: &Resume,
        collectors: &[Collector<Record<T>>],
    ) -> Result<bool, RunError> {
        let mut copies = self.start_copies(shared, resume, collectors);
        let mut commands = shared.control.commands();
        tell(collectors, commands.now(), Command::default()).await;
        let mut told = commands.now();
        let mut complete = true;
        loop {
            tokio::select! {
                biased;
                command = commands.changed() => {
                    tell(collectors, command, told).await;
                    told = command;
                }
                end = copies.next() => match end {
                    Some(end) => complete &= end?,
                    None => return Ok(complete),
                },
            }
        }
    }

    fn start_copies(
        &self,
        shared: &Arc<Shared>,
        resume: &Resume,
        collectors: &[Collector<Record<T>>],
    ) -> FuturesUnordered<LocalBoxFuture<'static, Result<bool, RunError>>> {
        let open: Vec<_> = resume.checkpoint.ranges.iter().filter(|range| !range.done).cloned().collect();
        let alone = open.len() <= 1;
        let copies = open.into_iter().map(|start| {
            let lanes = Lanes::new(Arc::clone(&self.outlet), collectors, resume.written_of(start.range));
            let copy = RangeCopy {
                source: Arc::clone(&self.source),
                stages: Arc::clone(&self.stages),
                lanes,
                start,
                shared: Arc::clone(shared),
                commands: shared.control.commands(),
            };
            if alone { Box::pin(copy.run()) as LocalBoxFuture<'static, _> } else { Box::pin(on_thread(copy)) }
        });
        copies.collect()
    }
}

/// Tells the sinks' collectors what has changed.
async fn tell<T: Send + Sync + 'static>(collectors: &[Collector<Record<T>>], now: Command, before: Command) {
    for collector in collectors {
        // One that has ended has nothing to be told.
        if now.holds_sinks() != before.holds_sinks() {
            let _ = if now.holds_sinks() { collector.pause().await } else { collector.resume().await };
        }
        if let Some(batches) = now.in_flight.filter(|batches| now.in_flight != before.in_flight && *batches > 0) {
            let _ = collector.set_max_in_flight(batches).await;
        }
    }
}

/// Copies a range on a thread of its own.
async fn on_thread<S: Source, T: Send + Sync + 'static>(copy: RangeCopy<S, T>) -> Result<bool, RunError> {
    let thread = ReaderThread(actix_rt::Arbiter::new());
    let (send, receive) = oneshot::channel();
    thread.0.spawn_fn(move || {
        actix_rt::spawn(async move { drop(send.send(copy.run().await)) });
    });
    let ended = || Err(RunError::Lost("the thread of a reader ended before the reader did".to_owned()));
    receive.await.unwrap_or_else(|_| ended())
}

/// The thread of a reader: it ends with the wait for it.
struct ReaderThread(actix_rt::Arbiter);

impl Drop for ReaderThread {
    fn drop(&mut self) {
        self.0.stop();
    }
}
