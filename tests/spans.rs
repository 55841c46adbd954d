//! The spans of batches, and their links to those that jobs were submitted in.

mod support;

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fmt::{self, Write},
    sync::{Arc, Mutex},
};

use actix_batch::prelude::*;
use futures_util::future::join_all;
use support::{Broken, Clerk, Desk, Tenfold, ms, paused, quiet};
use tracing::{
    Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::{self, DefaultGuard},
};
use tracing_core::span::Current;

/// Spans, by number: what they are called, and how many hold them.
#[derive(Default)]
struct Kept {
    spans: Vec<(String, &'static Metadata<'static>, usize)>,
    links: BTreeSet<(String, String)>,
}

#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Kept>>);

thread_local! {
    static ENTERED: RefCell<Vec<Id>> = const { RefCell::new(Vec::new()) };
}

/// A span's name, and its fields `id` and `attempt`.
struct Name(String);

impl Visit for Name {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if ["id", "attempt"].contains(&field.name()) {
            let _ = write!(self.0, " {value:?}");
        }
    }
}

fn index(id: &Id) -> usize {
    usize::try_from(id.into_u64()).unwrap() - 1
}

impl Subscriber for Spans {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut name = Name(span.metadata().name().to_owned());
        span.record(&mut name);
        let mut kept = self.0.lock().unwrap();
        kept.spans.push((name.0, span.metadata(), 1));
        Id::from_u64(kept.spans.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        let mut kept = self.0.lock().unwrap();
        for id in [span, follows] {
            assert!(kept.spans[index(id)].2 > 0, "a span that is linked is open");
        }
        let link = (kept.spans[index(span)].0.clone(), kept.spans[index(follows)].0.clone());
        kept.links.insert(link);
    }

    fn event(&self, _: &tracing::Event<'_>) {}

    fn enter(&self, span: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(span.clone()));
    }

    fn exit(&self, _: &Id) {
        ENTERED.with_borrow_mut(Vec::pop);
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.0.lock().unwrap().spans[index(id)].2 += 1;
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let holders = &mut self.0.lock().unwrap().spans[index(&id)].2;
        *holders -= 1;
        *holders == 0
    }

    fn current_span(&self) -> Current {
        let Some(id) = ENTERED.with_borrow(|entered| entered.last().cloned()) else { return Current::none() };
        let metadata = self.0.lock().unwrap().spans[index(&id)].1;
        Current::new(id, metadata)
    }
}

impl Spans {
    fn listen() -> (Self, DefaultGuard) {
        let spans = Self::default();
        let guard = subscriber::set_default(spans.clone());
        (spans, guard)
    }

    /// Every link since the last look, as `from → to`.
    fn links(&self) -> Vec<String> {
        let links = std::mem::take(&mut self.0.lock().unwrap().links);
        links.into_iter().map(|(span, follows)| format!("{span} → {follows}")).collect()
    }

    /// The spans of this name that somebody holds.
    fn open(&self, name: &str) -> usize {
        self.0
            .lock()
            .unwrap()
            .spans
            .iter()
            .filter(|(known, _, holders)| known.starts_with(name) && *holders > 0)
            .count()
    }
}

fn one_worker(
    set: impl FnOnce(CollectorBuilder<Clerk<Tenfold>>) -> CollectorBuilder<Clerk<Tenfold>>,
) -> (Collector<Tenfold>, Desk<Tenfold>) {
    let (desk, factory) = Desk::new();
    (set(Collector::builder(factory).workers(Workers::local(1))).start().unwrap(), desk)
}

#[test]
fn a_batch_and_the_spans_of_its_jobs_are_linked_both_ways() {
    paused(|| async {
        let (spans, _guard) = Spans::listen();
        let (jobs, mut desk) = one_worker(|builder| builder.max_size(4).max_pending(4));
        quiet().await;
        let replies = {
            let _ann = tracing::info_span!("ann").entered();
            // Two jobs of one span are one link; the fifth waits in the wait queue.
            let two = [1, 2].map(|n| jobs.submit(Tenfold(n)));
            let _bob = tracing::info_span!("bob").entered();
            let message = actix_rt::spawn(jobs.recipient().unwrap().send(SubmitJob::new(Tenfold(3))));
            (two, message)
        };
        quiet().await;
        let none = jobs.try_submit(Tenfold(4)).unwrap();
        let waits = {
            let _cid = tracing::info_span!("cid").entered();
            jobs.submit(Tenfold(5))
        };
        desk.next().await.complete();
        let links = ["ann → batch 0 1", "batch 0 1 → ann", "batch 0 1 → bob", "bob → batch 0 1"];
        assert_eq!(spans.links(), links);
        join_all(replies.0).await;
        replies.1.await.unwrap().unwrap().unwrap();
        none.await.unwrap();
        jobs.flush().await.unwrap();
        desk.next().await.complete();
        assert_eq!(spans.links(), ["batch 1 1 → cid", "cid → batch 1 1"]);
        waits.await.unwrap();
        quiet().await;
        assert_eq!(["ann", "bob", "cid", "batch"].map(|name| spans.open(name)), [0; 4], "nothing is held for longer");
    });
}

#[test]
fn a_retry_is_linked_to_the_spans_of_its_own_jobs_only() {
    paused(|| async {
        let (spans, _guard) = Spans::listen();
        let (jobs, mut desk) = one_worker(|builder| builder.max_size(2).retry(Retry::fixed(ms(10)).attempts(2)));
        let ann = tracing::info_span!("ann").in_scope(|| jobs.submit(Tenfold(1)));
        let bob = tracing::info_span!("bob").in_scope(|| jobs.submit(Tenfold(2)));
        desk.next().await.answer(|_| Ok(Outcomes::each([Ok(10), Err(Broken("once"))])));
        desk.next().await.complete();
        assert!(ann.await.is_ok() && bob.await.is_ok());
        let links = spans.links();
        let retries: Vec<_> = links.iter().filter(|link| link.starts_with("batch") && link.contains(" 2 →")).collect();
        assert_eq!(retries.len(), 1, "{links:?}");
        assert!(retries[0].ends_with("→ bob"), "{links:?}");
    });
}

#[test]
fn submitters_who_leave_the_line_hold_no_span() {
    paused(|| async {
        let (spans, _guard) = Spans::listen();
        let (jobs, mut desk) = one_worker(|builder| builder.max_size(1).max_pending(1));
        let first = jobs.submit(Tenfold(1));
        let held = desk.next().await;
        let gone = tracing::info_span!("gone").in_scope(|| jobs.submit(Tenfold(2)));
        assert_eq!(spans.open("gone"), 1);
        drop(gone);
        assert_eq!(spans.open("gone"), 0);
        held.complete();
        first.await.unwrap();
        assert!(spans.links().is_empty());
    });
}
