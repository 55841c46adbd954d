//! Reads a stream through its consumer, in the order of the stream.
//!
//! A consumer delivers new messages in order, and messages whose acknowledgement is missing again, at any time in between. A connection
//! that breaks loses deliveries. The invariants that make an ordered source of it:
//!
//! 1. Everything up to `passed` has been handed over, settled in an earlier run, or does not exist. `passed` only grows, and is the cursor.
//!    So a later chunk never holds an earlier message, and a cursor never stands after a message that was not handed over.
//! 2. A delivery up to `passed` is another copy. If the message has settled, the copy is acknowledged; otherwise the copy's reply subject
//!    replaces the one that is known, and the acknowledgement goes there. It is never handed over again.
//! 3. A delivery after `passed` is handed over only if nothing can be missing before it. That is so if the server numbered it as the next
//!    delivery and the connection is still the same. Otherwise the reader asks the *stream* for the messages between `passed` and the
//!    delivery and hands those over first; the consumer delivers them again later, as copies.
//! 4. The same happens at the beginning for what the consumer has delivered to an earlier run: up to the last delivery, messages come
//!    from the stream, and the time until the server delivers them again delays nothing. It covers messages that were acknowledged
//!    and are not in the checkpoint of a run that was killed, too. So the records after a cursor are always the same ones.
//! 5. A message is acknowledged once `settled` has been told that it has settled, never before.

use std::{
    collections::VecDeque,
    fmt,
    marker::PhantomData,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use actix_batch_pipeline::{
    Origin, Range,
    source::{Chunk, More, Reader, SourceError, Unreadable},
};
use async_nats::{
    Client,
    jetstream::{
        Message,
        consumer::{PullConsumer, pull::Batch},
        context::ConsumerInfoErrorKind,
        stream::{RawMessageErrorKind, Stream},
    },
};
use futures_util::{FutureExt, StreamExt};
use serde::de::DeserializeOwned;
use tokio::{
    task::{unconstrained, yield_now},
    time::{Instant, sleep, timeout},
};
use tracing::warn;

use super::{
    JetStream, StreamSequence,
    consumer::{Wanted, find_or_create},
    order::{Delivery, Order},
    unacknowledged::Unacknowledged,
};

/// How long the reader waits for a message before it returns an empty chunk.
const IDLE: Duration = Duration::from_millis(250);
/// The same while messages wait for their acknowledgement, which is sent between two chunks.
const BUSY: Duration = Duration::from_millis(10);
/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// As much of an unreadable payload as is shown.
const SHOWN: usize = 4096;

/// Reads a stream.
pub struct JetStreamReader<T> {
    name: String,
    filter: String,
    client: Client,
    stream: Stream,
    consumer: PullConsumer,
    unacknowledged: Unacknowledged,
    /// Messages that the server was asked for and that may still arrive.
    asked: Option<Batch>,
    /// When it was asked, or has given the last one.
    answered: Instant,
    /// Deliveries that have not been looked at.
    arrived: VecDeque<Message>,
    order: Order,
    to: Option<u64>,
    max_ack_pending: usize,
    stop_at_end: bool,
    records: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> JetStreamReader<T> {
    pub(super) async fn open(
        source: &JetStream<T>,
        client: Client,
        stream: Stream,
        range: &Range<StreamSequence>,
    ) -> Result<Self, SourceError> {
        let filter = source.filter_subject.clone().unwrap_or_default();
        if let Some(StreamSequence(cursor)) = range.from {
            check_cursor(source, &stream, cursor)?;
        }
        let wanted = Wanted {
            durable: &source.durable,
            filter: &filter,
            max_ack_pending: i64::try_from(source.max_ack_pending).unwrap_or(i64::MAX),
            ack_wait: source.ack_wait,
            after: range.from,
        };
        let (consumer, info) = find_or_create(&stream, &wanted).await?;
        let passed = range.from.map_or(info.ack_floor.stream_sequence, |cursor| cursor.0);
        let from_stream = info.delivered.stream_sequence.max(info.ack_floor.stream_sequence);
        let order = Order::after(passed, from_stream, info.delivered.consumer_sequence, connects(&client));
        Ok(Self {
            name: format!("stream {}, consumer {}", source.stream, source.durable),
            filter: if filter.is_empty() { ">".to_owned() } else { filter },
            unacknowledged: Unacknowledged::new(client.clone(), source.ack_wait),
            client,
            stream,
            consumer,
            asked: None,
            answered: Instant::now(),
            arrived: VecDeque::new(),
            order,
            to: range.to.map(|to| to.0),
            max_ack_pending: source.max_ack_pending,
            stop_at_end: source.stop_at_end,
            records: PhantomData,
        })
    }

    /// Hands over what has arrived, and what has to come before it.
    async fn take(&mut self, chunk: &mut Chunk<T, StreamSequence>, limit: usize) -> Result<(), SourceError> {
        while chunk.len() < limit && !self.is_at_to() {
            if self.order.passed < self.order.from_stream {
                if !self.take_from_stream(chunk).await? {
                    return Ok(());
                }
                continue;
            }
            let Some(message) = self.arrived.pop_front() else { return Ok(()) };
            self.take_delivery(message, chunk).await?;
        }
        Ok(())
    }

    async fn take_delivery(
        &mut self,
        message: Message,
        chunk: &mut Chunk<T, StreamSequence>,
    ) -> Result<(), SourceError> {
        let (sequence, delivery) = {
            let info = message.info().map_err(|error| self.failed("a message without a sequence", error))?;
            (info.stream_sequence, info.consumer_sequence)
        };
        match self.order.delivered(sequence, delivery, connects(&self.client)) {
            Delivery::Next => put(chunk, sequence, &message.payload),
            Delivery::AfterGap => self.arrived.push_front(message),
            // It waits for the acknowledgement of the first one.
            Delivery::Copy => {}
            Delivery::Settled => self.unacknowledged.acknowledge_one(sequence).await,
        }
        Ok(())
    }

    /// Hands over the next message from the stream itself. Returns whether the stream has answered.
    async fn take_from_stream(&mut self, chunk: &mut Chunk<T, StreamSequence>) -> Result<bool, SourceError> {
        let (from, to) = (self.order.passed + 1, self.order.from_stream);
        match self.stream.get_first_raw_message_by_subject(&self.filter, from).await {
            Ok(message) if message.sequence <= to => {
                self.order.passed = message.sequence;
                put(chunk, message.sequence, &message.payload);
            }
            Ok(_) => self.order.passed = to,
            Err(error) => match error.kind() {
                RawMessageErrorKind::NoMessageFound => self.order.passed = to,
                RawMessageErrorKind::JetStream(problem) if problem.code() == 404 => {
                    return Err(self.failed("the stream is gone", error));
                }
                _ => {
                    self.wait("does not answer", &error).await;
                    return Ok(false);
                }
            },
        }
        Ok(true)
    }

    /// Whether the server gives no more messages before some of those that were handed over are acknowledged.
    fn is_full(&self) -> bool {
        self.asked.is_none() && self.unacknowledged.len() >= self.max_ack_pending
    }

    /// Waits for messages: those that are there, or else the next one that comes within a while.
    async fn fetch(&mut self, limit: usize) -> Result<(), SourceError> {
        // There may have been no connection to say so when they settled.
        self.unacknowledged.acknowledge(self.order.settled).await;
        if self.is_full() {
            sleep(BUSY).await;
            return Ok(());
        }
        if self.asked.is_none() {
            // A few chunks at a time: what waits in the connection takes memory, and nobody reports it to be in progress.
            let room = self.max_ack_pending - self.unacknowledged.len();
            self.request(room.min(8 * limit), None).await?;
        }
        self.receive().await?;
        if !self.arrived.is_empty() || self.asked.is_some() {
            return Ok(());
        }
        if self.unacknowledged.len() > 0 {
            sleep(BUSY).await;
            return Ok(());
        }
        self.request(1, Some(IDLE)).await?;
        self.receive().await
    }

    /// Asks for what is there, or waits so long for it.
    async fn request(&mut self, messages: usize, wait: Option<Duration>) -> Result<(), SourceError> {
        let asked = async {
            match wait {
                Some(wait) => self.consumer.batch().max_messages(messages).expires(wait).messages().await,
                None => self.consumer.fetch().max_messages(messages).messages().await,
            }
        };
        match timeout(PATIENCE, asked).await {
            Ok(Ok(batch)) => (self.asked, self.answered) = (Some(batch), Instant::now()),
            Ok(Err(error)) => self.was_refused(error.into()).await?,
            Err(late) => self.was_refused(late.into()).await?,
        }
        Ok(())
    }

    /// Waits for one of the messages that were asked for, and takes all that have come. While others wait for their acknowledgement it waits a
    /// moment only: the server may give no more before it has them.
    async fn receive(&mut self) -> Result<(), SourceError> {
        let Some(mut asked) = self.asked.take() else { return Ok(()) };
        let is_busy = self.unacknowledged.len() > 0;
        let mut next = timeout(if is_busy { BUSY } else { PATIENCE }, asked.next()).await;
        loop {
            match next {
                Ok(Some(Ok(message))) => self.arrives(message),
                // That was all.
                Ok(None) => return Ok(()),
                Ok(Some(Err(error))) => return self.was_refused(error).await,
                // A server that was restarted knows nothing of it.
                Err(_) if is_busy && self.answered.elapsed() < PATIENCE => break,
                Err(late) => return self.was_refused(late.into()).await,
            }
            let Poll::Ready(soon) = at_once(&mut asked) else { break };
            next = Ok(soon);
        }
        self.asked = Some(asked);
        Ok(())
    }

    /// From here on the server is told that it is in progress, if it takes long.
    fn arrives(&mut self, message: Message) {
        if let Ok(info) = message.info() {
            self.unacknowledged.insert(info.stream_sequence, &message);
        }
        self.answered = Instant::now();
        self.arrived.push_back(message);
    }

    /// A request failed: the consumer is gone, or the server has a problem that may pass.
    async fn was_refused(&mut self, error: async_nats::Error) -> Result<(), SourceError> {
        self.order.is_doubtful = true;
        if error.to_string().contains("MaxAckPending") {
            sleep(BUSY).await;
            return Ok(());
        }
        if let Err(problem) = self.consumer.get_info().await
            && matches!(problem.kind(), ConsumerInfoErrorKind::NotFound | ConsumerInfoErrorKind::StreamNotFound)
        {
            return Err(self.failed("the consumer is gone; the next run creates it again", problem));
        }
        self.wait("does not answer", &error).await;
        Ok(())
    }

    /// The client restores the connection itself, however long the server is away.
    async fn wait(&self, what: &str, error: &(dyn fmt::Display + Sync)) {
        warn!("{} {what}, trying again: {error}", self.name);
        sleep(IDLE).await;
    }

    fn is_at_to(&self) -> bool {
        self.to.is_some_and(|to| self.order.passed >= to)
    }

    /// Whether every message of the consumer has been handed over, and none waits to be delivered again.
    async fn is_at_end(&self) -> bool {
        let Ok(info) = self.consumer.get_info().await else { return false };
        info.num_pending == 0
            && info.delivered.stream_sequence <= self.order.passed
            && info.num_ack_pending <= self.unacknowledged.len()
    }

    fn failed(&self, what: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SourceError {
        SourceError::io(format!("{}: {what}", self.name)).caused_by(error)
    }
}

/// What has come already, whatever share of the thread's time this task has used up.
fn at_once(asked: &mut Batch) -> Poll<Option<Result<Message, async_nats::Error>>> {
    unconstrained(asked.next()).now_or_never().map_or(Poll::Pending, Poll::Ready)
}

fn connects(client: &Client) -> u64 {
    client.statistics().connects.load(Ordering::Acquire)
}

/// Refuses a cursor whose next messages the stream no longer has.
fn check_cursor<T>(source: &JetStream<T>, stream: &Stream, cursor: u64) -> Result<(), SourceError> {
    let state = &stream.cached_info().state;
    if cursor > state.last_sequence {
        return Err(SourceError::changed(format!(
            "the stream {} ends with message {}, and {cursor} have settled: run with `fresh` to start again",
            source.stream, state.last_sequence
        )));
    }
    if state.first_sequence > cursor + 1 && !source.resume_by_acks {
        return Err(SourceError::changed(format!(
            "the stream {} no longer has the messages {} to {}: run with `fresh` to go on without them",
            source.stream,
            cursor + 1,
            state.first_sequence - 1
        )));
    }
    Ok(())
}

fn put<T: DeserializeOwned>(chunk: &mut Chunk<T, StreamSequence>, sequence: u64, payload: &[u8]) {
    let origin = Origin::Key(Arc::from(format!("stream sequence {sequence}")));
    match serde_json::from_slice(payload) {
        Ok(value) => chunk.push(value, origin),
        Err(error) => {
            let text = String::from_utf8_lossy(&payload[..payload.len().min(SHOWN)]).into_owned();
            chunk.refuse(Unreadable { reason: error.to_string(), text: Some(text) }, origin);
        }
    }
    chunk.add_progress(1);
}

impl<T: DeserializeOwned + 'static> Reader for JetStreamReader<T> {
    type Record = T;
    type Cursor = StreamSequence;
    const ACKNOWLEDGES: bool = true;

    async fn read(&mut self, chunk: &mut Chunk<T, StreamSequence>, limit: usize) -> Result<More, SourceError> {
        self.take(chunk, limit).await?;
        if chunk.is_empty() && !self.is_at_to() {
            if self.is_full() && self.unacknowledged.has_after(self.order.settled) {
                chunk.set_after(StreamSequence(self.order.passed));
                return Ok(More::OnceSettled);
            }
            self.fetch(limit).await?;
            self.take(chunk, limit).await?;
        }
        // Also of an empty chunk: it may settle together with the one before, and then says how far the two go.
        chunk.set_after(StreamSequence(self.order.passed));
        if !chunk.is_empty() {
            return Ok(More::Yes);
        }
        let has_ended = self.is_at_to()
            || (self.stop_at_end && self.asked.is_none() && self.arrived.is_empty() && self.is_at_end().await);
        Ok(if has_ended { More::No } else { More::Yes })
    }

    async fn settled(&mut self, up_to: &StreamSequence) -> Result<(), SourceError> {
        self.order.settled = self.order.settled.max(up_to.0);
        self.unacknowledged.acknowledge(self.order.settled).await;
        Ok(())
    }

    async fn close(mut self) -> Result<(), SourceError> {
        if let Some(mut asked) = self.asked.take() {
            while let Poll::Ready(Some(Ok(message))) = at_once(&mut asked) {
                self.arrives(message);
            }
        }
        // The request ends first: what is handed back would come to it.
        yield_now().await;
        self.unacknowledged.hand_back().await;
        // What is lost here is delivered again to the next run.
        drop(timeout(PATIENCE, self.client.flush()).await);
        Ok(())
    }
}

impl<T> fmt::Debug for JetStreamReader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JetStreamReader").field("name", &self.name).field("order", &self.order).finish_non_exhaustive()
    }
}
