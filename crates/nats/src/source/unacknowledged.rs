//! The messages that were delivered and are not acknowledged yet, and the task that reports them to be in progress.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_nats::{
    Client, Subject,
    connection::State,
    jetstream::{AckKind, Message},
};
use parking_lot::Mutex;
use tokio::{
    task::JoinHandle,
    time::{Instant, interval},
};

/// The messages that wait for their acknowledgement, by sequence.
#[derive(Debug)]
pub(super) struct Unacknowledged {
    waiting: Arc<Mutex<BTreeMap<u64, Waiting>>>,
    client: Client,
    reporting: JoinHandle<()>,
}

/// A delivered message.
#[derive(Debug)]
struct Waiting {
    reply: Subject,
    since: Instant,
}

impl Unacknowledged {
    /// Reports messages that wait for longer than a quarter of `ack_wait`, for as long as this lives: also while nobody reads, because
    /// the pipeline is paused or the sink is slow.
    pub(super) fn new(client: Client, ack_wait: Duration) -> Self {
        let waiting = Arc::<Mutex<BTreeMap<u64, Waiting>>>::default();
        let reporting = tokio::spawn(report(Arc::clone(&waiting), client.clone(), ack_wait / 4));
        Self { waiting, client, reporting }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.lock().len()
    }

    /// Whether a message after this sequence waits.
    pub(super) fn has_after(&self, sequence: u64) -> bool {
        self.waiting.lock().last_key_value().is_some_and(|(last, _)| *last > sequence)
    }

    /// A message has come. The place to answer to replaces that of an earlier delivery.
    pub(super) fn insert(&self, sequence: u64, message: &Message) {
        if let Some(reply) = message.reply.clone() {
            self.waiting.lock().insert(sequence, Waiting { reply, since: Instant::now() });
        }
    }

    /// Acknowledges the messages up to this sequence. Without a connection they stay for the next time.
    pub(super) async fn acknowledge(&self, up_to: u64) {
        if self.client.connection_state() != State::Connected {
            return;
        }
        let settled = {
            let mut waiting = self.waiting.lock();
            if waiting.first_key_value().is_none_or(|(first, _)| *first > up_to) {
                return;
            }
            let rest = waiting.split_off(&up_to.saturating_add(1));
            std::mem::replace(&mut *waiting, rest)
        };
        for message in settled.into_values() {
            answer(&self.client, message.reply, AckKind::Ack).await;
        }
    }

    /// Acknowledges another copy of a message that has settled.
    pub(super) async fn acknowledge_one(&self, sequence: u64) {
        let waiting = self.waiting.lock().remove(&sequence);
        if let Some(message) = waiting {
            answer(&self.client, message.reply, AckKind::Ack).await;
        }
    }

    /// Hands the messages back: the server delivers them again at once.
    pub(super) async fn hand_back(&self) {
        let rest = std::mem::take(&mut *self.waiting.lock());
        if self.client.connection_state() == State::Connected {
            for message in rest.into_values() {
                answer(&self.client, message.reply, AckKind::Nak(None)).await;
            }
        }
    }
}

impl Drop for Unacknowledged {
    fn drop(&mut self) {
        self.reporting.abort();
    }
}

/// Sends an answer. One that is lost costs another delivery and no more, so nobody waits for it.
pub(super) async fn answer(client: &Client, reply: Subject, kind: AckKind) {
    if let Err(error) = client.publish(reply, kind.into()).await {
        tracing::debug!("an answer to the NATS server was not sent: {error}");
    }
}

async fn report(waiting: Arc<Mutex<BTreeMap<u64, Waiting>>>, client: Client, every: Duration) {
    let mut ticks = interval(every);
    loop {
        ticks.tick().await;
        if client.connection_state() != State::Connected {
            continue;
        }
        let is_late = |message: &&Waiting| message.since.elapsed() >= every;
        let late: Vec<_> = waiting.lock().values().filter(is_late).map(|message| message.reply.clone()).collect();
        for reply in late {
            answer(&client, reply, AckKind::Progress).await;
        }
    }
}
