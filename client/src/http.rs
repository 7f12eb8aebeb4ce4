//! The HTTP calls: publish, history, poll. One call is one request to one endpoint; nothing is retried.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;
use tokio::time::timeout;

use crate::answer::{Answer, History, Page, Poll, WirePage, WirePoll, events, parsed};
use crate::endpoint::Endpoint;
use crate::error::{Error, Refusal};
use crate::publish::{Publish, Published};
use crate::query::Query;
use crate::reading::{Lines, SseStream};

/// The largest whole answer taken: a page of 1000 events of 64 KiB.
const ANSWER_BYTES_MAX: usize = 80 * 1024 * 1024;

/// A server's HTTP side. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Http {
    endpoint: Endpoint,
    token: Option<Arc<str>>,
    deadline: Duration,
    inner: HyperClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Http {
    /// The HTTP side of `endpoint`, with `token` as bearer. Every call has 30 s unless
    /// [`Http::with_deadline`] says otherwise.
    pub fn new(endpoint: Endpoint, token: Option<&str>) -> Result<Http, Error> {
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_native_roots()
            .map_err(|error| {
                Error::Invalid(format!("the system's certificates cannot be read: {error}"))
            })?
            .https_or_http()
            .enable_http1();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(Duration::from_secs(10)));
        let inner = HyperClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .build(connector.wrap_connector(tcp));
        Ok(Http {
            endpoint,
            token: token.map(Arc::from),
            deadline: Duration::from_secs(30),
            inner,
        })
    }

    /// The same with another deadline per call (for streams: until the head of the answer).
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Http {
        self.deadline = deadline;
        self
    }

    /// The same connections towards another endpoint.
    #[must_use]
    pub fn at(&self, endpoint: Endpoint) -> Http {
        Http {
            endpoint,
            ..self.clone()
        }
    }

    /// The same server with another token.
    #[must_use]
    pub fn with_token(&self, token: Option<&str>) -> Http {
        Http {
            token: token.map(Arc::from),
            ..self.clone()
        }
    }

    /// Where it points.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Publishes one event and waits until the log has it.
    pub async fn publish(&self, publish: &Publish) -> Result<Published, Error> {
        let headers = [("content-type", "application/json")];
        let answer = self
            .call(
                Method::POST,
                "/api/realtime/publish",
                &headers,
                publish.to_json(),
            )
            .await?
            .success()?;
        parsed(&answer.body)
    }

    /// Keeps everything up to `cursor` of a channel as acknowledged under a name, and waits until the log has it.
    pub async fn ack(&self, channel: &str, cursor: &str, durable: &str) -> Result<(), Error> {
        let ack = serde_json::json!({ "channel": channel, "cursor": cursor, "durable": durable });
        let headers = [("content-type", "application/json")];
        let path = "/api/realtime/ack";
        let answer = self
            .call(Method::POST, path, &headers, ack.to_string())
            .await?;
        answer.success().map(drop)
    }

    /// Publishes up to 1000 events in one request; the answers are in order, and each fails alone.
    pub async fn publish_batch(
        &self,
        batch: &[Publish],
    ) -> Result<Vec<Result<Published, Refusal>>, Error> {
        #[derive(Deserialize)]
        struct Line {
            error: Option<Refusal>,
            #[serde(flatten)]
            published: Option<Published>,
        }
        let body: String = batch
            .iter()
            .map(|publish| publish.to_json() + "\n")
            .collect();
        let headers = [("content-type", "application/x-ndjson")];
        let answer = self
            .call(Method::POST, "/api/realtime/publish", &headers, body)
            .await?
            .success()?;
        let lines = answer
            .body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        let answers = lines
            .map(|line| match parsed::<Line>(line)? {
                Line {
                    error: Some(refusal),
                    ..
                } => Ok(Err(refusal)),
                Line {
                    published: Some(published),
                    ..
                } => Ok(Ok(published)),
                _ => Err(Error::Unexpected("a batch answer that is neither".into())),
            })
            .collect::<Result<Vec<_>, Error>>()?;
        if answers.len() != batch.len() {
            return Err(Error::Unexpected(format!(
                "{} answers to {} publishes",
                answers.len(),
                batch.len()
            )));
        }
        Ok(answers)
    }

    /// One page of a channel's history.
    pub async fn history(&self, history: &History) -> Result<Page, Error> {
        let query = Query::new()
            .add("channel", &history.channel)
            .maybe("after", history.after.as_deref())
            .maybe("before", history.before.as_deref())
            .maybe("from", history.from_ms.map(|ms| ms.to_string()))
            .maybe("to", history.to_ms.map(|ms| ms.to_string()))
            .maybe(
                "types",
                (!history.types.is_empty()).then(|| history.types.join(",")),
            )
            .maybe("limit", history.limit.map(|limit| limit.to_string()))
            .maybe("order", history.order);
        let answer = self
            .get(&query.on("/api/realtime/history"))
            .await?
            .success()?;
        let page: WirePage<'_> = parsed(&answer.body)?;
        Ok(Page {
            events: events(&page.events)?,
            next: page.next,
            complete: page.complete,
            gap: page.gap,
        })
    }

    /// Polls once. `since` is a cursor, a stream cursor, `earliest`, `time:…`, `last:…`; none asks for the present
    /// cursor. The server waits up to `wait_s` seconds for an event.
    pub async fn poll(
        &self,
        channels: &[String],
        since: Option<&str>,
        types: &[String],
        wait_s: u32,
    ) -> Result<Poll, Error> {
        let query = Query::new()
            .all("channel", channels)
            .maybe("since", since)
            .maybe("types", (!types.is_empty()).then(|| types.join(",")))
            .add("wait", &wait_s.to_string());
        let patience = self.deadline + Duration::from_secs(u64::from(wait_s));
        let asked = self.clone().with_deadline(patience);
        let answer = asked
            .get(&query.on("/api/realtime/poll"))
            .await?
            .success()?;
        let poll: WirePoll<'_> = parsed(&answer.body)?;
        Ok(Poll {
            events: events(&poll.events)?,
            cursor: poll.cursor,
            gap: poll.gap,
        })
    }

    /// Opens the NDJSON stream of some channels.
    pub async fn stream(
        &self,
        channels: &[String],
        since: Option<&str>,
        types: &[String],
    ) -> Result<Lines, Error> {
        let query = Query::new()
            .all("channel", channels)
            .maybe("since", since)
            .maybe("types", (!types.is_empty()).then(|| types.join(",")));
        Ok(Lines::new(
            self.open(&query.on("/api/realtime/stream"), &[]).await?,
        ))
    }

    /// Opens the event stream of some channels. `last_event_id` wins over `since`.
    pub async fn sse(
        &self,
        channels: &[String],
        since: Option<&str>,
        last_event_id: Option<&str>,
        types: &[String],
    ) -> Result<SseStream, Error> {
        let query = Query::new()
            .all("channel", channels)
            .maybe("since", since)
            .maybe("types", (!types.is_empty()).then(|| types.join(",")));
        let mut headers = vec![("accept", "text/event-stream")];
        headers.extend(last_event_id.map(|id| ("last-event-id", id)));
        Ok(SseStream::new(
            self.open(&query.on("/sse"), &headers).await?,
        ))
    }

    /// Opens an event stream at a path of its own, such as `/sse/system`, query included.
    pub async fn sse_at(&self, path: &str) -> Result<SseStream, Error> {
        Ok(SseStream::new(
            self.open(path, &[("accept", "text/event-stream")]).await?,
        ))
    }

    /// The head of the answer to a GET; the body is not read. For answers that never end.
    pub async fn head_of(&self, path: &str) -> Result<Answer, Error> {
        let asking = self.send(Method::GET, path, &[], Bytes::new());
        let answer = timeout(self.deadline, asking)
            .await
            .unwrap_or(Err(Error::Timeout(self.deadline)))?;
        let (head, _) = answer.into_parts();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: Bytes::new(),
        })
    }

    /// Any GET, whatever its answer's status.
    pub async fn get(&self, path: &str) -> Result<Answer, Error> {
        self.call(Method::GET, path, &[], String::new()).await
    }

    /// Any call, whatever its answer's status.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, Error> {
        let calling = async {
            let (head, body) = self
                .send(method, path, headers, body.into())
                .await?
                .into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body
                .map_err(|error| Error::Lost(error.to_string()))?
                .to_bytes();
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body,
            })
        };
        timeout(self.deadline, calling)
            .await
            .unwrap_or(Err(Error::Timeout(self.deadline)))
    }

    /// A GET whose answer is read as it comes; refusals are errors.
    pub(crate) async fn open(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Incoming, Error> {
        let opening = async {
            let (head, body) = self
                .send(Method::GET, path, headers, Bytes::new())
                .await?
                .into_parts();
            if head.status.is_success() {
                return Ok(body);
            }
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body
                .map_err(|error| Error::Lost(error.to_string()))?
                .to_bytes();
            let answer = Answer {
                status: head.status,
                headers: head.headers,
                body,
            };
            match answer.success() {
                Err(error) => Err(error),
                Ok(answer) => Err(Error::Unexpected(format!(
                    "answered with {}",
                    answer.status
                ))),
            }
        };
        timeout(self.deadline, opening)
            .await
            .unwrap_or(Err(Error::Timeout(self.deadline)))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<http::Response<Incoming>, Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(self.endpoint.http_url(path));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| Error::Invalid(format!("no request: {error}")))?;
        self.inner
            .request(request)
            .await
            .map_err(|error| Error::Lost(reasons(&error)))
    }
}

/// An error with its causes: hyper's own text says only that something went wrong.
fn reasons(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
