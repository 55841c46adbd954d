//! Settings from the environment and from files reach the collector; what cannot be is refused with its name.
#![cfg(feature = "test-util")]

use std::{
    env,
    process::{Command, Output},
    time::Duration,
};

use actix_batch::{
    Strategy,
    prelude::*,
    test_util::{Ledger, Script},
};
use futures_util::future::join_all;

use self::support::{Tenfold, balanced, paused, tenfold};

mod support;

/// Runs this test binary's `prints_its_settings` in an environment of its own.
fn with_environment(variables: &[(&str, &str)]) -> Output {
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", "prints_its_settings", "--include-ignored", "--nocapture"]);
    child.env("PREFIX", "").env_remove("STRATEGY").env_remove("BATCH_CAPACITY").env_remove("BATCH_TIME_WINDOW");
    child.envs(variables.iter().copied()).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
#[ignore = "started by the others, in an environment of its own"]
fn prints_its_settings() {
    match CollectorConfig::from_env_with_prefix(&env::var("PREFIX").unwrap_or_default()) {
        Ok(config) => println!("read: {:?} {} {:?}", config.strategy, config.max_size, config.interval),
        Err(error) => println!("refused: {error}"),
    }
}

#[test]
fn the_environment_sets_strategy_capacity_and_window() {
    let plain = [("STRATEGY", "capacity"), ("BATCH_CAPACITY", "7"), ("BATCH_TIME_WINDOW", "250")];
    assert!(said(&with_environment(&plain)).contains("read: Capacity 7 250ms"));
    let prefixed = [("PREFIX", "USERS_"), ("USERS_BATCH_CAPACITY", "8"), ("BATCH_CAPACITY", "7")];
    assert!(said(&with_environment(&prefixed)).contains("read: SizeOrInterval 8 5ms"));
    assert!(said(&with_environment(&[])).contains("read: SizeOrInterval 100 5ms"), "what is not set keeps its default");
}

#[test]
fn an_impossible_variable_is_refused_with_its_name_and_its_value() {
    let refused = said(&with_environment(&[("BATCH_CAPACITY", "many")]));
    assert!(refused.contains("refused: `BATCH_CAPACITY` must be a whole number of jobs from 1"), "{refused}");
    let refused = said(&with_environment(&[("PREFIX", "USERS_"), ("USERS_STRATEGY", "often")]));
    assert!(refused.contains("refused: `USERS_STRATEGY` must be one of `size-or-interval`"), "{refused}");
}

#[test]
fn a_file_sets_everything_and_the_collector_keeps_to_it() {
    paused(async || {
        let config: CollectorConfig = serde_json::from_str(
            r#"{ "name": "from-a-file", "strategy": "capacity", "max_size": 3, "max_pending": 6, "workers": { "local": 1 } }"#,
        )
        .unwrap();
        let script = Script::new(tenfold);
        let jobs = Collector::builder(script.factory()).config(config).start().unwrap();
        let ledger = Ledger::new(&jobs);
        assert_eq!(jobs.name(), "from-a-file");
        assert!(join_all((0..9).map(|number| ledger.submit(Tenfold(number)))).await.iter().all(Result::is_ok));
        assert_eq!(script.sizes(), [3, 3, 3]);
        let balance = balanced(&ledger, &jobs).await;
        assert_eq!(balance.most_pending, 6);
    });
}

#[test]
fn a_builder_setting_overrides_an_earlier_file() {
    let config = CollectorConfig { max_size: 3, strategy: Strategy::Capacity, ..CollectorConfig::default() };
    let script = Script::new(tenfold);
    let builder = Collector::builder(script.factory()).config(config).max_size(20_000);
    assert_eq!(
        builder.build().unwrap_err().to_string(),
        "`max_size` must be at most `max_pending`, which is 10000 (got 20000)"
    );
}

#[test]
fn the_largest_sizes_and_times_are_no_overflow() {
    paused(async || {
        let most = u32::MAX as usize;
        let script = Script::new(tenfold);
        let jobs = Collector::builder(script.factory())
            .max_size(most)
            .max_pending(most)
            .interval(Duration::from_secs(24 * 60 * 60))
            .start()
            .unwrap();
        let ledger = Ledger::new(&jobs);
        let replies: Vec<_> = (0..3).map(|number| ledger.submit(Tenfold(number))).collect();
        let report = jobs.shutdown(Shutdown::drain().within(Duration::MAX)).await.unwrap();
        assert_eq!((report.completed, report.shut_down), (3, 0));
        assert!(join_all(replies).await.iter().all(Result::is_ok));
        balanced(&ledger, &jobs).await;
    });
}
