//! What one would write with the client alone. It checks no order, and knows no dead letters.

use std::{collections::VecDeque, path::Path};

use async_nats::jetstream::{
    AckKind, Context, Message,
    consumer::{AckPolicy, PullConsumer, pull},
    context::PublishAckFuture,
    message::PublishMessage,
};
use futures_util::StreamExt;
use rusqlite::{Connection, params};

use crate::{BATCH, MESSAGES, Order, TABLE, order};

/// As many in flight as the sink has.
const IN_FLIGHT: usize = 1_000;

pub(crate) async fn publish(context: &Context) -> u64 {
    let mut acks = VecDeque::<PublishAckFuture>::with_capacity(IN_FLIGHT);
    let mut stored = 0;
    for id in 0..MESSAGES {
        if acks.len() == IN_FLIGHT {
            acks.pop_front().unwrap().await.unwrap();
            stored += 1;
        }
        let payload = serde_json::to_vec(&order(id)).unwrap();
        let message = PublishMessage::build().payload(payload.into()).message_id(format!("by-hand-{id}"));
        acks.push_back(context.send_publish("out", message).await.unwrap());
    }
    for ack in acks {
        ack.await.unwrap();
        stored += 1;
    }
    stored
}

async fn consumer(context: &Context, name: &str) -> PullConsumer {
    let config = pull::Config {
        durable_name: Some(name.to_owned()),
        ack_policy: AckPolicy::Explicit,
        max_ack_pending: 10_000,
        ..Default::default()
    };
    context.get_stream("OUT").await.unwrap().create_consumer(config).await.unwrap()
}

async fn fetch(consumer: &PullConsumer) -> Vec<Message> {
    let mut batch = consumer.fetch().max_messages(BATCH).messages().await.unwrap();
    let mut messages = Vec::with_capacity(BATCH);
    while let Some(message) = batch.next().await {
        messages.push(message.unwrap());
    }
    messages
}

/// One message after the other, as the client's documentation has it.
pub(crate) async fn read(context: &Context, name: &str) -> u64 {
    let consumer = consumer(context, name).await;
    let mut messages = consumer.stream().max_messages_per_batch(BATCH).messages().await.unwrap();
    let (mut read, mut cents) = (0, 0);
    while read < MESSAGES.unsigned_abs() {
        let message = messages.next().await.unwrap().unwrap();
        cents += serde_json::from_slice::<Order>(&message.payload).unwrap().cents;
        message.ack_with(AckKind::Ack).await.unwrap();
        read += 1;
    }
    assert_eq!(cents, (0..MESSAGES).map(|id| order(id).cents).sum::<i64>());
    read
}

/// A transaction for each batch, which is acknowledged after it.
pub(crate) async fn store(context: &Context, name: &str, database: &Path) -> u64 {
    let mut connection = Connection::open(database).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.pragma_update(None, "synchronous", "FULL").unwrap();
    connection.execute_batch(TABLE).unwrap();
    let consumer = consumer(context, name).await;
    let mut stored = 0;
    while stored < MESSAGES.unsigned_abs() {
        let messages = fetch(&consumer).await;
        let transaction = connection.transaction().unwrap();
        let mut insert = transaction.prepare_cached("INSERT INTO orders (id, item, cents) VALUES (?, ?, ?)").unwrap();
        for message in &messages {
            let order: Order = serde_json::from_slice(&message.payload).unwrap();
            insert.execute(params![order.id, order.item, order.cents]).unwrap();
        }
        drop(insert);
        transaction.commit().unwrap();
        for message in &messages {
            message.ack().await.unwrap();
        }
        stored += messages.len() as u64;
    }
    stored
}
