//! A message to the actor, with where its answer goes: the handle and the mailbox both end here.

use std::fmt;

use actix::{Message, Recipient, dev::OneshotSender};

use super::messages::{
    Barrier, Flush, GetJobState, GetStats, Pause, Resume, SetMaxInFlight, Shutdown, Subscribe, Unsubscribe,
};
use crate::{
    job::{JobEvent, JobId, JobState},
    observe::{ShutdownReport, Stats},
};

/// A message that the actor answers later.
pub(crate) trait Ask: Message + Sized + Send + 'static
where
    Self::Result: Send,
{
    fn request(self, sender: Option<OneshotSender<Self::Result>>) -> Request;
}

/// What the actor is asked, and where the answer goes; `None` after a `do_send`.
pub(crate) enum Request {
    Flush(Option<OneshotSender<usize>>),
    Barrier(Option<OneshotSender<()>>),
    Pause(Option<OneshotSender<()>>),
    Resume(Option<OneshotSender<()>>),
    SetMaxInFlight(usize, Option<OneshotSender<()>>),
    GetJobState(JobId, Option<OneshotSender<Option<JobState>>>),
    Subscribe(Recipient<JobEvent>, Option<OneshotSender<()>>),
    Unsubscribe(Recipient<JobEvent>, Option<OneshotSender<usize>>),
    GetStats(Option<OneshotSender<Stats>>),
    Shutdown(Shutdown, Option<OneshotSender<ShutdownReport>>),
}

macro_rules! requests {
    ($($message:ident, $this:ident, $sender:ident => $request:expr;)+) => {$(
        impl Ask for $message {
            fn request($this, $sender: Option<OneshotSender<Self::Result>>) -> Request {
                $request
            }
        }
    )+};
}

requests! {
    Flush, self, sender => Request::Flush(sender);
    Barrier, self, sender => Request::Barrier(sender);
    Pause, self, sender => Request::Pause(sender);
    Resume, self, sender => Request::Resume(sender);
    SetMaxInFlight, self, sender => Request::SetMaxInFlight(self.0, sender);
    GetJobState, self, sender => Request::GetJobState(self.0, sender);
    Subscribe, self, sender => Request::Subscribe(self.0, sender);
    Unsubscribe, self, sender => Request::Unsubscribe(self.0, sender);
    GetStats, self, sender => Request::GetStats(sender);
    Shutdown, self, sender => Request::Shutdown(self, sender);
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flush(_) => "Flush",
            Self::Barrier(_) => "Barrier",
            Self::Pause(_) => "Pause",
            Self::Resume(_) => "Resume",
            Self::SetMaxInFlight(..) => "SetMaxInFlight",
            Self::GetJobState(..) => "GetJobState",
            Self::Subscribe(..) => "Subscribe",
            Self::Unsubscribe(..) => "Unsubscribe",
            Self::GetStats(_) => "GetStats",
            Self::Shutdown(..) => "Shutdown",
        })
    }
}
