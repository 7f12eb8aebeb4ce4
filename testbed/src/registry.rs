//! A schema registry as small as the Confluent clients allow: what they ask, on one loopback port.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// A running registry; gone when dropped.
#[derive(Debug)]
pub struct Registry {
    address: SocketAddr,
    schemas: Schemas,
    _serving: AbortOnDropHandle<()>,
}

/// The texts of the schemas; the number of a schema is its place, from 1.
type Schemas = Arc<Mutex<Vec<String>>>;

impl Registry {
    /// Starts empty.
    pub async fn start() -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a loopback port is free");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let schemas = Schemas::default();
        let shared = Arc::clone(&schemas);
        let serving = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let schemas = Arc::clone(&shared);
                let answer = service_fn(move |request| answer(Arc::clone(&schemas), request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(tcp), answer));
            }
        });
        Registry {
            address,
            schemas,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    /// `http://127.0.0.1:…`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a schema and gives its number.
    pub fn add(&self, schema: &str) -> u32 {
        number(&mut self.schemas.lock().unwrap(), schema)
    }
}

fn number(schemas: &mut Vec<String>, schema: &str) -> u32 {
    let known = schemas.iter().position(|text| text == schema);
    let at = known.unwrap_or_else(|| {
        schemas.push(schema.to_owned());
        schemas.len() - 1
    });
    u32::try_from(at + 1).expect("a handful")
}

async fn answer(
    schemas: Schemas,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let path: Vec<&str> = head.uri.path().trim_matches('/').split('/').collect();
    let mut schemas = schemas.lock().unwrap();
    let found = match (&head.method, path.as_slice()) {
        (&Method::GET, ["schemas", "ids", id]) => {
            let at = id.parse::<usize>().ok().and_then(|id| id.checked_sub(1));
            at.and_then(|at| schemas.get(at))
                .map(|schema| json!({ "schema": schema }))
        }
        (&Method::POST, ["subjects", subject] | ["subjects", subject, "versions"]) => {
            asked["schema"].as_str().map(|schema| {
                let id = number(&mut schemas, schema);
                json!({ "subject": subject, "id": id, "version": 1, "schema": schema })
            })
        }
        // The newest clients ask for associations first and take 404 for "none".
        _ => None,
    };
    let (status, body) = match found {
        Some(body) => (StatusCode::OK, body),
        None => (
            StatusCode::NOT_FOUND,
            json!({ "error_code": 40403, "message": "not found" }),
        ),
    };
    let response = Response::builder()
        .status(status)
        .header("content-type", "application/vnd.schemaregistry.v1+json");
    Ok(response
        .body(Full::new(Bytes::from(body.to_string())))
        .expect("a constant response can be built"))
}
