//! A subject of a stream as a sink.

use std::{borrow::Cow, collections::VecDeque, fmt, marker::PhantomData, path::PathBuf, sync::Arc};

use actix_batch::Batch;
use actix_batch_pipeline::{
    Origin, Position, Record,
    checkpoint::{RunId, Settled},
    sink::{Defaults, IntoSink, Promises, Sink, SinkError, SinkErrorKind, Written},
};
use async_nats::jetstream::{
    self, Context,
    context::{PublishAckFuture, PublishError, PublishErrorKind},
    message::PublishMessage,
};
use serde::{Deserialize, Serialize};

use crate::{server::Server, tls::Tls};

/// Messages in flight at once. The client has a limit of its own, and waits for acknowledgements that somebody else has to read.
const IN_FLIGHT: usize = 1_000;

/// The acknowledgements that are awaited, and the places of their records in the batch.
type Acks = VecDeque<(usize, PublishAckFuture)>;

/// Publishes each record as JSON to a subject that a JetStream stream stores, and awaits the server's acknowledgements.
///
/// Each message has an id (`Nats-Msg-Id`) that is the same in every attempt and every run, and the stream stores an id once within its
/// `duplicate_window` (2 minutes by default). So a record that is sent again takes effect once, **if it is sent again within that
/// window**: choose one that is longer than retries, and the time until a run that was killed goes on, may take.
///
/// The id names the subject, the pipeline, the range, the record, and the part: `shipping.orders/paid-orders/0/17/0`. A record with a key
/// stands there by its key, after a `=`. So with `fresh`, a source without keys should get another pipeline name if it holds other data
/// than before.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsSubject {
    subject: String,
    #[serde(default)]
    server: Server,
    #[serde(default, skip_serializing_if = "Tls::is_empty")]
    tls: Tls,
}

impl NatsSubject {
    /// Publishes to this subject.
    pub fn publish(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), server: Server::default(), tls: Tls::default() }
    }

    /// The server, or several of one cluster, separated by commas. Default: `NATS_URL`, and without it `nats://127.0.0.1:4222`. Names
    /// and passwords are read from a configuration, and never written to one.
    pub fn connect(mut self, url: impl Into<String>) -> Self {
        self.server = Server(Some(url.into()));
        self
    }

    /// The certificate authorities that the server's certificate is checked against: a file in PEM. Connections are then always encrypted.
    /// Default: `NATS_CA`, and without it those of the system, for URLs that begin with `tls://` and servers that ask for TLS.
    pub fn root_certificates(mut self, file: impl Into<PathBuf>) -> Self {
        self.tls.ca_file = Some(file.into());
        self
    }

    /// The certificate that is shown to the server, and its private key: files in PEM. Default: `NATS_CERT` and `NATS_KEY`, and without them
    /// none.
    pub fn client_certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls.set_client(certificate.into(), key.into());
        self
    }

    /// Begins with the handshake of TLS, for a server that is set to `handshake_first` (2.10.4 or later) and sends nothing before it. Default:
    /// `false`. A server that is not set so is refused then.
    pub fn handshake_first(mut self, first: bool) -> Self {
        self.tls.handshake_first = first;
        self
    }
}

/// Publishes the records of one worker.
pub struct SubjectSink<T> {
    subject: NatsSubject,
    pipeline: String,
    id_prefix: String,
    context: Option<Context>,
    records: PhantomData<fn(T)>,
}

impl<T: Serialize + Send + Sync + 'static> IntoSink<T> for NatsSubject {
    type Sink = SubjectSink<T>;

    fn describe(&self) -> String {
        format!("nats:{}", self.subject)
    }

    fn promises(&self) -> Promises {
        Promises::Keyed
    }

    /// A batch ends when its last acknowledgement has come, so a large one keeps more messages in flight.
    fn defaults(&self) -> Defaults {
        Defaults { max_size: 2_000, ..Defaults::default() }
    }

    fn sink(&self, _worker: usize, run: &RunId, _settled: &Arc<Settled>) -> SubjectSink<T> {
        SubjectSink {
            id_prefix: id_prefix(&self.subject, &run.pipeline),
            subject: self.clone(),
            pipeline: run.pipeline.clone(),
            context: None,
            records: PhantomData,
        }
    }
}

impl<T: Serialize + Send + Sync + 'static> Sink<T> for SubjectSink<T> {
    async fn prepare(&mut self) -> Result<(), SinkError> {
        let subject = &self.subject.subject;
        if subject.is_empty() || subject.contains(['*', '>', ' ']) {
            return Err(SinkError::fatal(format!(
                "{subject:?} is no subject to publish to: it must be one without wildcards"
            )));
        }
        let connected = self.subject.server.connect(&self.subject.tls, &self.pipeline).await;
        let client = connected.map_err(|error| {
            let kind = if error.is_lasting { SinkErrorKind::Fatal } else { SinkErrorKind::Temporary };
            SinkError::new(kind, error.to_string())
        })?;
        let context = jetstream::new(client);
        context.stream_by_subject(subject.clone()).await.map_err(|error| no_stream(subject, error))?;
        self.context = Some(context);
        Ok(())
    }

    async fn write(&mut self, batch: &Batch<Record<T>>) -> Result<Written, SinkError> {
        let Some(context) = &self.context else {
            return Err(SinkError::temporary("not connected to a NATS server"));
        };
        let (mut written, mut acks) = (Written::all(), VecDeque::with_capacity(IN_FLIGHT));
        for (place, record) in batch.iter().enumerate() {
            let payload = match serde_json::to_vec(&**record) {
                Ok(payload) => payload,
                Err(error) => {
                    written.refuse(place, SinkError::record("the record is no JSON").caused_by(error));
                    continue;
                }
            };
            let id = message_id(&self.id_prefix, record.position(), record.origin());
            let message = PublishMessage::build().payload(payload.into()).message_id(id);
            if acks.len() == IN_FLIGHT {
                self.await_first(&mut acks, &mut written).await?;
            }
            match context.send_publish(self.subject.subject.clone(), message).await {
                Ok(ack) => acks.push_back((place, ack)),
                Err(error) => note(&mut written, place, self.failed(&error))?,
            }
        }
        while !acks.is_empty() {
            self.await_first(&mut acks, &mut written).await?;
        }
        Ok(written)
    }

    fn show(record: &T) -> Option<String> {
        serde_json::to_string(record).ok()
    }
}

impl<T> SubjectSink<T> {
    async fn await_first(&self, acks: &mut Acks, written: &mut Written) -> Result<(), SinkError> {
        let Some((place, ack)) = acks.pop_front() else { return Ok(()) };
        match ack.await {
            Ok(_) => Ok(()),
            Err(error) => note(written, place, self.failed(&error)),
        }
    }

    fn failed(&self, error: &PublishError) -> SinkError {
        let subject = &self.subject.subject;
        let text = error.to_string();
        if error.kind() == PublishErrorKind::MaxPayloadExceeded || text.contains("message size exceeds maximum") {
            return SinkError::record(format!(
                "the message to {subject} is too large for the server or the stream: {text}"
            ));
        }
        SinkError::temporary(format!("the message to {subject} was not stored: {text}"))
    }
}

/// A record's own error is noted; any other is that of the batch, whose records keep their ids in the next attempt.
fn note(written: &mut Written, place: usize, error: SinkError) -> Result<(), SinkError> {
    if error.kind() != SinkErrorKind::Record {
        return Err(error);
    }
    written.refuse(place, error);
    Ok(())
}

fn no_stream(subject: &str, error: jetstream::context::GetStreamByNameError) -> SinkError {
    use jetstream::context::GetStreamByNameErrorKind as Kind;
    match error.kind() {
        Kind::NotFound => {
            SinkError::fatal(format!("no stream stores the subject {subject}: create one")).caused_by(error)
        }
        _ => SinkError::temporary(format!("the stream of {subject} cannot be looked up")).caused_by(error),
    }
}

/// What all ids of a sink begin with. The subject is a part of it, because a stream knows ids for all its subjects together.
fn id_prefix(subject: &str, pipeline: &str) -> String {
    format!("{}/{}/", escaped(subject), escaped(pipeline))
}

/// The same in each attempt and each run. A key names a record better than its number: a consumer numbers what it has not acknowledged.
fn message_id(prefix: &str, position: Position, origin: &Origin) -> String {
    let Position { record, part, range } = position;
    match origin {
        Origin::Key(key) => format!("{prefix}{range}/={}/{part}", escaped(key)),
        _ => format!("{prefix}{range}/{record}/{part}"),
    }
}

/// A piece of an id, in which no other begins. A header holds no line breaks.
fn escaped(piece: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.=: ".contains(&byte);
    if piece.bytes().all(is_plain) {
        return piece.into();
    }
    piece.replace('%', "%25").replace('/', "%2F").escape_default().to_string().into()
}

impl fmt::Debug for NatsSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsSubject")
            .field("subject", &self.subject)
            .field("server", &self.server)
            .field("tls", &self.tls)
            .finish()
    }
}

impl<T> fmt::Debug for SubjectSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubjectSink").field("subject", &self.subject).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_of_different_messages_are_different_whatever_their_pieces_hold() {
        let id = |subject: &str, pipeline: &str, range, record, key: Option<&str>, part| {
            let origin = key.map_or(Origin::Unknown, |key| Origin::Key(key.into()));
            message_id(&id_prefix(subject, pipeline), Position { record, part, range }, &origin)
        };
        assert_eq!(id("out", "orders", 0, 17, None, 0), "out/orders/0/17/0");
        let all = [
            id("out", "a", 1, 17, None, 0),
            id("out", "a/1", 0, 17, None, 0),
            id("out/a", "1", 0, 17, None, 0),
            id("out", "a%2F1", 0, 17, None, 0),
            id("out", "a-1", 0, 0, Some("x"), 0),
            id("out", "a", 1, 0, Some("0-x"), 0),
            id("out", "a", 1, 0, Some("0/x"), 0),
            id("out", "a", 1, 0, Some("17"), 0),
            id("out", "a", 1, 0, Some("a\nb"), 0),
            id("out", "a", 1, 0, Some("a\\nb"), 0),
            id("other", "a", 1, 17, None, 0),
            id("out", "a", 1, 17, None, 1),
        ];
        assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), all.len(), "{all:?}");
        assert!(all.iter().all(|id| id.is_ascii() && !id.contains('\n')));
    }
}
