//! Kept cursors and windows: acknowledged here or there, on this transport or that, a name goes on where it was.

mod acks;
mod names;

use broker::{Append, Fetched};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use schemas::{Channel, Kept, KeptKey};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};

use crate::world::{PARTITIONS, PATIENCE, Text, World, Ws, is_event, token};

const CHANNEL: &str = "session.a";

fn key(channel: &str, user: &str, durable: &str) -> KeptKey {
    KeptKey {
        channel: Channel::parse(channel).unwrap(),
        user: user.into(),
        durable: durable.into(),
    }
}

async fn subscribe(ws: &mut Ws, params: Value) -> Value {
    ws.send(&json!({"type":"request","id":"s","method":"subscribe","params":params}))
        .await;
    ws.until(|m| m["id"] == "s").await
}

async fn ack(ws: &mut Ws, channel: &str, cursor: &Value) -> Value {
    let params = json!({"channel": channel, "cursor": cursor});
    ws.send(&json!({"type":"request","id":"a","method":"ack","params":params}))
        .await;
    ws.until(|m| m["id"] == "a").await
}

fn body(channel: &str, cursor: &Value, durable: &str) -> Value {
    json!({"channel": channel, "cursor": cursor, "durable": durable})
}

impl World {
    /// A POST of JSON as a user: status and body.
    async fn post(&self, path: &str, user: &str, body: &Value) -> (u16, Value) {
        let request = http::Request::post(path)
            .header("host", self.address.to_string())
            .header("authorization", format!("Bearer {}", token(user)))
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap();
        let socket = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
            .await
            .unwrap();
        tokio::spawn(connection);
        let answer = timeout(PATIENCE, async {
            let response = sender.send_request(request).await.unwrap();
            let status = response.status().as_u16();
            (status, response.into_body().collect().await.unwrap())
        });
        let (status, body) = answer.await.unwrap();
        let body = serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null);
        (status, body)
    }

    async fn fill(&self, channel: &str, count: i64) {
        for n in 0..count {
            self.publish(channel, n).await;
        }
    }

    /// Every record of the state topic under the key, as cursors, in the order of the log.
    async fn kept(&self, key: &KeptKey) -> Vec<String> {
        let partition = key.partition(PARTITIONS);
        let marks = self.log.watermarks(self.topics.state(), partition).await;
        let marks = marks.unwrap();
        let mut reader = self.log.reader().unwrap();
        reader
            .assign(self.topics.state(), partition, marks.low)
            .unwrap();
        let mut found = Vec::new();
        loop {
            for item in timeout(PATIENCE, reader.next(1000)).await.unwrap().unwrap() {
                match item {
                    Fetched::Record(record) => {
                        let kept = Kept::decode(record.key.as_deref(), record.value.as_deref());
                        if let Ok(Some(kept)) = kept
                            && kept.key == *key
                        {
                            found.push(kept.cursor);
                        }
                    }
                    Fetched::End { .. } => return found,
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    /// A record of the state topic, as another node or somebody else would write it.
    async fn state_record(&self, partition: i32, key: Bytes, value: Bytes) {
        let appended = self.log.append(Append {
            topic: self.topics.state().into(),
            partition,
            key: Some(key),
            headers: Vec::new(),
            value: Some(value),
        });
        appended.unwrap().await.unwrap();
    }
}

async fn sse_numbers(stream: &mut Text, count: usize) -> Vec<(i64, Value)> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let (_, _, event) = stream.sse().await;
        if is_event(&event) {
            seen.push((
                event["data"]["n"].as_i64().unwrap(),
                event["cursor"].clone(),
            ));
        }
    }
    seen
}
