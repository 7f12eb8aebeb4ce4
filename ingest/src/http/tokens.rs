//! Tokens of requests: a backend sends the same one with every publish, and its signature is checked once.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use protocol::token::{Use, Verifier};
use protocol::{Identity, ProtocolError};

/// Tokens that are remembered. Of the longest, full of roles, they and who they name take 30 MiB; of the usual ones 3.
const TOKENS_MAX: NonZeroUsize = NonZeroUsize::new(4_096).expect("more than none");
/// A longer token is checked each time.
const TOKEN_BYTES_MAX: usize = 2_048;

/// Judges the tokens of requests. Those that were good are remembered with who they name, the least recently used go
/// first; that they have expired is seen every time.
pub struct Tokens {
    verifier: Verifier,
    good: Mutex<LruCache<Box<str>, Arc<Identity>>>,
}

impl Tokens {
    /// Judges as `verifier` does.
    pub fn new(verifier: Verifier) -> Tokens {
        Tokens {
            verifier,
            good: Mutex::new(LruCache::new(TOKENS_MAX)),
        }
    }

    /// The identity in `jwt`, as of `now_ms` (Unix milliseconds).
    ///
    /// # Errors
    /// Those of [`Verifier::verify`].
    pub fn verify(&self, jwt: &str, now_ms: i64) -> Result<Arc<Identity>, ProtocolError> {
        let known = self.good().get(jwt).cloned();
        if let Some(identity) = known {
            self.verifier.lasts(&identity, now_ms, Use::Request)?;
            return Ok(identity);
        }
        let identity = Arc::new(self.verifier.verify(jwt, now_ms, Use::Request)?);
        if jwt.len() <= TOKEN_BYTES_MAX {
            self.good().put(jwt.into(), Arc::clone(&identity));
        }
        Ok(identity)
    }

    fn good(&self) -> std::sync::MutexGuard<'_, LruCache<Box<str>, Arc<Identity>>> {
        self.good.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens")
            .field("verifier", &self.verifier)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use protocol::ErrorName;
    use protocol::token::{Claims, VerifierConfig, mint};

    use super::*;

    const SECRET: &[u8] = b"a secret of tests, long enough for all";
    const NOW_MS: i64 = 1_700_000_000_000;

    fn tokens() -> Tokens {
        let config = VerifierConfig::hs256(SECRET).unwrap();
        Tokens::new(Verifier::new(config).unwrap())
    }

    fn token(user: &str, lasts_s: i64) -> String {
        mint(SECRET, &Claims::new(user, NOW_MS / 1_000 + lasts_s)).unwrap()
    }

    #[test]
    fn a_token_that_is_remembered_expires_as_if_it_were_not() {
        let (tokens, jwt) = (tokens(), token("u1", 60));
        for second in [0, 1, 59, 60, 89] {
            let now_ms = NOW_MS + second * 1_000;
            assert_eq!(tokens.verify(&jwt, now_ms).unwrap().sub, "u1");
        }
        let late = tokens.verify(&jwt, NOW_MS + 90_000).unwrap_err();
        assert_eq!(late.name, ErrorName::TokenExpired);
        assert_eq!(
            self::tokens().verify(&jwt, NOW_MS + 90_000).unwrap_err(),
            late
        );
    }

    #[test]
    fn nothing_but_the_very_token_is_taken_for_it() {
        let (tokens, jwt) = (tokens(), token("u1", 60));
        tokens.verify(&jwt, NOW_MS).unwrap();
        let other = token("u2", 60);
        let (signed, signature) = (
            other.rsplit_once('.').unwrap().0,
            jwt.rsplit_once('.').unwrap().1,
        );
        for forged in [
            format!("{signed}.{signature}"),
            format!("{jwt}A"),
            jwt[1..].to_owned(),
        ] {
            for _ in 0..2 {
                let refused = tokens.verify(&forged, NOW_MS).unwrap_err();
                assert_eq!(refused.name, ErrorName::AuthRequired);
            }
        }
        assert_eq!(tokens.verify(&other, NOW_MS).unwrap().sub, "u2");
    }

    #[test]
    fn the_memory_is_bounded_and_holds_no_long_token() {
        let tokens = tokens();
        for user in 0..TOKENS_MAX.get() + 10 {
            tokens
                .verify(&token(&format!("u{user}"), 60), NOW_MS)
                .unwrap();
        }
        assert_eq!(tokens.good().len(), TOKENS_MAX.get());
        let mut claims = Claims::new("long", NOW_MS / 1_000 + 60);
        claims.name = Some("n".repeat(TOKEN_BYTES_MAX));
        let long = mint(SECRET, &claims).unwrap();
        assert_eq!(tokens.verify(&long, NOW_MS).unwrap().sub, "long");
        assert!(!tokens.good().contains(&*long));
    }
}
