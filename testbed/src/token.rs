//! Tokens for tests.

use protocol::token::{Claims, mint};

use crate::unix_ms;

/// A token in the making.
#[derive(Debug, Clone)]
pub struct Token {
    pub(crate) claims: Claims,
    pub(crate) secret: String,
}

impl Token {
    /// With a role for a channel pattern.
    #[must_use]
    pub fn role(mut self, pattern: &str, role: &str) -> Token {
        self.claims = self.claims.role(pattern, role);
        self
    }

    /// With a capability everywhere.
    #[must_use]
    pub fn cap(mut self, cap: &str) -> Token {
        self.claims = self.claims.cap(cap);
        self
    }

    /// Expiring so many seconds from now; negative for an expired one.
    #[must_use]
    pub fn expires_in(mut self, seconds: i64) -> Token {
        self.claims.exp = unix_ms() / 1000 + seconds;
        self
    }

    /// The JWT.
    pub fn mint(&self) -> String {
        mint(self.secret.as_bytes(), &self.claims).expect("claims of a test can be signed")
    }
}
