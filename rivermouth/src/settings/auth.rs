//! Whose tokens are believed.

use std::path::PathBuf;

use clap::Args;
use protocol::token::{Key, SECRET_BYTES_MIN, Verifier, VerifierConfig};
use service::Secret;

use super::{SettingsError, secret_from_file};

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Tokens")]
pub(crate) struct AuthArgs {
    /// Secret of HS256 tokens, at least 32 bytes; no default. Use the variable or the file: arguments are
    /// visible to every user of the machine
    #[arg(
        long,
        env = "JWT_SECRET",
        hide_env_values = true,
        value_name = "SECRET"
    )]
    pub(crate) jwt_secret: Option<Secret>,

    /// File that holds the secret, instead of the secret itself; no default
    #[arg(long, env = "JWT_SECRET_FILE", value_name = "FILE")]
    pub(crate) jwt_secret_file: Option<PathBuf>,

    /// Instead of a secret: public key in PEM form; its kind fixes the algorithm (RSA: RS256, P-256: ES256,
    /// Ed25519: EdDSA); no default
    #[arg(long, env = "JWT_PUBLIC_KEY_FILE", value_name = "FILE")]
    pub(crate) jwt_public_key_file: Option<PathBuf>,

    /// The `iss` every token must have; without it any is taken
    #[arg(long, env = "JWT_ISSUER", value_name = "TEXT")]
    pub(crate) jwt_issuer: Option<String>,

    /// The `aud` every token must have; without it any is taken
    #[arg(long, env = "JWT_AUDIENCE", value_name = "TEXT")]
    pub(crate) jwt_audience: Option<String>,
}

impl AuthArgs {
    /// The verifier that these settings describe.
    ///
    /// Missing, short and well-known secrets are refused: a service that starts with one is open.
    pub(crate) fn verifier(&self) -> Result<Verifier, SettingsError> {
        let key = match (&self.jwt_public_key_file, self.secret()?) {
            (Some(path), None) => public_key(path)?,
            (None, Some(secret)) => {
                check_secret(&secret)?;
                Key::hs256(secret.expose().as_bytes())
                    .map_err(|error| SettingsError::value("jwt-secret", error.to_string()))?
            }
            (Some(_), Some(_)) => {
                return Err(SettingsError::value(
                    "jwt-public-key-file",
                    "a secret is set as well; one key decides, not two",
                ));
            }
            (None, None) => {
                return Err(SettingsError::value(
                    "jwt-secret",
                    "not set; make one with `openssl rand -base64 48` and give it as JWT_SECRET or JWT_SECRET_FILE",
                ));
            }
        };
        let config = VerifierConfig {
            key,
            issuer: self.jwt_issuer.clone(),
            audience: self.jwt_audience.clone(),
            leeway_ms: 30_000,
            lifetime_ms_max: 24 * 60 * 60 * 1_000,
        };
        Verifier::new(config).map_err(|error| SettingsError::value("jwt-secret", error.to_string()))
    }

    /// The HMAC secret, from the one place where it is set.
    pub(crate) fn secret(&self) -> Result<Option<Secret>, SettingsError> {
        match (&self.jwt_secret, &self.jwt_secret_file) {
            (Some(_), Some(_)) => Err(SettingsError::value(
                "jwt-secret-file",
                "JWT_SECRET is set as well; which one is meant?",
            )),
            (Some(secret), None) => Ok(Some(secret.clone())),
            (None, Some(path)) => secret_from_file("jwt-secret-file", path).map(Some),
            (None, None) => Ok(None),
        }
    }
}

fn public_key(path: &std::path::Path) -> Result<Key, SettingsError> {
    let pem = secret_from_file("jwt-public-key-file", path)?;
    let pem = pem.expose().as_bytes();
    // A PEM parses as exactly one of the three kinds.
    Key::rs256_pem(pem)
        .or_else(|_| Key::es256_pem(pem))
        .or_else(|_| Key::eddsa_pem(pem))
        .map_err(|_| {
            SettingsError::value(
                "jwt-public-key-file",
                "it holds no RSA, P-256 or Ed25519 public key",
            )
        })
}

/// Refuses secrets that somebody else knows: too short to resist guessing, copied from an example, or
/// typed by leaning on a key.
fn check_secret(secret: &Secret) -> Result<(), SettingsError> {
    let refuse = |reason: String| Err(SettingsError::value("jwt-secret", reason));
    let text = secret.expose();
    if text.len() < SECRET_BYTES_MIN {
        return refuse(format!(
            "it has {} bytes, at least {SECRET_BYTES_MIN} are needed",
            text.len()
        ));
    }
    let plain: String = text
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    const FROM_EXAMPLES: [&str; 6] = [
        "changeme",
        "changethis",
        "changeinproduction",
        "yoursecret",
        "your256bitsecret",
        "supersecret",
    ];
    if FROM_EXAMPLES.iter().any(|known| plain.contains(known)) {
        return refuse("it is the text of an example, which everybody knows".to_owned());
    }
    let mut bytes = text.as_bytes().to_vec();
    bytes.sort_unstable();
    bytes.dedup();
    if bytes.len() < 8 {
        return refuse("it repeats a few characters, which is quickly guessed".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(secret: &str) -> AuthArgs {
        AuthArgs {
            jwt_secret: Some(Secret::new(secret)),
            jwt_secret_file: None,
            jwt_public_key_file: None,
            jwt_issuer: None,
            jwt_audience: None,
        }
    }

    #[test]
    fn missing_short_default_and_uniform_secrets_are_refused() {
        for bad in [
            "",
            "your-secret-key",
            "only-thirty-one-bytes-long-1234",
            "your-secret-key-change-in-production",
            "CHANGE_ME_CHANGE_ME_CHANGE_ME_CHANGE_ME",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            let error = with(bad).verifier().unwrap_err().to_string();
            assert!(error.starts_with("jwt-secret: "), "{error}");
            assert!(bad.is_empty() || !error.contains(bad), "{error} shows it");
        }
        let none = AuthArgs {
            jwt_secret: None,
            ..with("")
        };
        assert!(none.verifier().is_err());
        assert!(
            with("3q2+7wAAq83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq80=")
                .verifier()
                .is_ok()
        );
    }

    #[test]
    fn a_secret_may_come_from_a_file_and_from_one_place_only() {
        let file = std::env::temp_dir().join(format!("secret-{}", uuid::Uuid::new_v4()));
        std::fs::write(&file, "3q2+7wAAq83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq80=\n").unwrap();
        let mut args = with("x");
        args.jwt_secret_file = Some(file.clone());
        assert!(args.verifier().is_err());
        args.jwt_secret = None;
        assert!(args.verifier().is_ok());
        std::fs::remove_file(file).unwrap();
    }
}
