//! What each job gets from each kind of outcomes.

use super::*;
use crate::batch::Batch;

/// A job that asks for the row with this key.
#[derive(Debug)]
struct Ask(u64);

impl Job for Ask {
    type Output = (u64, &'static str);
    type Error = String;
}

fn batch(keys: impl IntoIterator<Item = u64>) -> Batch<Ask> {
    Batch::from(keys.into_iter().map(Ask).collect::<Vec<_>>())
}

fn rows(keys: impl IntoIterator<Item = u64>) -> Vec<(u64, &'static str)> {
    keys.into_iter().map(|key| (key, "row")).collect()
}

fn by_key(batch: &Batch<Ask>, rows: Vec<(u64, &'static str)>) -> Outcomes<Ask> {
    Outcomes::by_key(batch, rows, |job| job.0, |row| row.0)
}

fn lookup(batch: &Batch<Ask>, rows: Vec<(u64, &'static str)>) -> Outcomes<Ask> {
    Outcomes::lookup(batch, rows, |job| job.0, |row| row.0)
}

/// One character per job: the key, `-` for no result, `2` for a duplicate, `#` for a mismatch, `x` for the job's own error.
fn picture(outcomes: Outcomes<Ask>, batch: &Batch<Ask>) -> String {
    let results = outcomes.into_results(batch);
    let sign = |result: &JobResult<Ask>| match result {
        Ok((key, _)) => key.to_string(),
        Err(JobError::NoResult) => "-".to_owned(),
        Err(JobError::DuplicateKey) => "2".to_owned(),
        Err(JobError::Mismatch { .. }) => "#".to_owned(),
        Err(JobError::Failed(_)) => "x".to_owned(),
        Err(other) => panic!("{other}"),
    };
    results.iter().map(sign).collect()
}

#[test]
fn in_order_takes_exactly_one_output_per_job() {
    let jobs = batch([7, 8, 9]);
    let pictures = [0, 2, 3, 4].map(|outputs| picture(Outcomes::in_order(rows(7..7 + outputs)), &jobs));
    assert_eq!(pictures, ["###", "###", "789", "###"]);
    assert_eq!(picture(rows([7, 8, 9]).into(), &jobs), "789");
}

#[test]
fn each_takes_exactly_one_result_per_job() {
    let jobs = batch([7, 8]);
    let result = |key| if key == 7 { Err("no".to_owned()) } else { Ok((key, "row")) };
    let pictures = [1, 2, 3].map(|results| picture(Outcomes::each((7..7 + results).map(result)), &jobs));
    assert_eq!(pictures, ["##", "x8", "##"]);
}

#[test]
fn by_key_matches_each_output_to_one_job() {
    let jobs = batch([1, 2, 3, 2]);
    let pictures = [
        by_key(&jobs, rows([3, 4, 1])),
        by_key(&jobs, rows([2, 2, 2])),
        by_key(&jobs, rows([])),
        by_key(&jobs, rows([3, 2, 1])),
    ]
    .map(|outcomes| picture(outcomes, &jobs));
    assert_eq!(pictures, ["1-32", "-2-2", "---2", "1232"]);
}

#[test]
fn lookup_gives_an_output_to_every_job_with_its_key() {
    let jobs = batch([1, 2, 1, 3]);
    assert_eq!(picture(lookup(&jobs, rows([3, 1, 9])), &jobs), "1-13");
}

#[test]
fn the_first_of_two_outputs_with_one_key_counts() {
    let jobs = batch([1]);
    for outcomes in [by_key(&jobs, vec![(1, "first"), (1, "second")]), lookup(&jobs, vec![(1, "first"), (1, "second")])]
    {
        assert!(matches!(outcomes.into_results(&jobs)[..], [Ok((1, "first"))]));
    }
}

#[test]
fn outputs_without_a_job_are_counted_by_kind() {
    let jobs = batch([1, 2]);
    for outcomes in [by_key(&jobs, rows([1, 1, 8, 9, 1])), lookup(&jobs, rows([1, 1, 8, 9, 1]))] {
        assert_eq!(outcomes.results(2).stray(), Stray { unknown: 2, repeated: 2 });
    }
    assert_eq!(Outcomes::<Ask>::in_order(rows([1, 2])).results(2).stray(), Stray::default());
}

#[test]
fn all_gives_every_job_the_same_output() {
    for jobs in [0, 1, 5] {
        let jobs = batch(vec![3; jobs]);
        assert_eq!(picture(Outcomes::all((3, "row")), &jobs), "3".repeat(jobs.len()));
    }
}

#[test]
fn outcomes_of_another_batch_are_a_mismatch() {
    let outcomes = by_key(&batch([1, 2]), rows([1, 2]));
    assert_eq!(picture(outcomes, &batch([1, 2, 3])), "###");
}

#[test]
fn the_error_of_a_whole_batch_is_shared_by_its_jobs() {
    let error = Arc::new("down".to_owned());
    let results = JobResults::<Ask>::whole(JobError::Failed(Arc::clone(&error)), 3);
    assert!(matches!(results.whole_failure(), Some(JobError::Failed(_))));
    let errors: Vec<_> = results.collect();
    assert_eq!(errors.len(), 3);
    assert!(errors.iter().all(|result| matches!(result, Err(JobError::Failed(one)) if Arc::ptr_eq(one, &error))));
}
