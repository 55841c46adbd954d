//! What a running pipeline is told and asked.

use actix::{Message, Recipient};

use crate::progress::Progress;

/// Reads and sends nothing more until [`Resume`]; what is on its way to the sink is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause;

/// Goes on after [`Pause`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resume;

/// Reads nothing more, finishes what is in flight, saves the checkpoint and ends. The next run goes on there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop;

/// How many batches each sink may have in flight; 0 holds all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetInFlight(pub usize);

/// Asks for the [`Progress`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetProgress;

/// Sends the progress to a recipient, every second and once at the end.
#[derive(Debug, Clone)]
pub struct Subscribe(pub Recipient<ProgressChanged>);

/// The progress, as a subscriber gets it.
#[derive(Debug, Clone, PartialEq)]
pub struct ProgressChanged(pub Progress);

macro_rules! messages {
    ($($message:ident => $result:ty),+ $(,)?) => {
        $(impl Message for $message {
            type Result = $result;
        })+
    };
}

messages! {
    Pause => (),
    Resume => (),
    Stop => (),
    SetInFlight => (),
    GetProgress => Progress,
    Subscribe => (),
    ProgressChanged => (),
}
