//! A durable JetStream consumer as a source.

use std::{fmt, marker::PhantomData, path::PathBuf, time::Duration};

use actix_batch_pipeline::{
    Cursor, Range,
    source::{Identity, Size, Source, SourceError},
};
use async_nats::{
    Client,
    jetstream::{
        self, ErrorCode,
        context::{GetStreamError, GetStreamErrorKind},
        stream::RetentionPolicy,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::{server::Server, tls::Tls};

mod consumer;
mod order;
mod reader;
mod unacknowledged;

pub use reader::JetStreamReader;

/// The sequence number of a message in its stream: where a pipeline goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamSequence(pub u64);

impl Cursor for StreamSequence {}

/// The messages of a JetStream stream, by a durable pull consumer. It never ends, unless [`stop_at_end`](Self::stop_at_end) says so.
///
/// Payloads are JSON values of `T`; others are rejected, by the sequence number of their message. A message is acknowledged when it has
/// settled: written, filtered, or among the dead letters. Messages are handed over in the order of the stream.
///
/// The consumer is created if it is missing. One reader at a time may use it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JetStream<T> {
    stream: String,
    durable: String,
    #[serde(default)]
    server: Server,
    #[serde(default, skip_serializing_if = "Tls::is_empty")]
    tls: Tls,
    #[serde(default)]
    filter_subject: Option<String>,
    #[serde(default = "default_max_ack_pending")]
    max_ack_pending: usize,
    #[serde(default = "default_ack_wait", with = "humantime_serde")]
    ack_wait: Duration,
    #[serde(default)]
    stop_at_end: bool,
    #[serde(default)]
    resume_by_acks: bool,
    #[serde(skip)]
    records: PhantomData<fn() -> T>,
}

fn default_max_ack_pending() -> usize {
    10_000
}

fn default_ack_wait() -> Duration {
    Duration::from_secs(30)
}

impl<T> JetStream<T> {
    /// The messages of this stream, by the consumer with this durable name.
    pub fn consumer(stream: impl Into<String>, durable: impl Into<String>) -> Self {
        Self {
            stream: stream.into(),
            durable: durable.into(),
            server: Server::default(),
            tls: Tls::default(),
            filter_subject: None,
            max_ack_pending: default_max_ack_pending(),
            ack_wait: default_ack_wait(),
            stop_at_end: false,
            resume_by_acks: false,
            records: PhantomData,
        }
    }

    /// The server, or several of one cluster, separated by commas: `nats://127.0.0.1:4222`, `tls://nats.example.com`. Default:
    /// `NATS_URL`, and without it `nats://127.0.0.1:4222`. Names and passwords are read from a configuration, and never written to
    /// one.
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

    /// Another durable name, with the same settings.
    pub fn durable(mut self, name: impl Into<String>) -> Self {
        self.durable = name.into();
        self
    }

    /// Only messages of these subjects, by one pattern like `orders.*.paid`. Default: all of the stream.
    pub fn filter_subject(mut self, pattern: impl Into<String>) -> Self {
        self.filter_subject = Some(pattern.into());
        self
    }

    /// How many messages may be on their way without an acknowledgement, at least 1: the server sends no more until some have settled. Several
    /// batches of the sink, so that messages arrive while it writes. Default: 10,000.
    pub fn max_ack_pending(mut self, messages: usize) -> Self {
        self.max_ack_pending = messages;
        self
    }

    /// After how long the server sends a message again that was neither acknowledged nor reported to be in progress, at least 100 ms.
    /// The reader reports the messages that wait for longer than a quarter of it, so this is only how long the messages of a dead run
    /// count as pending. Default: 30 s.
    pub fn ack_wait(mut self, time: Duration) -> Self {
        self.ack_wait = time;
        self
    }

    /// Ends when the consumer has no more messages, instead of waiting for new ones. Default: `false`.
    pub fn stop_at_end(mut self, stop: bool) -> Self {
        self.stop_at_end = stop;
        self
    }

    /// Goes on where the consumer's acknowledgements end, and not at the cursor of a checkpoint. Streams that do not keep their
    /// messages need it: those with the retention `workqueue` or `interest`, and those with a limit for each subject. A sink with keys
    /// still holds each message once; a transactional one may then write some again after a kill, which has to be accepted. Default:
    /// `false`.
    pub fn resume_by_acks(mut self, by_acks: bool) -> Self {
        self.resume_by_acks = by_acks;
        self
    }

    async fn client(&self) -> Result<Client, SourceError> {
        let connected = self.server.connect(&self.tls, &self.durable).await;
        connected.map_err(|error| {
            let message = format!("stream {}: {error}", self.stream);
            if error.is_lasting { SourceError::config(message) } else { SourceError::io(message) }
        })
    }

    fn validate(&self) -> Result<(), SourceError> {
        if self.max_ack_pending == 0 || i64::try_from(self.max_ack_pending).is_err() {
            return Err(SourceError::config("`max_ack_pending` must be at least 1"));
        }
        if self.ack_wait < Duration::from_millis(100) {
            return Err(SourceError::config(format!("`ack_wait` must be at least 100 ms (got {:?})", self.ack_wait)));
        }
        Ok(())
    }

    /// The stream, if its messages stay for as long as the cursor needs them.
    async fn stream(&self, client: &Client) -> Result<jetstream::stream::Stream, SourceError> {
        let stream = jetstream::new(client.clone()).get_stream(&self.stream).await;
        let stream = stream.map_err(|error| no_stream(&self.stream, error))?;
        let config = &stream.cached_info().config;
        let forgets = config.retention != RetentionPolicy::Limits || config.max_messages_per_subject > 0;
        if forgets && !self.resume_by_acks {
            return Err(SourceError::config(format!(
                "the stream {} does not keep its messages (retention {:?}, max_messages_per_subject {}), so a cursor does not say where \
                 to go on: set `resume_by_acks`",
                self.stream, config.retention, config.max_messages_per_subject
            )));
        }
        Ok(stream)
    }
}

/// Whether a stream is missing, or the server has not said so.
fn no_stream(name: &str, error: GetStreamError) -> SourceError {
    let refused = match error.kind() {
        GetStreamErrorKind::EmptyName | GetStreamErrorKind::InvalidStreamName => {
            SourceError::config(format!("{name:?} is no name of a stream"))
        }
        GetStreamErrorKind::JetStream(problem) if problem.error_code() == ErrorCode::STREAM_NOT_FOUND => {
            SourceError::config(format!("the stream {name} is not there: create it first"))
        }
        _ => SourceError::io(format!("the stream {name} cannot be looked up")),
    };
    refused.caused_by(error)
}

impl<T: DeserializeOwned + Send + Sync + 'static> Source for JetStream<T> {
    type Record = T;
    type Cursor = StreamSequence;
    type Reader = JetStreamReader<T>;

    fn describe(&self) -> String {
        let filter = self.filter_subject.as_deref().map_or(String::new(), |filter| format!("/{filter}"));
        format!("jetstream:{}{filter} by {}", self.stream, self.durable)
    }

    fn is_resumable(&self) -> bool {
        !self.resume_by_acks
    }

    /// The stream's name and the time when it was created: another stream by that name has other sequence numbers.
    async fn identity(&self) -> Result<Identity, SourceError> {
        self.validate()?;
        let client = self.client().await?;
        let stream = self.stream(&client).await?;
        let info = stream.cached_info();
        Ok(json!({ "stream": info.config.name, "created": info.created.to_string() }))
    }

    async fn open(&self, range: &Range<StreamSequence>) -> Result<JetStreamReader<T>, SourceError> {
        self.validate()?;
        let client = self.client().await?;
        let stream = self.stream(&client).await?;
        JetStreamReader::open(self, client, stream, range).await
    }

    async fn size(&self) -> Option<Size> {
        if !self.stop_at_end {
            return None;
        }
        let client = self.client().await.ok()?;
        let stream = self.stream(&client).await.ok()?;
        let info = stream.consumer_info(&self.durable).await;
        Some(Size::Records(info.map_or(stream.cached_info().state.messages, |info| info.num_pending)))
    }
}

impl<T> Clone for JetStream<T> {
    fn clone(&self) -> Self {
        Self {
            stream: self.stream.clone(),
            durable: self.durable.clone(),
            server: self.server.clone(),
            tls: self.tls.clone(),
            filter_subject: self.filter_subject.clone(),
            records: PhantomData,
            ..*self
        }
    }
}

impl<T> fmt::Debug for JetStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JetStream")
            .field("stream", &self.stream)
            .field("durable", &self.durable)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use actix_batch_pipeline::source::SourceErrorKind;

    use super::*;

    #[test]
    fn only_a_stream_that_is_missing_or_has_no_name_is_a_wrong_configuration() {
        let said = |kind| no_stream("ORDERS", GetStreamError::new(kind));
        let problem = |code: u64| {
            let text = json!({ "code": 404, "err_code": code, "description": "as the server says" });
            GetStreamErrorKind::JetStream(serde_json::from_value(text).unwrap())
        };
        let missing = said(problem(10_059));
        assert_eq!(missing.kind(), SourceErrorKind::Config);
        assert!(missing.to_string().contains("the stream ORDERS is not there: create it first"), "{missing}");
        assert_eq!(said(GetStreamErrorKind::InvalidStreamName).kind(), SourceErrorKind::Config);
        for passing in [GetStreamErrorKind::Request, problem(10_008)] {
            let error = said(passing);
            assert_eq!(error.kind(), SourceErrorKind::Io);
            assert!(error.to_string().contains("the stream ORDERS cannot be looked up"), "{error}");
        }
    }
}
