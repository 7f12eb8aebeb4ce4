//! A plain HTTP client: what it is told to send, it sends.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::load::{TRIES, pause};
use crate::world::{DEADLINE, Node};

/// One client and its connections.
#[derive(Clone)]
pub struct Web(Client<HttpConnector, Full<Bytes>>);

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Earlier tries without an answer of the log: each may have been stored.
    pub unheard: usize,
}

impl Web {
    pub fn new() -> Web {
        Web(Client::builder(TokioExecutor::new()).build_http())
    }

    pub async fn send(
        &self,
        node: &Node,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", node.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let exchange = async {
            let response = self.0.request(request).await.unwrap();
            let (parts, body) = response.into_parts();
            Answer {
                status: parts.status,
                headers: parts.headers,
                body: body.collect().await.unwrap().to_bytes(),
                unheard: 0,
            }
        };
        tokio::time::timeout(DEADLINE, exchange)
            .await
            .expect("an answer")
    }

    /// Publishes one JSON text.
    pub async fn publish(&self, node: &Node, token: &str, body: impl Into<Bytes>) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
        ];
        self.send(node, Method::POST, "/api/realtime/publish", &headers, body)
            .await
    }

    /// Publishes as a client does: the same text again while the log is slow. It needs an id, or a number.
    pub async fn surely(&self, node: &Node, token: &str, body: impl Into<Bytes>) -> Answer {
        let body = body.into();
        let (mut tries, mut unheard) = (0, 0);
        loop {
            let answer = self.publish(node, token, body.clone()).await;
            if !answer.is_slow() {
                return Answer { unheard, ..answer };
            }
            tries += 1;
            unheard += usize::from(answer.status == 504);
            assert!(tries <= TRIES, "{:?}", answer.body);
            tokio::time::sleep(pause(tries)).await;
        }
    }

    /// Publishes a batch and gives its answer lines.
    pub async fn batch(&self, node: &Node, token: &str, body: impl Into<Bytes>) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/x-ndjson"),
        ];
        self.send(node, Method::POST, "/api/realtime/publish", &headers, body)
            .await
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{} {:?}", self.status, self.body))
    }

    /// Whether nothing is told but that the log is slow. A number that is missing is told with details.
    fn is_slow(&self) -> bool {
        matches!(self.status.as_u16(), 503 | 504) && self.json()["error"]["details"].is_null()
    }

    /// It is in the log, and was not before this publisher began.
    pub fn is_new(&self) -> bool {
        self.status == 200 && (self.unheard > 0 || self.json()["duplicate"] == false)
    }

    pub fn lines(&self) -> Vec<Value> {
        let text = std::str::from_utf8(&self.body).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The name of the error in the body.
    pub fn error(&self) -> String {
        let body = self.json();
        assert!(body["error"]["code"].is_u64(), "{body}");
        assert!(body["timestamp"].is_i64(), "{body}");
        body["error"]["name"].as_str().unwrap().to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}
