//! The lease of a run, without locks and without clocks that must agree: a document that its holder keeps changing.
//!
//! A run that finds the lease of another one watches it. If it keeps changing, the other run is alive, and this one is refused. If it stays as
//! it is for the lease's own time, its holder was killed, and the lease is taken over – from the state that was seen, so only one run gets it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use actix_batch_pipeline::checkpoint::{CheckpointError, CheckpointErrorKind};
use mongodb::{
    Collection,
    bson::{Bson, Document, doc, oid::ObjectId},
    error::{Error, ErrorKind, WriteFailure},
};
use tokio::{
    runtime::{Builder, Handle},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use crate::{
    fault::{Fault, is_duplicate},
    server::Server,
};

/// A lease that is held, and renewed until it is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    terms: Terms,
    pipelines: Collection<Document>,
    owner: ObjectId,
    is_lost: Arc<AtomicBool>,
    renewal: JoinHandle<()>,
}

/// What a lease is for.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) server: Server,
    pub(super) pipeline: String,
    /// How long its holder may give no sign.
    pub(super) time: Duration,
    /// Where the sinks of the run find its owner.
    pub(super) owners: Owners,
}

/// The owners of the leases that the runs of one specification hold, by pipeline: the token under which their sinks write.
#[derive(Debug, Clone, Default)]
pub(super) struct Owners(Arc<Mutex<HashMap<String, ObjectId>>>);

impl Owners {
    /// The owner of the pipeline's lease, if a run of this specification holds it.
    pub(super) fn of(&self, pipeline: &str) -> Option<ObjectId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(pipeline).copied()
    }

    fn add(&self, pipeline: &str, owner: ObjectId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(pipeline.to_owned(), owner);
    }

    fn remove(&self, pipeline: &str, owner: ObjectId) {
        let mut owners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if owners.get(pipeline) == Some(&owner) {
            owners.remove(pipeline);
        }
    }
}

/// What a run sees of the lease.
#[derive(Debug, PartialEq)]
enum Seen {
    /// The pipeline has no document yet.
    Nothing,
    Free,
    Held(Document),
}

/// What a run knows of a lease that it watches.
#[derive(Debug, Default)]
struct Watch {
    /// What was seen last, and since when.
    last: Option<(Document, Instant)>,
    changes: u32,
}

#[derive(Debug, PartialEq)]
enum Verdict {
    Free,
    Alive,
    Unknown,
}

/// A run that was killed may have had two commands on their way, a renewal and a checkpoint.
const RENEWALS_THAT_PROVE_LIFE: u32 = 3;

const SHORTEST_LOOK: Duration = Duration::from_millis(10);
const LONGEST_LOOK: Duration = Duration::from_millis(500);

/// How long giving it back may take. After that, the next run waits for it.
const GIVING_BACK: Duration = Duration::from_secs(3);
/// How long the thread that gives it back may take to start.
const STARTING: Duration = Duration::from_millis(100);

impl Watch {
    fn see(&mut self, seen: &Seen, now: Instant) -> Verdict {
        let Seen::Held(lease) = seen else { return Verdict::Free };
        match &self.last {
            Some((before, since)) if before == lease => {
                return if now - *since >= patience(lease) { Verdict::Free } else { Verdict::Unknown };
            }
            Some(_) => self.changes += 1,
            None => tracing::info!("waiting for the lease of a run that may have been killed"),
        }
        self.last = Some((lease.clone(), now));
        if self.changes >= RENEWALS_THAT_PROVE_LIFE { Verdict::Alive } else { Verdict::Unknown }
    }
}

impl Lease {
    /// Takes it. Waits for one whose holder gives no sign.
    pub(super) async fn take(pipelines: &Collection<Document>, terms: Terms) -> Result<Self, CheckpointError> {
        let (owner, mut watch, pipeline) = (ObjectId::new(), Watch::default(), &terms.pipeline);
        // Soon at first: the run before may just be giving it back.
        let (mut look_after, longest) = (SHORTEST_LOOK, (terms.time / 20).clamp(SHORTEST_LOOK, LONGEST_LOOK));
        loop {
            let seen = look(pipelines, pipeline).await.map_err(|error| failed(&error))?;
            match watch.see(&seen, Instant::now()) {
                Verdict::Free => {
                    let lease = held_by(owner, terms.time);
                    if grab(pipelines, pipeline, &seen, lease).await.map_err(|error| failed(&error))? {
                        return Ok(Self::held(pipelines, terms, owner));
                    }
                }
                Verdict::Alive => return Err(leased(pipeline, pipelines)),
                Verdict::Unknown => {
                    sleep(look_after).await;
                    look_after = (look_after * 2).min(longest);
                }
            }
        }
    }

    fn held(pipelines: &Collection<Document>, terms: Terms, owner: ObjectId) -> Self {
        terms.owners.add(&terms.pipeline, owner);
        let is_lost = Arc::new(AtomicBool::new(false));
        let renewal = renew(pipelines.clone(), terms.pipeline.clone(), owner, terms.time, Arc::clone(&is_lost));
        Self { terms, pipelines: pipelines.clone(), owner, is_lost, renewal: tokio::spawn(renewal) }
    }

    /// The pipeline's document, as long as this run holds it.
    pub(super) fn own(&self) -> Document {
        held(&self.terms.pipeline, self.owner)
    }

    /// Whether the pipeline's document says that this run holds it.
    pub(super) fn may_write(&self, pipeline: &Document) -> bool {
        is_held_by(pipeline, self.owner)
    }

    /// What the pipeline's document says of this run.
    pub(super) fn mark(&self) -> Document {
        held_by(self.owner, self.terms.time)
    }

    pub(super) fn check(&self) -> Result<(), CheckpointError> {
        if self.is_lost.load(Ordering::Relaxed) { Err(self.lost()) } else { Ok(()) }
    }

    /// Another run has taken it over, because this one gave no sign for so long.
    pub(super) fn lost(&self) -> CheckpointError {
        CheckpointError::new(CheckpointErrorKind::Leased, lost(&self.terms.pipeline, self.terms.time))
    }
}

impl Drop for Lease {
    /// Gives it back, so that the next run need not wait. A runtime that ends drops its tasks and waits for a blocking one that has begun: so if the
    /// process ends with the run, a blocking task gives it back.
    fn drop(&mut self) {
        self.renewal.abort();
        self.terms.owners.remove(&self.terms.pipeline, self.owner);
        let Ok(runtime) = Handle::try_current() else { return };
        let (terms, pipelines, owner) = (self.terms.clone(), self.pipelines.clone(), self.owner);
        let database = pipelines.namespace().db;
        let (tell, is_given_back) = mpsc::channel();
        let (begun, has_begun) = mpsc::channel::<()>();
        runtime.spawn_blocking(move || {
            drop(begun);
            if is_given_back.recv_timeout(GIVING_BACK).is_err() {
                give_back_elsewhere(&terms, &database, owner);
            }
        });
        // It ends at once: the other side says nothing, and goes.
        let _ = has_begun.recv_timeout(STARTING);
        let pipeline = self.terms.pipeline.clone();
        runtime.spawn(async move {
            if give_back(&pipelines, &pipeline, owner).await.is_ok() {
                let _ = tell.send(());
            }
        });
    }
}

async fn give_back(pipelines: &Collection<Document>, pipeline: &str, owner: ObjectId) -> Result<(), Error> {
    pipelines.update_one(held(pipeline, owner), doc! { "$unset": { "lease": "" } }).await.map(drop)
}

/// Gives a lease back by a runtime and a connection of its own, because those of the run have ended with it.
fn give_back_elsewhere(terms: &Terms, database: &str, owner: ObjectId) {
    let given_back = async {
        let database = terms.server.connect(Some(database)).await.map_err(|fault| fault.message)?;
        let pipelines = database.collection("_pipelines");
        give_back(&pipelines, &terms.pipeline, owner).await.map_err(|error| error.to_string())
    };
    let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return };
    let given_back = runtime.block_on(async { timeout(GIVING_BACK, given_back).await });
    if let Err(error) = given_back.unwrap_or_else(|late| Err(late.to_string())) {
        let (pipeline, time) = (&terms.pipeline, terms.time);
        tracing::warn!(pipeline, error, "the lease was not given back: the next run waits for it, {time:?}");
    }
}

/// The document of a pipeline whose lease has this owner.
fn held(pipeline: &str, owner: ObjectId) -> Document {
    doc! { "_id": pipeline, "lease.owner": owner }
}

/// Whether the document of a pipeline says that its lease has this owner.
pub(super) fn is_held_by(pipeline: &Document, owner: ObjectId) -> bool {
    pipeline.get_document("lease").and_then(|lease| lease.get_object_id("owner")).is_ok_and(|held| held == owner)
}

/// What ends a run whose lease another run has taken over.
pub(super) fn lost(pipeline: &str, time: Duration) -> String {
    format!(
        "this run of pipeline `{pipeline}` gave no sign for {time:?}, and another one took its lease: raise `.lease(…)` if it was only slow"
    )
}

fn held_by(owner: ObjectId, time: Duration) -> Document {
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    doc! { "owner": owner, "beat": ObjectId::new(), "millis": millis }
}

/// How long its holder may give no sign.
fn patience(lease: &Document) -> Duration {
    Duration::from_millis(lease.get_i64("millis").ok().and_then(|millis| millis.try_into().ok()).unwrap_or(15_000))
}

async fn look(pipelines: &Collection<Document>, pipeline: &str) -> Result<Seen, Error> {
    let found = pipelines.find_one(doc! { "_id": pipeline }).projection(doc! { "lease": 1 }).await?;
    Ok(match found {
        None => Seen::Nothing,
        Some(found) => found.get_document("lease").map_or(Seen::Free, |lease| Seen::Held(lease.clone())),
    })
}

/// Takes the lease if it still is what was seen.
async fn grab(pipelines: &Collection<Document>, pipeline: &str, seen: &Seen, lease: Document) -> Result<bool, Error> {
    let is_as_seen = match seen {
        Seen::Nothing => {
            return match pipelines.insert_one(doc! { "_id": pipeline, "lease": lease }).await {
                Ok(_) => Ok(true),
                Err(error) if is_duplicate_error(&error) => Ok(false),
                Err(error) => Err(error),
            };
        }
        Seen::Free => doc! { "_id": pipeline, "lease": Bson::Null },
        Seen::Held(lease) => {
            let (owner, beat) = (lease.get("owner").cloned(), lease.get("beat").cloned());
            doc! { "_id": pipeline, "lease.owner": owner, "lease.beat": beat }
        }
    };
    let taken = pipelines.update_one(is_as_seen, doc! { "$set": { "lease": lease } }).await?;
    Ok(taken.matched_count == 1)
}

/// Changes the lease three times in its time, until another run has it.
async fn renew(
    pipelines: Collection<Document>,
    pipeline: String,
    owner: ObjectId,
    time: Duration,
    is_lost: Arc<AtomicBool>,
) {
    let mut ticks = interval(time / 3);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let beat = doc! { "$set": { "lease.beat": ObjectId::new() } };
        match pipelines.update_one(held(&pipeline, owner), beat).await {
            Ok(renewed) if renewed.matched_count == 0 => return is_lost.store(true, Ordering::Relaxed),
            Ok(_) => {}
            // The next tick tries again. A run that waits for the lease does not reach the server either.
            Err(error) => tracing::warn!(pipeline, %error, "the lease cannot be renewed"),
        }
    }
}

fn is_duplicate_error(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Write(WriteFailure::WriteError(failed)) if is_duplicate(failed.code))
}

fn failed(error: &Error) -> CheckpointError {
    Fault::of(error, "the lease of the run cannot be taken").into()
}

fn leased(pipeline: &str, pipelines: &Collection<Document>) -> CheckpointError {
    let place = pipelines.namespace().db;
    let message =
        format!("another run of pipeline `{pipeline}` writes to database `{place}`: wait until it ends, or stop it");
    CheckpointError::new(CheckpointErrorKind::Leased, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held() -> Seen {
        Seen::Held(held_by(ObjectId::new(), Duration::from_secs(15)))
    }

    #[test]
    fn a_lease_whose_holder_gives_no_sign_for_its_time_is_free() {
        let (mut watch, lease, begin) = (Watch::default(), held(), Instant::now());
        let mut after = |seconds| watch.see(&lease, begin + Duration::from_secs(seconds));
        assert_eq!([after(0), after(14), after(15)], [Verdict::Unknown, Verdict::Unknown, Verdict::Free]);
        assert_eq!(Watch::default().see(&Seen::Free, begin), Verdict::Free);
    }

    #[test]
    fn commands_that_arrive_after_their_run_was_killed_are_no_sign_of_life() {
        let (mut watch, begin) = (Watch::default(), Instant::now());
        let last = held();
        for (seen, seconds) in [(&held(), 0), (&held(), 1), (&last, 2), (&last, 16)] {
            assert_eq!(watch.see(seen, begin + Duration::from_secs(seconds)), Verdict::Unknown);
        }
        assert_eq!(watch.see(&last, begin + Duration::from_secs(17)), Verdict::Free);
    }

    #[test]
    fn a_lease_that_keeps_changing_has_a_living_holder() {
        let (mut watch, now) = (Watch::default(), Instant::now());
        let verdicts: Vec<_> = (0..4).map(|_| watch.see(&held(), now)).collect();
        assert_eq!(verdicts, [Verdict::Unknown, Verdict::Unknown, Verdict::Unknown, Verdict::Alive]);
    }
}
