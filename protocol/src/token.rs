//! Tokens: from the text of a JWT to an [`Identity`], and the one place where tokens are made.
//!
//! Strict where the library is generous: the algorithm is the configured one and never the token's
//! choice; a header that names keys or extensions is refused; claims have the types they should
//! have; `exp` is required and near. The library does the cryptography and nothing else.

mod claims;
mod key;
mod mint;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::{ErrorName, Identity, ProtocolError};

pub use key::{Key, SECRET_BYTES_MIN};
pub use mint::{Claims, mint};

/// Longest token that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 8_192;

/// What the token is for: the leeway on `exp` differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// One request: a token may have expired up to the leeway ago.
    Request,
    /// A connection, or renewing one: the token has not expired.
    Connection,
}

/// What a [`Verifier`] accepts.
#[derive(Debug, Clone)]
pub struct VerifierConfig {
    /// The key, which also decides the algorithm.
    pub key: Key,
    /// The `iss` a token must have, when set.
    pub issuer: Option<String>,
    /// The `aud` a token must have or contain, when set.
    pub audience: Option<String>,
    /// How far clocks may differ, in milliseconds; 30 000.
    pub leeway_ms: i64,
    /// How far ahead `exp` may be, in milliseconds; 24 hours.
    pub lifetime_ms_max: i64,
}

impl VerifierConfig {
    /// HS256 with this secret and the protocol's defaults.
    ///
    /// # Errors
    /// [`TokenError::WeakSecret`] when it has fewer than 32 bytes.
    pub fn hs256(secret: &[u8]) -> Result<Self, TokenError> {
        Ok(VerifierConfig {
            key: Key::hs256(secret)?,
            issuer: None,
            audience: None,
            leeway_ms: 30_000,
            lifetime_ms_max: 24 * 60 * 60 * 1_000,
        })
    }
}

/// A key that cannot be used, or a token that cannot be made. Fix the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// An HMAC secret that could be guessed.
    #[error("the secret has {0} bytes, at least {SECRET_BYTES_MIN} are needed")]
    WeakSecret(usize),
    /// A public key of another kind, or none at all.
    #[error("not a usable {0} public key in PEM form")]
    BadKey(&'static str),
    /// The library refused to sign.
    #[error("the token cannot be signed")]
    Signing,
}

/// Checks tokens. Cheap to share, has no state.
#[derive(Debug, Clone)]
pub struct Verifier {
    config: VerifierConfig,
}

impl Verifier {
    /// A verifier for this configuration.
    ///
    /// # Errors
    /// None today; kept fallible for keys that have to be fetched.
    pub fn new(config: VerifierConfig) -> Result<Self, TokenError> {
        Ok(Verifier { config })
    }

    /// The identity in `jwt`, as of `now_ms` (Unix milliseconds).
    ///
    /// # Errors
    /// `TOKEN_EXPIRED` for a good token whose time is over; `AUTH_REQUIRED` for everything else,
    /// with a sentence that names the rule and never repeats the token.
    pub fn verify(&self, jwt: &str, now_ms: i64, used: Use) -> Result<Identity, ProtocolError> {
        if jwt.len() > TOKEN_BYTES_MAX {
            return Err(bad("the token is too long"));
        }
        let mut parts = jwt.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(bad("the token is not three parts joined by dots"));
        };
        self.check_header(&object(header)?)?;
        let signed = &jwt.as_bytes()[..header.len() + 1 + payload.len()];
        if !self.config.key.verifies(signed, signature) {
            return Err(bad("the token's signature does not fit"));
        }
        claims::read(&self.config, &object(payload)?, now_ms, used)
    }

    /// Whether the time of a token that was verified before, and named this identity, is not over as of `now_ms`.
    ///
    /// # Errors
    /// `TOKEN_EXPIRED`.
    pub fn lasts(&self, who: &Identity, now_ms: i64, used: Use) -> Result<(), ProtocolError> {
        claims::lasts(&self.config, who.expires_at_ms, now_ms, used)
    }

    /// The token never chooses its key or algorithm, so everything that would is refused.
    fn check_header(&self, header: &Map<String, Value>) -> Result<(), ProtocolError> {
        if header.get("alg").and_then(Value::as_str) != Some(self.config.key.algorithm()) {
            return Err(bad("the token's algorithm is not the configured one"));
        }
        let refused = header.keys().find(|k| {
            matches!(k.as_str(), "crit" | "jku" | "jwk" | "b64" | "zip") || k.starts_with("x5")
        });
        if refused.is_some() {
            return Err(bad("the token's header names keys or extensions"));
        }
        match header.get("typ") {
            None => Ok(()),
            Some(Value::String(t))
                if t.eq_ignore_ascii_case("jwt") || t.eq_ignore_ascii_case("at+jwt") =>
            {
                Ok(())
            }
            Some(_) => Err(bad("the token is of another type")),
        }
    }
}

/// One part of the token as a JSON object. The JSON rules of all messages hold here too, so that two
/// readers of one token cannot see two different claims.
fn object(part: &str) -> Result<Map<String, Value>, ProtocolError> {
    let unreadable = || bad("the token cannot be read");
    let text = URL_SAFE_NO_PAD.decode(part).map_err(|_| unreadable())?;
    schemas::json::check(&text, schemas::json::Rules { depth_max: 8 }).map_err(|_| unreadable())?;
    match serde_json::from_slice(&text) {
        Ok(Value::Object(map)) => Ok(map),
        _ => Err(unreadable()),
    }
}

fn bad(message: &str) -> ProtocolError {
    ProtocolError::new(ErrorName::AuthRequired, message)
}

#[cfg(test)]
mod tests;
