//! Waiting for the collector as a whole: a barrier, a shutdown, and what a processor that waits for itself is told.
#![cfg(feature = "test-util")]

use std::sync::{
    Arc, Mutex, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use actix::Actor;
use actix_batch::{Barrier, WaitError, WeakCollector, prelude::*};
use futures_util::{FutureExt, future::join_all};
use tracing_core::{
    Event, Level, Metadata, Subscriber,
    dispatcher::{self, Dispatch},
    span,
};

use self::support::{Broken, Desk, Tenfold, paused, quiet};

mod support;

#[test]
fn a_barrier_answers_when_every_job_before_it_is_settled_and_awaits_no_later_one() {
    paused(async || {
        let (mut desk, factory) = Desk::new();
        let actor = Collector::builder(factory).max_size(2).workers(Workers::local(4)).build().unwrap();
        let (jobs, addr) = (actor.handle(), actor.start());
        quiet().await;
        let before: Vec<_> = (0..5).map(|number| jobs.submit(Tenfold(number))).collect();
        let mut asked = Box::pin(jobs.barrier());
        let mut sent = Box::pin(addr.send(Barrier));
        assert!((&mut asked).now_or_never().is_none() && (&mut sent).now_or_never().is_none());
        quiet().await;
        let later = jobs.submit(Tenfold(5));
        jobs.flush().await.unwrap();
        let [first, second, third, last] = [desk.next().await, desk.next().await, desk.next().await, desk.next().await];
        assert_eq!((third.numbers(), last.numbers()), (vec![4], vec![5]), "the barrier has flushed");
        first.complete();
        third.complete();
        quiet().await;
        assert!((&mut asked).now_or_never().is_none() && (&mut sent).now_or_never().is_none());
        second.complete();
        asked.await.unwrap();
        sent.await.unwrap();
        join_all(before).await.into_iter().for_each(|reply| assert!(reply.is_ok()));
        last.complete();
        later.await.unwrap();
    });
}

#[test]
fn a_barrier_before_which_there_is_nothing_answers_at_once_also_after_a_shutdown() {
    paused(async || {
        let (_desk, factory) = Desk::<Tenfold>::new();
        let jobs = Collector::builder(factory).start().unwrap();
        jobs.barrier().await.unwrap();
        jobs.shutdown(Shutdown::drain()).await.unwrap();
        jobs.barrier().await.unwrap();
    });
}

/// Asks its own collector for what it could wait for without end.
struct Own {
    own: Arc<OnceLock<WeakCollector<Tenfold>>>,
    told: Arc<Mutex<Vec<WaitError>>>,
}

impl BatchProcessor for Own {
    type Job = Tenfold;

    async fn process(&mut self, batch: &Batch<Tenfold>) -> Result<Outcomes<Tenfold>, Broken> {
        let own = self.own.get().and_then(WeakCollector::upgrade).ok_or(Broken("no collector"))?;
        let barrier = own.barrier().await.unwrap_err();
        let shutdown = own.shutdown(Shutdown::drain()).await.unwrap_err();
        self.told.lock().unwrap().extend([barrier, shutdown]);
        Ok(Outcomes::in_order(batch.iter().map(|job| job.0)))
    }
}

#[test]
fn a_processor_that_waits_for_its_own_collector_to_finish_is_told_and_does_not_hang() {
    paused(async || {
        let (own, told) = (Arc::default(), Arc::default());
        let (of_factory, told_factory) = (Arc::clone(&own), Arc::clone(&told));
        let factory = move || Own { own: Arc::clone(&of_factory), told: Arc::clone(&told_factory) };
        let jobs = Collector::builder(factory).start().unwrap();
        assert!(own.set(jobs.downgrade()).is_ok());
        assert_eq!(jobs.submit(Tenfold(7)).await.unwrap(), 7);
        assert_eq!(*told.lock().unwrap(), [WaitError::FromProcessor; 2]);
        assert_eq!(jobs.submit(Tenfold(8)).await.unwrap(), 8, "it was not shut down");
    });
}

/// Counts the warnings that a processor waits for its own collector.
struct Warnings(Arc<AtomicUsize>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() == Level::WARN && metadata.target().ends_with("departures")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Asks its own collector for each smaller number.
struct Countdown(Arc<OnceLock<WeakCollector<Tenfold>>>);

impl BatchProcessor for Countdown {
    type Job = Tenfold;

    async fn process(&mut self, batch: &Batch<Tenfold>) -> Result<Outcomes<Tenfold>, Broken> {
        let own = self.0.get().and_then(WeakCollector::upgrade).ok_or(Broken("no collector"))?;
        if batch[0].0 > 0 {
            own.submit(Tenfold(batch[0].0 - 1)).await.map_err(|_| Broken("no answer"))?;
        }
        Ok(Outcomes::in_order(batch.iter().map(|job| job.0)))
    }
}

#[test]
fn a_processor_that_waits_for_a_job_of_its_own_collector_is_warned_of_once() {
    paused(async || {
        let warnings = Arc::new(AtomicUsize::new(0));
        let _subscriber = dispatcher::set_default(&Dispatch::new(Warnings(Arc::clone(&warnings))));
        let own = Arc::new(OnceLock::new());
        let of_factory = Arc::clone(&own);
        let jobs =
            Collector::builder(move || Countdown(Arc::clone(&of_factory))).workers(Workers::local(3)).start().unwrap();
        assert!(own.set(jobs.downgrade()).is_ok());
        assert_eq!(jobs.submit(Tenfold(0)).await.unwrap(), 0);
        assert_eq!(warnings.load(Ordering::Relaxed), 0, "who waits outside of a processor may wait");
        for _ in 0..2 {
            assert_eq!(jobs.submit(Tenfold(2)).await.unwrap(), 2);
        }
        assert_eq!(warnings.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_weak_handle_keeps_no_collector_alive_and_upgrades_to_none_once_it_ends() {
    paused(async || {
        let (_desk, factory) = Desk::<Tenfold>::new();
        let actor = Collector::builder(factory).build().unwrap();
        let jobs = actor.handle();
        let (weak, addr) = (jobs.downgrade(), actor.start());
        assert!(weak.upgrade().is_some());
        let other = addr.clone().downgrade();
        drop((jobs, addr));
        quiet().await;
        assert!(weak.upgrade().is_none());
        assert!(other.upgrade().is_none_or(|addr| !addr.connected()));
    });
}
