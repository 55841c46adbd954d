//! Where jobs are, and the events of those who subscribed.

mod support;

use std::sync::{Arc, Mutex};

use actix_batch::{JobEvent, JobId, JobState, prelude::*};
use futures_util::future::join_all;
use support::{Broken, Clerk, Desk, Tenfold, ms, paused, quiet};

fn one_worker(
    set: impl FnOnce(CollectorBuilder<Clerk<Tenfold>>) -> CollectorBuilder<Clerk<Tenfold>>,
) -> (Collector<Tenfold>, Desk<Tenfold>) {
    let (desk, factory) = Desk::new();
    (set(Collector::builder(factory).name("tracked").workers(Workers::local(1))).start().unwrap(), desk)
}

async fn state(jobs: &Collector<Tenfold>, id: JobId) -> Option<JobState> {
    jobs.job_state(id).await.unwrap()
}

/// State, batch, attempt and jobs of each event.
type Events = Arc<Mutex<Vec<(JobState, u64, u32, Vec<u64>)>>>;

/// Keeps every event; `missed` is the last figure that it was told.
#[derive(Default)]
struct Log {
    events: Events,
    missed: Arc<Mutex<u64>>,
    capacity: usize,
}

impl Actor for Log {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(self.capacity);
    }
}

impl Handler<JobEvent> for Log {
    type Result = ();

    fn handle(&mut self, event: JobEvent, _: &mut Context<Self>) {
        assert_eq!(&*event.collector, "tracked");
        let jobs = event.jobs.iter().map(JobId::get).collect();
        self.events.lock().unwrap().push((event.state, event.batch, event.attempt, jobs));
        *self.missed.lock().unwrap() = event.missed;
    }
}

#[test]
fn a_job_is_followed_from_the_line_to_its_reply() {
    paused(|| async {
        let (jobs, mut desk) = one_worker(|builder| {
            builder.track_jobs(10).max_size(2).max_pending(3).retry(Retry::fixed(ms(50)).attempts(2))
        });
        quiet().await;
        jobs.pause().await.unwrap();
        let replies: Vec<_> = (0..4).map(|n| jobs.submit(Tenfold(n))).collect();
        let ids: Vec<_> = replies.iter().map(|reply| reply.id().unwrap()).collect();
        assert_eq!(state(&jobs, ids[0]).await, Some(JobState::Ready));
        assert_eq!(state(&jobs, ids[3]).await, Some(JobState::Waiting));
        jobs.resume().await.unwrap();
        let held = desk.next().await;
        assert_eq!(state(&jobs, ids[0]).await, Some(JobState::Processing));
        // The third filled the collector and left by itself; the worker is busy.
        assert_eq!(state(&jobs, ids[2]).await, Some(JobState::Ready));
        held.answer(|batch| {
            Ok(Outcomes::each(batch.iter().map(|job| if job.0 == 0 { Ok(0) } else { Err(Broken("once")) })))
        });
        let second = desk.next().await;
        assert_eq!(state(&jobs, ids[0]).await, Some(JobState::Succeeded));
        assert_eq!(state(&jobs, ids[1]).await, Some(JobState::Retrying));
        assert_eq!(state(&jobs, ids[3]).await, Some(JobState::Ready), "it had its turn, and filled the collector");
        tokio::time::sleep(ms(60)).await;
        assert_eq!(state(&jobs, ids[1]).await, Some(JobState::Ready), "the worker is busy");
        second.complete();
        desk.next().await.answer(|_| Err(Broken("twice")));
        desk.next().await.complete();
        assert!(join_all(replies).await[1].is_err());
        let ends = [JobState::Succeeded, JobState::Failed, JobState::Succeeded, JobState::Succeeded];
        for (id, end) in ids.into_iter().zip(ends) {
            assert_eq!(state(&jobs, id).await, Some(end), "{id}");
            assert!(end.is_final());
        }
    });
}

#[test]
fn only_so_many_settled_jobs_are_remembered() {
    paused(|| async {
        let (jobs, mut desk) = one_worker(|builder| builder.track_jobs(2).max_size(4));
        let replies: Vec<_> = (0..4).map(|n| jobs.submit(Tenfold(n))).collect();
        let ids: Vec<_> = replies.iter().map(|reply| reply.id().unwrap()).collect();
        desk.next().await.complete();
        join_all(replies).await;
        let states = join_all(ids.iter().map(|id| state(&jobs, *id))).await;
        assert_eq!(states, [None, None, Some(JobState::Succeeded), Some(JobState::Succeeded)]);
    });
}

#[test]
fn without_tracking_no_state_is_known() {
    paused(|| async {
        let (jobs, mut desk) = one_worker(|builder| builder.max_size(1));
        let reply = jobs.submit(Tenfold(1));
        let id = reply.id().unwrap();
        let held = desk.next().await;
        assert_eq!(state(&jobs, id).await, None);
        held.complete();
        reply.await.unwrap();
    });
}

#[test]
fn subscribers_get_an_event_per_move_of_a_batch() {
    paused(|| async {
        let (jobs, mut desk) =
            one_worker(|builder| builder.max_size(3).retry(Retry::fixed(ms(50)).attempts(2)).split_poison(true));
        let log = Log { capacity: 100, ..Log::default() };
        let events = Arc::clone(&log.events);
        jobs.subscribe(log.start().recipient()).await.unwrap();

        // One by the handle, two by messages, one of which nobody waits for.
        let first = jobs.submit(Tenfold(0));
        let door = jobs.recipient().unwrap();
        let second = actix_rt::spawn(door.send(SubmitJob::new(Tenfold(1))));
        quiet().await;
        door.do_send(SubmitJob::new(Tenfold(2)));
        desk.next().await.answer(|_| Err(Broken("once")));
        desk.next().await.answer(|batch| {
            Ok(Outcomes::each(batch.iter().map(|job| if job.0 == 1 { Err(Broken("one")) } else { Ok(0) })))
        });
        first.await.unwrap();
        assert!(second.await.unwrap().unwrap().is_err());
        let (ready, processing, retrying) = (JobState::Ready, JobState::Processing, JobState::Retrying);
        let all = || vec![0, 1, 2];
        let expected = [
            (ready, 0, 1, all()),
            (processing, 0, 1, all()),
            (retrying, 1, 2, all()),
            (ready, 1, 2, all()),
            (processing, 1, 2, all()),
            (JobState::Succeeded, 1, 2, vec![0, 2]),
            (JobState::Failed, 1, 2, vec![1]),
        ];
        quiet().await;
        assert_eq!(std::mem::take(&mut *events.lock().unwrap()), expected);

        let replies: Vec<_> = (3..6).map(|n| jobs.submit(Tenfold(n))).collect();
        for _ in 0..2 {
            desk.next().await.answer(|_| Err(Broken("whole")));
        }
        for _ in 0..2 {
            desk.next().await.complete();
        }
        join_all(replies).await;
        quiet().await;
        let heard = std::mem::take(&mut *events.lock().unwrap());
        let halves: Vec<_> = heard.iter().filter(|(state, batch, ..)| *state == ready && *batch > 3).collect();
        assert_eq!(halves.iter().map(|(.., jobs)| jobs.clone()).collect::<Vec<_>>(), [vec![3, 4], vec![5]]);
        assert_eq!(heard.last(), Some(&(JobState::Succeeded, halves[1].1, 3, vec![5])));
    });
}

#[test]
fn callers_who_leave_and_a_shutdown_have_ends_of_their_own() {
    paused(|| async {
        let (jobs, mut desk) = one_worker(|builder| builder.track_jobs(10).max_size(1));
        let busy = jobs.submit(Tenfold(0));
        let _held = desk.next().await;
        let gone = jobs.submit(Tenfold(1));
        let left = jobs.submit(Tenfold(2));
        let ids = [&busy, &gone, &left].map(|reply| reply.id().unwrap());
        quiet().await;
        drop(gone);
        jobs.shutdown(Shutdown::now()).await.unwrap();
        let states = join_all(ids.map(|id| state(&jobs, id))).await;
        assert_eq!(states[2], Some(JobState::ShutDown));
        assert_eq!(states[0], Some(JobState::ShutDown));
        assert!(matches!(states[1], Some(JobState::ShutDown | JobState::Abandoned)), "{states:?}");
        drop((busy, left));

        let (jobs, mut desk) = one_worker(|builder| builder.track_jobs(10).max_size(1));
        let busy = jobs.submit(Tenfold(0));
        let held = desk.next().await;
        let gone = jobs.submit(Tenfold(1));
        let id = gone.id().unwrap();
        quiet().await;
        drop(gone);
        held.complete();
        busy.await.unwrap();
        quiet().await;
        assert_eq!(state(&jobs, id).await, Some(JobState::Abandoned));
    });
}

#[test]
fn a_subscriber_that_does_not_keep_up_loses_events_and_no_job_waits_for_it() {
    paused(|| async {
        const JOBS: u64 = 50;
        let (jobs, mut desk) = one_worker(|builder| builder.max_size(1));
        let log = Log { capacity: 2, ..Log::default() };
        let (events, missed) = (Arc::clone(&log.events), Arc::clone(&log.missed));
        let stuck = log.start();
        // It handles nothing until it is told to go on.
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        stuck.send(Hold(gone)).await.unwrap();
        jobs.subscribe(stuck.clone().recipient()).await.unwrap();
        for n in 0..JOBS {
            let reply = jobs.submit(Tenfold(n));
            desk.next().await.complete();
            assert_eq!(reply.await.unwrap(), n * 10);
        }
        let lost = jobs.stats().await.unwrap().lost_events;
        let told = JOBS * 3;
        assert!(lost > told / 2 && lost < told, "{lost} of {told}");
        go.send(()).unwrap();
        quiet().await;
        let reply = jobs.submit(Tenfold(0));
        desk.next().await.complete();
        reply.await.unwrap();
        quiet().await;
        let lost_events = jobs.stats().await.unwrap().lost_events;
        assert_eq!(events.lock().unwrap().len() as u64 + lost_events, told + 3);
        assert!(*missed.lock().unwrap() >= lost, "the subscriber knows of the gap");

        // One that has ended is forgotten.
        stuck.do_send(End);
        quiet().await;
        let before = jobs.stats().await.unwrap().lost_events;
        let reply = jobs.submit(Tenfold(0));
        desk.next().await.complete();
        reply.await.unwrap();
        assert_eq!(jobs.stats().await.unwrap().lost_events, before);
    });
}

/// Makes the log wait.
#[derive(Message)]
#[rtype(result = "()")]
struct Hold(tokio::sync::oneshot::Receiver<()>);

impl Handler<Hold> for Log {
    type Result = ();

    fn handle(&mut self, hold: Hold, ctx: &mut Context<Self>) {
        let released = async {
            let _ = hold.0.await;
        };
        ctx.wait(released.into_actor(self));
    }
}

/// Ends the log.
#[derive(Message)]
#[rtype(result = "()")]
struct End;

impl Handler<End> for Log {
    type Result = ();

    fn handle(&mut self, _: End, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

#[test]
fn after_unsubscribe_an_actor_gets_no_more_events_and_the_others_do() {
    paused(|| async {
        let (jobs, mut desk) = one_worker(|builder| builder.max_size(1));
        let [leaves, stays] = [(); 2].map(|()| Log { capacity: 100, ..Log::default() });
        let (events_of_leaves, events_of_stays) = (Arc::clone(&leaves.events), Arc::clone(&stays.events));
        let (leaves, stays) = (leaves.start(), stays.start());
        jobs.subscribe(leaves.clone().recipient()).await.unwrap();
        jobs.subscribe(leaves.clone().recipient()).await.unwrap();
        jobs.subscribe(stays.clone().recipient()).await.unwrap();

        assert_eq!(jobs.unsubscribe(leaves.clone().recipient()).await.unwrap(), 2);
        assert_eq!(jobs.unsubscribe(leaves.recipient()).await.unwrap(), 0);
        let reply = jobs.submit(Tenfold(1));
        desk.next().await.complete();
        reply.await.unwrap();
        quiet().await;
        assert!(events_of_leaves.lock().unwrap().is_empty());
        assert!(!events_of_stays.lock().unwrap().is_empty());
    });
}
