//! The claims of a token whose signature is good: their types, their times, and who they name.

use serde_json::{Map, Value};

use super::{Use, VerifierConfig, bad};
use crate::{Caps, ErrorName, Identity, ProtocolError, Roles};

pub(super) fn read(
    config: &VerifierConfig,
    claims: &Map<String, Value>,
    now_ms: i64,
    used: Use,
) -> Result<Identity, ProtocolError> {
    check_origin(config, claims)?;
    if let Some(nbf) = seconds(claims, "nbf")?
        && now_ms.saturating_add(config.leeway_ms) < nbf
    {
        return Err(bad("the token is not valid yet"));
    }
    if claims.get("iat").is_some_and(|iat| !iat.is_number()) {
        return Err(bad("the claim iat is not a number"));
    }
    let exp = seconds(claims, "exp")?.ok_or_else(|| bad("the claim exp is missing"))?;
    if exp.saturating_sub(now_ms) > config.lifetime_ms_max {
        return Err(bad("the claim exp is too far ahead"));
    }
    lasts(config, exp, now_ms, used)?;
    let sub = text(claims, "sub")?.ok_or_else(|| bad("the claim sub is missing"))?;
    if !schemas::valid_user(&sub) {
        return Err(bad("the claim sub is not a user id"));
    }
    Ok(Identity {
        sub,
        name: text(claims, "name")?,
        avatar: text(claims, "avatar")?,
        expires_at_ms: exp,
        roles: roles(claims)?,
        caps: caps(claims)?,
    })
}

/// The time of a token that expires at `exp` (Unix milliseconds) is not over.
pub(super) fn lasts(
    config: &VerifierConfig,
    exp: i64,
    now_ms: i64,
    used: Use,
) -> Result<(), ProtocolError> {
    let grace = match used {
        Use::Request => config.leeway_ms,
        Use::Connection => 0,
    };
    if now_ms >= exp.saturating_add(grace) {
        return Err(ProtocolError::new(
            ErrorName::TokenExpired,
            "the token has expired",
        ));
    }
    Ok(())
}

fn check_origin(config: &VerifierConfig, claims: &Map<String, Value>) -> Result<(), ProtocolError> {
    let issuer = text(claims, "iss")?;
    if config.issuer.is_some() && issuer != config.issuer {
        return Err(bad("the token is of another issuer"));
    }
    let names = match claims.get("aud") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(many)) => many
            .iter()
            .map(Value::as_str)
            .collect::<Option<_>>()
            .ok_or_else(|| bad("the claim aud is not a list of strings"))?,
        Some(_) => return Err(bad("the claim aud is not a string")),
    };
    match &config.audience {
        Some(audience) if !names.contains(&audience.as_str()) => {
            Err(bad("the token is for another audience"))
        }
        _ => Ok(()),
    }
}

/// A time in whole seconds, as milliseconds. A string, a fraction or an exponent is refused: what
/// one reader takes for a time another takes for nothing.
fn seconds(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, ProtocolError> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => value
            .as_i64()
            .filter(|s| *s >= 0)
            .and_then(|s| s.checked_mul(1_000))
            .map(Some)
            .ok_or_else(|| {
                bad(&format!(
                    "the claim {name} is not a whole number of seconds"
                ))
            }),
    }
}

fn text(claims: &Map<String, Value>, name: &str) -> Result<Option<String>, ProtocolError> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(bad(&format!("the claim {name} is not a string"))),
    }
}

fn roles(claims: &Map<String, Value>) -> Result<Roles, ProtocolError> {
    let wrong = || bad("the claim roles is not a map from patterns to names");
    match claims.get("roles") {
        None | Some(Value::Null) => Ok(Roles::default()),
        Some(Value::Object(map)) => {
            let pairs: Option<Vec<_>> = map
                .iter()
                .map(|(pattern, role)| role.as_str().map(|role| (pattern.as_str(), role)))
                .collect();
            Ok(Roles::from_names(pairs.ok_or_else(wrong)?))
        }
        Some(_) => Err(wrong()),
    }
}

fn caps(claims: &Map<String, Value>) -> Result<Caps, ProtocolError> {
    let wrong = || bad("the claim caps is not a list of names");
    match claims.get("caps") {
        None | Some(Value::Null) => Ok(Caps::default()),
        Some(Value::Array(list)) => {
            let names: Option<Vec<_>> = list.iter().map(Value::as_str).collect();
            Ok(Caps::from_names(names.ok_or_else(wrong)?))
        }
        Some(_) => Err(wrong()),
    }
}
