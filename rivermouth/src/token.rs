//! `rivermouth token`: a signed token on standard output and nothing else, ready for `$(…)`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use protocol::token::{Claims, mint};
use service::settings::{SettingsError, duration};
use service::{Secret, http::now_ms};

use crate::dev::data_dir::{self, DataDir};
use crate::settings::secret_from_file;

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  rivermouth token --sub u1 --role session.42=gm
  rivermouth token --sub u1 --name Ann --role 'session.*=player' --role docs.7=editor --ttl 1h
  rivermouth token --sub billing --cap backend
  TOKEN=$(rivermouth token --sub u1 --role session.42=gm) && rivermouth tail --token \"$TOKEN\" session.42

Roles: gm, player, spectator (sessions); owner, editor, commenter, viewer (documents).
The secret is JWT_SECRET or JWT_SECRET_FILE, else the one that `rivermouth dev` keeps in its data directory.")]
pub(crate) struct TokenArgs {
    /// The user's id
    #[arg(long, value_name = "ID")]
    pub(crate) sub: String,

    /// What people call the user
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: Option<String>,

    /// A role in a channel, `session.42=gm`, or in a whole namespace, `docs.*=editor`; may be repeated
    #[arg(long = "role", value_name = "CHANNEL=ROLE")]
    pub(crate) roles: Vec<String>,

    /// A capability everywhere, `job.read`; `backend` is all of them; may be repeated
    #[arg(long = "cap", value_name = "NAME")]
    pub(crate) caps: Vec<String>,

    /// How long the token is good for, at most 24h
    #[arg(long, default_value = "12h", value_parser = duration, value_name = "DURATION")]
    pub(crate) ttl: Duration,

    /// The token's `iss`
    #[arg(long, env = "JWT_ISSUER", value_name = "TEXT")]
    pub(crate) issuer: Option<String>,

    /// The token's `aud`
    #[arg(long, env = "JWT_AUDIENCE", value_name = "TEXT")]
    pub(crate) audience: Option<String>,

    /// The secret, at least 32 bytes; better given as the variable
    #[arg(
        long,
        env = "JWT_SECRET",
        hide_env_values = true,
        value_name = "SECRET"
    )]
    pub(crate) jwt_secret: Option<Secret>,

    /// File that holds the secret
    #[arg(long, env = "JWT_SECRET_FILE", value_name = "FILE")]
    pub(crate) jwt_secret_file: Option<PathBuf>,

    /// Where `rivermouth dev` keeps its data
    #[arg(long, env = "RIVERMOUTH_DATA_DIR", default_value = data_dir::DEFAULT, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
}

pub(crate) fn run(args: &TokenArgs) -> anyhow::Result<()> {
    println!("{}", make(args)?);
    Ok(())
}

fn make(args: &TokenArgs) -> Result<String, SettingsError> {
    if args.ttl.is_zero() || args.ttl > Duration::from_secs(24 * 3600) {
        return Err(SettingsError::value(
            "ttl",
            "more than nothing, at most 24h",
        ));
    }
    let expires_ms = now_ms() + i64::try_from(args.ttl.as_millis()).unwrap_or(i64::MAX);
    let mut claims = Claims::new(args.sub.clone(), expires_ms / 1000);
    claims.name.clone_from(&args.name);
    claims.iss.clone_from(&args.issuer);
    claims.aud.clone_from(&args.audience);
    for role in &args.roles {
        let (channel, role) = parse_role(role)?;
        claims = claims.role(channel, role);
    }
    for cap in &args.caps {
        let known = cap == "backend" || protocol::Capability::ALL.iter().any(|c| c.as_str() == cap);
        if !known {
            return Err(SettingsError::value(
                "cap",
                format!("no capability is called \"{cap}\""),
            ));
        }
        claims = claims.cap(cap.clone());
    }
    mint(secret(args)?.expose().as_bytes(), &claims)
        .map_err(|error| SettingsError::value("jwt-secret", error.to_string()))
}

/// A misspelt role would make a token that holds nothing, silently.
fn parse_role(text: &str) -> Result<(&str, &str), SettingsError> {
    let refuse = |why: String| SettingsError::value("role", why);
    let (channel, role) = text
        .split_once('=')
        .ok_or_else(|| refuse(format!("\"{text}\" is not channel=role")))?;
    let pattern = channel
        .strip_suffix(".*")
        .map(|namespace| format!("{namespace}.x"));
    if let Err(error) = schemas::Channel::parse(pattern.as_deref().unwrap_or(channel)) {
        return Err(refuse(format!("\"{channel}\": {error}")));
    }
    if protocol::Role::from_name(role) == protocol::Role::Unknown {
        return Err(refuse(format!("no role is called \"{role}\"")));
    }
    Ok((channel, role))
}

fn secret(args: &TokenArgs) -> Result<Secret, SettingsError> {
    match (&args.jwt_secret, &args.jwt_secret_file) {
        (Some(secret), _) => Ok(secret.clone()),
        (None, Some(path)) => secret_from_file("jwt-secret-file", path),
        (None, None) => DataDir::existing_secret(&args.data_dir).ok_or_else(|| {
            SettingsError::value(
                "jwt-secret",
                "not set, and no `rivermouth dev` has left one here; give JWT_SECRET or JWT_SECRET_FILE",
            )
        }),
    }
}

#[cfg(test)]
mod tests {
    use protocol::token::{Use, Verifier, VerifierConfig};

    use super::*;

    fn args() -> TokenArgs {
        TokenArgs {
            sub: "u1".to_owned(),
            name: Some("Ann".to_owned()),
            roles: vec!["session.42=gm".to_owned(), "docs.*=viewer".to_owned()],
            caps: vec!["job.read".to_owned()],
            ttl: Duration::from_secs(3600),
            issuer: None,
            audience: None,
            jwt_secret: Some(Secret::new("0123456789abcdef0123456789abcdef")),
            jwt_secret_file: None,
            data_dir: PathBuf::from("/nonexistent"),
        }
    }

    #[test]
    fn a_made_token_is_one_that_the_server_believes() {
        let token = make(&args()).unwrap();
        let config = VerifierConfig::hs256(b"0123456789abcdef0123456789abcdef").unwrap();
        let identity = Verifier::new(config)
            .unwrap()
            .verify(&token, now_ms(), Use::Connection)
            .unwrap();
        assert_eq!(identity.sub, "u1");
        let channel = schemas::Channel::parse("session.42").unwrap();
        assert_eq!(identity.roles.of(&channel), Some(protocol::Role::Gm));
    }

    #[test]
    fn a_token_that_would_silently_hold_nothing_is_refused() {
        for wrong in [
            "session.42",
            "session.42=GM",
            "sess ion=gm",
            "*=gm",
            "session.42=king",
        ] {
            let mut args = args();
            args.roles = vec![wrong.to_owned()];
            assert!(make(&args).is_err(), "{wrong}");
        }
        let mut args = args();
        args.caps = vec!["backends".to_owned()];
        assert!(make(&args).is_err());
        args.caps.clear();
        args.ttl = Duration::from_secs(90_000);
        assert!(make(&args).is_err());
    }
}
