//! A client of a Confluent-compatible schema registry: one call, `GET /schemas/ids/{id}`.
//!
//! It only fetches; whether a schema is acceptable is decided where records are decoded.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;

const DEADLINE: Duration = Duration::from_secs(5);
const SCHEMA_BYTES_MAX: usize = 1 << 20;

/// A registry at one address. Clones share the connections.
#[derive(Clone, Debug)]
pub struct SchemaRegistry {
    client: HttpClient,
    base: String,
    authorization: Option<HeaderValue>,
}

/// TLS is set up only when the address asks for it: a machine without root certificates can still use a
/// registry beside it.
#[derive(Clone, Debug)]
enum HttpClient {
    Plain(Client<HttpConnector, Empty<Bytes>>),
    Tls(Client<HttpsConnector<HttpConnector>, Empty<Bytes>>),
}

/// Why a schema could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum SchemaRegistryError {
    /// The configured address cannot be used; configuration has to change.
    #[error("the schema registry's address is not usable: {0}")]
    Address(String),
    /// No answer, or not now; ask again later.
    #[error("the schema registry does not answer: {0}")]
    Away(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    schema: String,
    schema_type: Option<String>,
    #[serde(default)]
    references: Vec<serde_json::Value>,
}

impl SchemaRegistry {
    /// A client for `url`, such as `http://registry:8081` or `https://user:password@host/path`.
    ///
    /// # Errors
    /// [`SchemaRegistryError::Address`]; the message holds no password.
    pub fn new(url: &str) -> Result<Self, SchemaRegistryError> {
        let Address {
            base,
            tls,
            authorization,
        } = Address::parse(url)?;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(DEADLINE));
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_max_idle_per_host(2);
        let client = if tls {
            let connector = hyper_rustls::HttpsConnectorBuilder::new()
                .with_native_roots()
                .map_err(|error| SchemaRegistryError::Address(format!("no TLS roots: {error}")))?
                .https_only()
                .enable_http1()
                .wrap_connector(http);
            HttpClient::Tls(builder.build(connector))
        } else {
            HttpClient::Plain(builder.build(http))
        };
        Ok(SchemaRegistry {
            client,
            base,
            authorization,
        })
    }

    /// The Avro schema with this id as JSON text, at most 1 MiB; `None` when the registry knows none, or
    /// one that is not Avro or refers to others (which our records never need).
    ///
    /// # Errors
    /// [`SchemaRegistryError::Away`]: ask again, at most 5 s have passed.
    pub async fn fetch(&self, id: u32) -> Result<Option<String>, SchemaRegistryError> {
        let away = |what: &str| SchemaRegistryError::Away(what.to_owned());
        let (status, body) = tokio::time::timeout(DEADLINE, self.get(id))
            .await
            .map_err(|_| away("no answer in time"))??;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if status != StatusCode::OK {
            return Err(away(status.as_str()));
        }
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|_| away("an answer that is none"))?;
        let avro = answer.schema_type.is_none_or(|kind| kind == "AVRO");
        Ok((avro && answer.references.is_empty()).then_some(answer.schema))
    }

    async fn get(&self, id: u32) -> Result<(StatusCode, Bytes), SchemaRegistryError> {
        let mut request = Request::builder()
            .uri(format!("{}/schemas/ids/{id}", self.base))
            .header(
                header::ACCEPT,
                "application/vnd.schemaregistry.v1+json, application/json",
            );
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request
            .body(Empty::new())
            .map_err(|error| SchemaRegistryError::Address(error.to_string()))?;
        let response = match &self.client {
            HttpClient::Plain(client) => client.request(request).await,
            HttpClient::Tls(client) => client.request(request).await,
        }
        .map_err(|error| SchemaRegistryError::Away(error.to_string()))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), SCHEMA_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| SchemaRegistryError::Away(error.to_string()))?;
        Ok((status, body.to_bytes()))
    }
}

/// A configured address, taken apart.
struct Address {
    /// Without credentials and without a slash at the end.
    base: String,
    tls: bool,
    authorization: Option<HeaderValue>,
}

impl Address {
    fn parse(url: &str) -> Result<Self, SchemaRegistryError> {
        let refused = |what: &str| SchemaRegistryError::Address(what.to_owned());
        let uri: Uri = url.parse().map_err(|_| refused("it is no URL"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(refused("it starts with neither http:// nor https://")),
        };
        let authority = uri.authority().ok_or_else(|| refused("no host"))?.as_str();
        let (credentials, host) = match authority.rsplit_once('@') {
            Some((credentials, host)) => (Some(credentials), host),
            None => (None, authority),
        };
        let authorization = credentials
            .map(|credentials| {
                let basic = format!("Basic {}", BASE64_STANDARD.encode(credentials));
                let mut value = HeaderValue::try_from(basic)
                    .map_err(|_| refused("credentials that fit no header"))?;
                value.set_sensitive(true);
                Ok(value)
            })
            .transpose()?;
        let scheme = if tls { "https" } else { "http" };
        let path = uri.path().trim_end_matches('/');
        Ok(Address {
            base: format!("{scheme}://{host}{path}"),
            tls,
            authorization,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_leave_the_address_and_are_never_shown() {
        let address = Address::parse("https://me:hunter2@registry.example/api/").unwrap();
        assert_eq!(address.base, "https://registry.example/api");
        assert!(address.tls);
        assert!(!format!("{:?}", address.authorization).contains("aHVudGVyMg"));
        assert!(Address::parse("registry:8081").is_err());
        assert!(Address::parse("ftp://registry").is_err());
    }
}
