//! Why a run on a cluster could not be started, watched, or finished.

use std::error::Error;

use temporalio_client::{
    errors::{ClientConnectError, WorkflowGetResultError, WorkflowInteractionError},
    tonic::Code,
};
use thiserror::Error;

/// What goes wrong between this process and the cluster, or with a run on it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// A setting is refused.
    #[error("`{key}` must be {allowed} (got {value})")]
    Config {
        /// The setting.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// The server cannot be reached.
    #[error("the Temporal server at {url} cannot be reached: {error}")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// Why, with all causes.
        error: String,
    },
    /// The server does not let this client in.
    #[error("the Temporal server at {url} refuses this client, so check its API key and its certificate: {error}")]
    NotAllowed {
        /// Where it is.
        url: String,
        /// What it said, with all causes.
        error: String,
    },
    /// A run of this name goes on, or is known already.
    #[error("run `{run}` cannot be started: {error}")]
    NotStarted {
        /// The run's name.
        run: String,
        /// Why.
        error: String,
    },
    /// The server refused a request.
    #[error("run `{run}`: {error}")]
    Refused {
        /// The run's name.
        run: String,
        /// What the server said, with all causes.
        error: String,
    },
    /// The run has failed.
    #[error("run `{run}` has failed: {error}")]
    Failed {
        /// The run's name.
        run: String,
        /// Why, with all causes.
        error: String,
    },
    /// The run was cancelled or terminated.
    #[error("run `{run}` was {how}")]
    Ended {
        /// The run's name.
        run: String,
        /// `cancelled` or `terminated`.
        how: &'static str,
    },
    /// The worker cannot go on.
    #[error("the worker ended: {0}")]
    Worker(String),
}

/// An error with all its causes: the outer ones alone say little.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let (mut said, mut next) = (Vec::<String>::new(), Some(error));
    while let Some(error) = next {
        let cause = error.to_string();
        // Many errors repeat their cause.
        if !said.iter().any(|before| before.contains(&cause)) {
            said.push(cause);
        }
        next = error.source();
    }
    said.join(": ")
}

impl ClusterError {
    pub(crate) fn not_connected(url: &str, error: &ClientConnectError) -> Self {
        let (url, cause) = (url.to_owned(), chain(error));
        match error {
            ClientConnectError::SystemInfoCallError(status)
                if matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied) =>
            {
                Self::NotAllowed { url, error: cause }
            }
            _ => Self::Unreachable { url, error: cause },
        }
    }

    pub(crate) fn refused(run: &str, error: &(dyn Error + 'static)) -> Self {
        Self::Refused { run: run.to_owned(), error: chain(error) }
    }

    pub(crate) fn of_result(run: &str, error: &WorkflowGetResultError) -> Self {
        let run = run.to_owned();
        match error {
            WorkflowGetResultError::Cancelled { .. } => Self::Ended { run, how: "cancelled" },
            WorkflowGetResultError::Terminated { .. } => Self::Ended { run, how: "terminated" },
            error => Self::Failed { run, error: chain(error) },
        }
    }
}

/// Whether the server was away, so that the same question may be asked again.
pub(crate) fn is_away(error: &WorkflowGetResultError) -> bool {
    let is_away = |status: &temporalio_client::tonic::Status| {
        matches!(
            status.code(),
            Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded | Code::Internal
        )
    };
    match error {
        WorkflowGetResultError::Rpc(status) => is_away(status),
        WorkflowGetResultError::Other(error) => match error.downcast_ref::<WorkflowInteractionError>() {
            Some(WorkflowInteractionError::Rpc(status)) => is_away(status),
            _ => false,
        },
        _ => false,
    }
}
