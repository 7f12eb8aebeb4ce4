//! The tokens that development mode makes by itself.

use protocol::token::{Claims, TokenError, mint};
use service::Secret;
use service::http::now_ms;

use crate::settings::auth::AuthArgs;

/// The longest a token may live.
const DAY_S: i64 = 24 * 60 * 60;

/// Makes tokens that this server believes.
#[derive(Debug)]
pub(crate) struct Tokens {
    secret: Secret,
    issuer: Option<String>,
    audience: Option<String>,
}

impl Tokens {
    pub(crate) fn new(secret: Secret, auth: &AuthArgs) -> Self {
        Tokens {
            secret,
            issuer: auth.jwt_issuer.clone(),
            audience: auth.jwt_audience.clone(),
        }
    }

    /// For the person at the terminal: leads every session, owns every document, sees every job.
    pub(crate) fn of_developer(&self) -> Result<String, TokenError> {
        let claims = self
            .claims("dev")
            .role("session.*", "gm")
            .role("docs.*", "owner")
            .cap("job.read");
        mint(self.secret.expose().as_bytes(), &claims)
    }

    /// For whoever opens the page: plays in the demo session.
    pub(crate) fn of_guest(&self, guest: &str) -> Result<String, TokenError> {
        let claims = self
            .claims(&format!("guest-{guest}"))
            .role("session.demo", "player");
        mint(self.secret.expose().as_bytes(), &claims)
    }

    fn claims(&self, sub: &str) -> Claims {
        // A little less than a day: the server's clock may be a little behind.
        let mut claims = Claims::new(sub, now_ms() / 1000 + DAY_S - 60);
        claims.iss.clone_from(&self.issuer);
        claims.aud.clone_from(&self.audience);
        claims
    }
}
