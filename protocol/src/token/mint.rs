//! Making tokens: for development, for tests, and for services that share the secret.

use std::collections::BTreeMap;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use super::{SECRET_BYTES_MIN, TokenError};

/// The claims of a token to be made. `Default` is nobody, expired; set at least `sub` and `exp`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// The user's id.
    pub sub: String,
    /// When it expires, Unix seconds, at most 24 h ahead.
    pub exp: i64,
    /// From when it counts, Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// What people call the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where the user's picture is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar: Option<String>,
    /// Roles by channel pattern: `session.42` or `docs.*`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<String, String>,
    /// Capabilities everywhere; `backend` is all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub caps: Vec<String>,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// Whom it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aud: Option<String>,
}

impl Claims {
    /// The claims of user `sub` until `exp` (Unix seconds).
    pub fn new(sub: impl Into<String>, exp: i64) -> Self {
        Claims {
            sub: sub.into(),
            exp,
            ..Claims::default()
        }
    }

    /// The same with a role for a channel pattern.
    #[must_use]
    pub fn role(mut self, pattern: impl Into<String>, role: impl Into<String>) -> Self {
        self.roles.insert(pattern.into(), role.into());
        self
    }

    /// The same with a capability everywhere.
    #[must_use]
    pub fn cap(mut self, name: impl Into<String>) -> Self {
        self.caps.push(name.into());
        self
    }
}

/// An HS256 token over `claims`.
///
/// # Errors
/// [`TokenError::WeakSecret`] under 32 bytes; [`TokenError::Signing`] when the library refuses.
pub fn mint(secret: &[u8], claims: &Claims) -> Result<String, TokenError> {
    if secret.len() < SECRET_BYTES_MIN {
        return Err(TokenError::WeakSecret(secret.len()));
    }
    let key = EncodingKey::from_secret(secret);
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key)
        .map_err(|_| TokenError::Signing)
}
