//! Schedules: pipelines run again and again, none twice at once, and one that fails stops no other.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix_batch_pipeline::{
    Schedule,
    checkpoint::MemoryStore,
    prelude::*,
    schedule::{AddPipeline, GetReport, RemovePipeline, StopAll},
    sink::SinkError,
};
use tokio::time::sleep;

use support::{Panicking, Shelf, paused};

mod support;

const MINUTE: Duration = Duration::from_secs(60);

fn counting(name: &str, shelf: &Shelf<u64>, count: u64) -> Pipeline {
    Pipeline::named(name).read(from_iter("numbers", move || 0..count)).write(shelf.clone()).build()
}

#[test]
fn each_pipeline_runs_at_its_own_interval() {
    paused(async || {
        let (often, seldom) = (Shelf::new(), Shelf::new());
        let schedule = Schedule::new();
        schedule.add(counting("often", &often, 10), MINUTE).unwrap();
        schedule.add(counting("seldom", &seldom, 10), MINUTE * 10).unwrap();
        sleep(MINUTE * 19 / 2).await;
        let all = schedule.stop().await.pipelines;
        let runs: Vec<_> = all.iter().map(|entry| (&*entry.pipeline, entry.runs, entry.failures)).collect();
        assert_eq!(runs, [("often", 10, 0), ("seldom", 1, 0)]);
        assert_eq!((often.stored().len(), seldom.stored().len()), (100, 10));
    });
}

#[test]
fn a_run_goes_on_where_the_one_before_has_ended() {
    paused(async || {
        let (shelf, store, grown) = (Shelf::new(), MemoryStore::default(), Arc::new(AtomicU64::new(10)));
        let size = Arc::clone(&grown);
        let pipeline = Pipeline::named("grows")
            .read(from_iter("numbers", move || 0..size.load(Ordering::Relaxed)))
            .write(shelf.clone())
            .checkpoint_store(move || Box::new(store.clone()));
        let schedule = Schedule::new();
        schedule.add(pipeline.build(), MINUTE).unwrap();
        sleep(MINUTE / 2).await;
        grown.store(25, Ordering::Relaxed);
        sleep(MINUTE).await;
        let all = schedule.stop().await.pipelines;
        assert_eq!((all[0].runs, all[0].report.as_ref().unwrap().read), (2, 15));
        assert_eq!(shelf.stored(), (0..25).collect::<Vec<_>>());
    });
}

#[test]
fn a_schedule_is_told_by_messages_and_gives_one_report_for_all() {
    paused(async || {
        let (shelf, down) = (Shelf::new(), Shelf::failing(|_: &u64| Some(SinkError::fatal("no such table"))));
        let schedule = Schedule::new().start();
        for (name, sink) in [("good", &shelf), ("wrong", &down)] {
            let pipeline = counting(name, sink, 10);
            schedule.send(AddPipeline { pipeline, every: MINUTE }).await.unwrap().unwrap();
        }
        let again = AddPipeline { pipeline: counting("good", &shelf, 10), every: MINUTE };
        assert!(schedule.send(again).await.unwrap().is_err(), "there is one of this name");
        sleep(MINUTE * 5 / 2).await;
        let report = schedule.send(GetReport).await.unwrap().to_string();
        let lines: Vec<_> = report.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(lines[0], "pipeline runs failures read written rejected");
        assert_eq!(lines[1], "good 3 0 30 30 0 waits");
        assert_eq!(lines[2], "wrong 3 3 0 0 0 failed: the sink failed: no such table");
        let removed = schedule.send(RemovePipeline("wrong".to_owned())).await.unwrap().unwrap();
        assert_eq!((removed.runs, removed.failures), (3, 3));
        assert_eq!(schedule.send(StopAll).await.unwrap().pipelines.len(), 1);
        sleep(MINUTE * 5).await;
        assert_eq!(shelf.stored().len(), 30, "nothing runs any more");
    });
}

#[test]
fn a_run_that_panics_has_failed_and_is_tried_again_at_its_next_time() {
    paused(async || {
        let flow = Pipeline::named("panics").read(from_iter("numbers", || 0..10_u64)).stage(Panicking);
        let schedule = Schedule::new();
        schedule.add(flow.write(Shelf::new()).build(), MINUTE).unwrap();
        sleep(MINUTE * 5 / 2).await;
        let status = schedule.report().pipelines[0].clone();
        assert_eq!((status.runs, status.failures, status.is_running), (3, 3, false));
        assert!(status.error.as_ref().unwrap().contains("`panicking`"), "{status:?}");
        schedule.stop().await;
    });
}

#[test]
fn a_run_that_is_still_going_is_not_started_twice() {
    paused(async || {
        let (running, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (now, seen) = (Arc::clone(&running), Arc::clone(&most));
        let slow = Pipeline::named("slow")
            .read(from_iter("numbers", || 0..1_u64))
            .map_async(1, move |number| {
                let (now, seen) = (Arc::clone(&now), Arc::clone(&seen));
                async move {
                    seen.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                    sleep(MINUTE * 5 / 2).await;
                    now.fetch_sub(1, Ordering::Relaxed);
                    Ok::<_, String>(number)
                }
            })
            .write(Shelf::new());
        let schedule = Schedule::new();
        schedule.add(slow.build(), MINUTE).unwrap();
        sleep(MINUTE * 9).await;
        assert!(schedule.report().pipelines[0].is_running);
        assert_eq!(schedule.report().pipelines[0].runs, 3);
        schedule.stop().await;
        assert_eq!((most.load(Ordering::Relaxed), running.load(Ordering::Relaxed)), (1, 0));
    });
}

#[test]
fn a_pipeline_that_fails_stops_no_other_unless_that_was_asked_for() {
    paused(async || {
        for stop_all in [false, true] {
            let (good, bad) = (Shelf::new(), Shelf::failing(|_| Some(SinkError::fatal("no such table"))));
            let schedule = Schedule::new().stop_all_on_failure(stop_all);
            schedule.add(counting("bad", &bad, 1), MINUTE).unwrap();
            schedule.add(counting("good", &good, 1), MINUTE).unwrap();
            sleep(MINUTE * 5 / 2).await;
            let all = schedule.stop().await.pipelines;
            let failures = all[0].failures;
            assert!(all[0].error.as_ref().unwrap().contains("no such table"), "{:?}", all[0].error);
            assert_eq!((failures, all[1].runs, all[1].failures), if stop_all { (1, 1, 0) } else { (3, 3, 0) });
        }
    });
}

#[test]
fn pipelines_are_added_and_removed_while_others_run() {
    paused(async || {
        let (first, second) = (Shelf::new(), Shelf::new());
        let schedule = Schedule::new();
        schedule.add(counting("first", &first, 1), MINUTE).unwrap();
        sleep(MINUTE * 3 / 2).await;
        schedule.add(counting("second", &second, 1), MINUTE).unwrap();
        assert!(schedule.add(counting("second", &second, 1), MINUTE).is_err(), "a name that is there already");
        assert!(schedule.add(counting("third", &second, 1), Duration::ZERO).is_err());
        assert_eq!(schedule.remove("first").await.unwrap().runs, 2);
        assert!(schedule.remove("first").await.is_none());
        sleep(MINUTE * 3 / 2).await;
        assert_eq!((first.stored().len(), second.stored().len()), (2, 2));
        schedule.stop().await;
    });
}
