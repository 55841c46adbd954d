use super::*;
use crate::flush::{Arrival, Decision, Idle, SizeOrInterval, Timing};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn jobs(times: &[u64]) -> Vec<Incoming> {
    times.iter().map(|at| Incoming::at(ms(*at))).collect()
}

fn timing(jobs: usize, took: u64) -> Timing {
    Timing { jobs, took: ms(took), ..Timing::default() }
}

#[test]
fn batches_wait_for_a_worker_in_the_order_in_which_they_left() {
    let setting = Setting { workers: 2, cost: Cost::new(ms(10), ms(1)), ..Setting::default() };
    let cuts = replay(SizeOrInterval::new(2, None), &setting, &jobs(&[0, 0, 1, 1, 2, 2, 3]));
    let seen: Vec<_> = cuts.iter().map(|cut| (cut.jobs.clone(), cut.worker, cut.started, cut.done)).collect();
    assert_eq!(seen[..3], [(0..2, 0, ms(0), ms(12)), (2..4, 1, ms(1), ms(13)), (4..6, 0, ms(12), ms(24))]);
    assert_eq!((&cuts[3].jobs, cuts[3].trigger, cuts[3].done), (&(6..7), Trigger::Drain, ms(35)));
}

#[test]
fn a_job_that_comes_out_of_order_comes_with_the_one_before_it() {
    let cuts = replay(Idle, &Setting::default(), &jobs(&[5, 1, 9]));
    assert_eq!(cuts.iter().map(|cut| (cut.jobs.clone(), cut.left)).collect::<Vec<_>>(), [(0..2, ms(5)), (2..3, ms(9))]);
}

/// Is due long ago, and wants to send what is empty.
struct Hasty;
impl FlushPolicy for Hasty {
    fn on_job(&mut self, _: &OpenBatch, _: &Arrival) -> Decision {
        Decision::SendThenAdd(Trigger::Idle)
    }

    fn due(&self, open: &OpenBatch) -> Option<tokio::time::Instant> {
        open.opened_at.map_or_else(|| Some(tokio::time::Instant::now()), |at| at.checked_sub(ms(10)))
    }
}

#[test]
fn nonsense_is_no_panic_and_no_endless_loop() {
    let setting =
        Setting { max_size: 0, workers: 0, cost: Cost::new(Duration::MAX, Duration::MAX), late: Duration::MAX };
    let ever = [Duration::ZERO, Duration::MAX, Duration::MAX].map(Incoming::at);
    assert_eq!(replay(Idle, &setting, &ever).len(), 3);
    assert_eq!(replay(Idle, &setting, &[]).len(), 0);
    assert_eq!(replay(Hasty, &Setting::default(), &jobs(&[20, 20, 30])).len(), 3);
}

#[test]
fn the_cost_is_the_line_of_least_squares() {
    let cost = Cost::fit(&[timing(1, 3), timing(11, 13), timing(21, 23)]).unwrap();
    assert_eq!((cost.batch(), cost.job()), (ms(2), ms(1)));
    assert_eq!(cost.of(7, 100), ms(102));
}

#[test]
fn no_part_of_the_cost_is_negative() {
    for (timings, batch, job) in [
        (vec![timing(10, 20), timing(20, 10)], ms(15), ms(0)), // larger batches were quicker
        (vec![timing(1, 0), timing(2, 2)], ms(0), Duration::from_micros(800)), // the line would begin below 0
        (vec![timing(5, 4), timing(5, 6)], ms(5), ms(0)),      // one size says nothing about the other
        (vec![timing(0, 0)], ms(0), ms(0)),
    ] {
        let cost = Cost::fit(&timings).unwrap();
        assert_eq!((cost.batch(), cost.job()), (batch, job), "{timings:?}");
    }
}

#[test]
fn batches_stray_from_the_line_as_they_did() {
    let cost = Cost::fit_with_strays(&[timing(1, 2), timing(3, 2), timing(1, 4), timing(3, 4)]).unwrap();
    assert_eq!([0, 1, 2, 3, 4].map(|n| cost.of(n, 2)), [2, 2, 4, 4, 2].map(ms));
}
