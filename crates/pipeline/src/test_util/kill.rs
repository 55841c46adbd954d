//! Runs that are killed at any moment, as SIGKILL, an out-of-memory killer or a power cut would do it.

use std::{
    env,
    ffi::OsStr,
    fmt::Debug,
    process::{Child, Command, ExitStatus, Stdio},
    str::FromStr,
    time::Duration,
};

/// A run in a process of its own, which can be killed without warning.
///
/// The process is the test's own program, started with one test of it: an ignored one, so that nobody else runs it.
///
/// ```no_run
/// use actix_batch_pipeline::{prelude::*, source::from_iter, test_util::{Kills, Victim}};
/// use std::{env, thread::sleep, time::Duration};
///
/// #[actix_rt::test]
/// #[ignore = "the other test starts it"]
/// async fn victim() {
///     let table = Sqlite::append(env::var("DATABASE").unwrap(), "numbers");
///     Pipeline::named("numbers").read(from_iter("numbers", || 0..100_000)).write(table).run().await.unwrap();
/// }
///
/// #[test]
/// fn after_kills_each_number_is_there_once() {
///     let database = "numbers.sqlite"; // In a temporary folder, and with its table.
///     let mut kills = Kills::from_env("numbers");
///     while kills.are_left() {
///         let run = Victim::start("victim", [("DATABASE", database)]);
///         sleep(kills.moment(Duration::from_secs(1)));
///         kills.kill(run);
///     }
///     Victim::start("victim", [("DATABASE", database)]).finish();
///     // Now compare the table with that of a run that was left alone.
/// }
/// ```
#[derive(Debug)]
pub struct Victim {
    /// Taken out when its end is awaited.
    process: Option<Child>,
}

impl Victim {
    /// Starts this program again, with one test and these environment variables.
    ///
    /// # Panics
    ///
    /// If the program cannot be started.
    pub fn start<'a, V: AsRef<OsStr>>(test: &str, environment: impl IntoIterator<Item = (&'a str, V)>) -> Self {
        let mut command = Command::new(env::current_exe().expect("the program knows its file"));
        command.args(["--exact", test, "--include-ignored", "--nocapture"]).envs(environment);
        let process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        Self { process: Some(process.expect("the program starts again")) }
    }

    /// Whether it has not come to its end.
    ///
    /// # Panics
    ///
    /// If the system does not say so.
    pub fn is_running(&mut self) -> bool {
        let ended = self.process.as_mut().map(|process| process.try_wait().expect("the process can be asked"));
        ended.is_some_and(|ended| ended.is_none())
    }

    /// Kills it. Returns whether it had not come to its end.
    ///
    /// # Panics
    ///
    /// If the run failed by itself.
    pub fn kill(mut self) -> bool {
        if let Some(process) = &mut self.process {
            // It may have ended already.
            let _ = process.kill();
        }
        self.was_killed()
    }

    /// Lets it come to its end.
    ///
    /// # Panics
    ///
    /// If the run failed, or was killed by somebody else.
    pub fn finish(mut self) {
        assert!(!self.was_killed(), "a run that was left alone was killed");
    }

    fn was_killed(&mut self) -> bool {
        let Some(process) = self.process.take() else { return false };
        let ended = process.wait_with_output().expect("the process can be awaited");
        let was_killed = is_killed(ended.status);
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(was_killed || ended.status.success(), "the run itself fails: {said}");
        was_killed
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A run that aborts ends by a signal, too, but by another one.
#[cfg(unix)]
fn is_killed(ended: ExitStatus) -> bool {
    const SIGKILL: i32 = 9;
    std::os::unix::process::ExitStatusExt::signal(&ended) == Some(SIGKILL)
}

/// Who was killed has the exit code 1, and so has a test that fails.
#[cfg(not(unix))]
fn is_killed(ended: ExitStatus) -> bool {
    ended.code() == Some(1)
}

/// How often runs are killed, and when: `KILLS` of the environment says how often, and `KILL_SEED` repeats the moments of another run of
/// the test.
#[derive(Debug)]
pub struct Kills {
    random: fastrand::Rng,
    all: u32,
    left: u32,
    before_their_end: u32,
}

impl Kills {
    /// As the environment says: 20 by default, and a random seed, which is printed with what is tested.
    ///
    /// # Panics
    ///
    /// If a variable is no number.
    pub fn from_env(tested: &str) -> Self {
        let seed = number("KILL_SEED").unwrap_or_else(|| fastrand::u64(..));
        println!("KILL_SEED={seed} ({tested})");
        let all = number("KILLS").unwrap_or(20);
        Self { random: fastrand::Rng::with_seed(seed), all, left: all, before_their_end: 0 }
    }

    /// Whether there is another run to kill.
    pub fn are_left(&self) -> bool {
        self.left > 0
    }

    /// A random moment within a time.
    pub fn moment(&mut self, within: Duration) -> Duration {
        within.mul_f64(self.random.f64())
    }

    /// Kills a run. Returns whether it had not come to its end.
    ///
    /// # Panics
    ///
    /// If the run failed by itself.
    pub fn kill(&mut self, run: Victim) -> bool {
        self.left = self.left.saturating_sub(1);
        let was_killed = run.kill();
        self.before_their_end += u32::from(was_killed);
        was_killed
    }

    /// Makes sure that the kills were worth it: at least this many of the runs, in percent, had not come to their end.
    ///
    /// # Panics
    ///
    /// If they were fewer.
    pub fn assert_before_their_end(&self, percent: u32) {
        let Self { all, before_their_end: killed, .. } = self;
        println!("{killed} of {all} runs were killed before their end");
        assert!(killed * 100 >= all * percent, "only {killed} of {all} runs were killed before their end");
    }
}

fn number<N: FromStr<Err: Debug>>(name: &str) -> Option<N> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("`{name}` must be a number (got {text:?}): {error:?}")))
}
