//! The durable consumer: found, checked, or created.

use std::time::Duration;

use actix_batch_pipeline::source::SourceError;
use async_nats::jetstream::{
    consumer::{AckPolicy, Config, DeliverPolicy, Info, PullConsumer, pull},
    stream::{ConsumerErrorKind, Stream},
};

use super::StreamSequence;

/// What a consumer has to be.
#[derive(Debug, Clone)]
pub(super) struct Wanted<'a> {
    pub(super) durable: &'a str,
    pub(super) filter: &'a str,
    pub(super) max_ack_pending: i64,
    pub(super) ack_wait: Duration,
    /// Where a new one begins: after this message.
    pub(super) after: Option<StreamSequence>,
}

/// The consumer, and its state.
pub(super) async fn find_or_create(stream: &Stream, wanted: &Wanted<'_>) -> Result<(PullConsumer, Info), SourceError> {
    let known = match stream.consumer_info(wanted.durable).await {
        Ok(info) => Some(info),
        Err(error) if error.kind() == async_nats::jetstream::context::ConsumerInfoErrorKind::NotFound => None,
        Err(error) => return Err(failed(wanted, "cannot be looked up")(Box::new(error))),
    };
    if let Some(info) = &known {
        check(&info.config, wanted)?;
    }
    let config = known.as_ref().map_or_else(|| Ok(new(wanted)), |info| changed(&info.config, wanted))?;
    let needs_change = known.as_ref().is_none_or(|info| !fits(&info.config, wanted));
    let consumer = if needs_change {
        stream.create_consumer(config).await.map_err(|error| match error.kind() {
            ConsumerErrorKind::TimedOut => failed(wanted, "was not created in time")(Box::new(error)),
            _ => failed(wanted, "cannot be created or changed")(Box::new(error)),
        })?
    } else {
        let found = stream.get_consumer(wanted.durable).await;
        found.map_err(failed(wanted, "cannot be opened"))?
    };
    let info = consumer.cached_info().clone();
    Ok((consumer, info))
}

fn new(wanted: &Wanted<'_>) -> pull::Config {
    let deliver_policy = match wanted.after {
        Some(StreamSequence(after)) => DeliverPolicy::ByStartSequence { start_sequence: after + 1 },
        None => DeliverPolicy::All,
    };
    pull::Config {
        durable_name: Some(wanted.durable.to_owned()),
        ack_policy: AckPolicy::Explicit,
        deliver_policy,
        filter_subject: wanted.filter.to_owned(),
        max_ack_pending: wanted.max_ack_pending,
        ack_wait: wanted.ack_wait,
        ..Default::default()
    }
}

/// The consumer as it is, with the settings that are ours.
fn changed(config: &Config, wanted: &Wanted<'_>) -> Result<pull::Config, SourceError> {
    use async_nats::jetstream::consumer::FromConsumer;
    let known = pull::Config::try_from_consumer_config(config.clone())
        .map_err(|error| failed(wanted, "is no pull consumer: choose another durable name")(error))?;
    Ok(pull::Config { max_ack_pending: wanted.max_ack_pending, ack_wait: wanted.ack_wait, ..known })
}

fn fits(config: &Config, wanted: &Wanted<'_>) -> bool {
    config.max_ack_pending == wanted.max_ack_pending && config.ack_wait == wanted.ack_wait
}

fn check(config: &Config, wanted: &Wanted<'_>) -> Result<(), SourceError> {
    let refuse = |what: String| Err(SourceError::config(format!("the consumer {} {what}", wanted.durable)));
    if config.deliver_subject.is_some() {
        return refuse("pushes its messages: choose another durable name".to_owned());
    }
    if config.ack_policy != AckPolicy::Explicit {
        return refuse(format!("has the ack policy {:?}, and this source needs `explicit`", config.ack_policy));
    }
    if config.filter_subject != wanted.filter {
        return refuse(format!(
            "has the filter {:?}, and {:?} is asked for: choose another durable name",
            config.filter_subject, wanted.filter
        ));
    }
    Ok(())
}

fn failed<E>(wanted: &Wanted<'_>, what: &str) -> impl FnOnce(E) -> SourceError + use<E>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let message = format!("the consumer {} {what}", wanted.durable);
    move |error| SourceError::io(message).caused_by(error)
}
