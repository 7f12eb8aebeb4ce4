//! Forgeries, claims of the wrong type, and times at their edges.

mod keys;

use serde_json::json;

use super::*;
use crate::{Capability, Role};

const SECRET: &[u8] = b"a secret of more than thirty-two bytes";
const NOW: i64 = 1_763_683_200;

fn verifier() -> Verifier {
    Verifier::new(VerifierConfig::hs256(SECRET).unwrap()).unwrap()
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// Signs any header over any payload with the right secret: what is refused then is refused for its
/// content.
fn sign_parts(header: &str, payload: &str) -> String {
    let signed = format!("{header}.{payload}");
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET);
    let signature =
        jsonwebtoken::crypto::sign(signed.as_bytes(), &key, jsonwebtoken::Algorithm::HS256)
            .unwrap();
    format!("{signed}.{signature}")
}

fn sign(header: &Value, claims: &Value) -> String {
    sign_parts(&part(header), &part(claims))
}

fn with_claims(claims: &Value) -> Result<Identity, ErrorName> {
    let token = sign(&json!({"alg": "HS256", "typ": "JWT"}), claims);
    verify_as(&token, Use::Request)
}

fn with_header(header: &Value) -> Result<Identity, ErrorName> {
    verify_as(
        &sign(header, &json!({"sub": "u1", "exp": NOW + 60})),
        Use::Request,
    )
}

fn verify_as(token: &str, used: Use) -> Result<Identity, ErrorName> {
    verifier()
        .verify(token, NOW * 1_000, used)
        .map_err(|e| e.name)
}

const BAD: ErrorName = ErrorName::AuthRequired;
const EXPIRED: ErrorName = ErrorName::TokenExpired;

#[test]
fn what_is_minted_is_accepted_with_all_it_says() {
    let claims = Claims {
        name: Some("Ann".into()),
        avatar: Some("https://a/b.png".into()),
        nbf: Some(NOW - 5),
        iss: Some("me".into()),
        aud: Some("you".into()),
        ..Claims::new("u1", NOW + 60)
            .role("session.42", "gm")
            .role("docs.*", "editor")
            .cap("job.read")
    };
    let token = mint(SECRET, &claims).unwrap();
    let who = verify_as(&token, Use::Connection).unwrap();
    assert_eq!((who.sub.as_str(), who.name.as_deref()), ("u1", Some("Ann")));
    assert_eq!(who.avatar.as_deref(), Some("https://a/b.png"));
    assert_eq!(who.expires_at_ms, (NOW + 60) * 1_000);
    let role = |c: &str| who.roles.of(&schemas::Channel::parse(c).unwrap());
    assert_eq!(role("session.42"), Some(Role::Gm));
    assert_eq!(role("docs.7"), Some(Role::Editor));
    assert!(who.caps.has(Capability::JobRead) && !who.is_backend());
}

#[test]
fn a_short_secret_is_refused_on_both_sides() {
    assert_eq!(
        Key::hs256(&[1; 31]).unwrap_err(),
        TokenError::WeakSecret(31)
    );
    assert_eq!(
        mint(b"", &Claims::default()).unwrap_err(),
        TokenError::WeakSecret(0)
    );
    assert!(Key::hs256(&[1; 32]).is_ok());
}

#[test]
fn neither_key_nor_configuration_prints_the_secret() {
    let printed = format!("{:?}", verifier());
    assert!(
        !printed.contains("secret of") && !printed.contains("97, 32"),
        "{printed}"
    );
}

#[test]
fn the_token_does_not_choose_its_algorithm() {
    let algorithms = [
        json!("none"),
        json!("None"),
        json!(""),
        json!("hs256"),
        json!("HS384"),
        json!("HS512"),
        json!("RS256"),
        json!("ES256"),
        json!("EdDSA"),
        json!(null),
        json!(["HS256"]),
        json!(256),
    ];
    for alg in algorithms {
        assert_eq!(with_header(&json!({"alg": alg})), Err(BAD), "{alg}");
    }
    assert_eq!(with_header(&json!({"typ": "JWT"})), Err(BAD));
    let payload = part(&json!({"sub": "u1", "exp": NOW + 60}));
    let unsigned = format!("{}.{payload}.", part(&json!({"alg": "none"})));
    assert_eq!(verify_as(&unsigned, Use::Request), Err(BAD));
    let hollow = format!("{}.{payload}.", part(&json!({"alg": "HS256"})));
    assert_eq!(verify_as(&hollow, Use::Request), Err(BAD));
}

#[test]
fn headers_that_name_keys_or_extensions_are_refused() {
    for name in [
        "crit",
        "jku",
        "jwk",
        "x5u",
        "x5c",
        "x5t",
        "x5t#S256",
        "x5anything",
        "b64",
        "zip",
    ] {
        let mut header = json!({"alg": "HS256"});
        for value in [
            json!("https://evil/keys"),
            json!(null),
            json!([]),
            json!({"kty": "oct", "k": "AA"}),
        ] {
            header[name] = value;
            assert_eq!(with_header(&header), Err(BAD), "{header}");
        }
    }
    for typ in [json!("JWT"), json!("jwt"), json!("at+jwt")] {
        assert!(with_header(&json!({"alg": "HS256", "typ": typ, "kid": "../../etc"})).is_ok());
    }
    for typ in [
        json!("JWE"),
        json!("dpop+jwt"),
        json!(""),
        json!(1),
        json!(null),
    ] {
        assert_eq!(
            with_header(&json!({"alg": "HS256", "typ": typ})),
            Err(BAD),
            "{typ}"
        );
    }
}

#[test]
fn every_claim_has_its_type() {
    let cases = [
        json!({"sub": 1}),
        json!({"sub": ""}),
        json!({"sub": null}),
        json!({"sub": ["u1"]}),
        json!({"sub": "a\nb"}),
        json!({"sub": "x".repeat(257)}),
        json!({"exp": null}),
        json!({"exp": (NOW + 60).to_string()}),
        json!({"exp": NOW as f64 + 60.5}),
        json!({"exp": NOW as f64 + 60.0}),
        json!({"exp": true}),
        json!({"exp": [NOW + 60]}),
        json!({"exp": -1}),
        json!({"exp": u64::MAX}),
        json!({"exp": i64::MAX}),
        json!({"nbf": (NOW - 60).to_string()}),
        json!({"nbf": null}),
        json!({"nbf": 1.5}),
        json!({"nbf": "never"}),
        json!({"nbf": false}),
        json!({"iat": "now"}),
        json!({"name": 5}),
        json!({"avatar": {}}),
        json!({"roles": "gm"}),
        json!({"roles": ["gm"]}),
        json!({"roles": {"session.1": ["gm"]}}),
        json!({"roles": {"session.1": null}}),
        json!({"caps": "backend"}),
        json!({"caps": {"backend": true}}),
        json!({"caps": [1]}),
        json!({"iss": 1}),
        json!({"iss": ["a"]}),
        json!({"aud": 1}),
        json!({"aud": [1]}),
        json!({"aud": {"a": 1}}),
    ];
    for case in cases {
        let mut claims = json!({"sub": "u1", "exp": NOW + 60});
        for (name, value) in case.as_object().unwrap() {
            claims[name] = value.clone();
        }
        assert_eq!(with_claims(&claims), Err(BAD), "{case}");
    }
    assert_eq!(with_claims(&json!({"exp": NOW + 60})), Err(BAD));
    assert_eq!(with_claims(&json!({"sub": "u1"})), Err(BAD));
    assert!(
        with_claims(&json!({
            "sub": "u1", "exp": NOW + 60, "iat": 1.5, "nbf": NOW, "name": null, "avatar": null,
            "roles": null, "caps": null, "aud": ["a"], "iss": "b", "more": {"x": [1]},
        }))
        .is_ok()
    );
}

#[test]
fn times_count_to_the_second_with_their_leeway() {
    let exp = |seconds: i64, used| {
        let claims = json!({"sub": "u1", "exp": NOW + seconds});
        verify_as(&sign(&json!({"alg": "HS256"}), &claims), used).map(|_| ())
    };
    assert_eq!(exp(1, Use::Request), Ok(()));
    assert_eq!(exp(0, Use::Request), Ok(()));
    assert_eq!(exp(-29, Use::Request), Ok(()));
    assert_eq!(exp(-30, Use::Request), Err(EXPIRED));
    assert_eq!(exp(-59, Use::Request), Err(EXPIRED));
    assert_eq!(exp(1, Use::Connection), Ok(()));
    assert_eq!(exp(0, Use::Connection), Err(EXPIRED));
    assert_eq!(exp(86_400, Use::Connection), Ok(()));
    assert_eq!(exp(86_401, Use::Connection), Err(BAD));
    let nbf = |seconds: i64| {
        with_claims(&json!({"sub": "u1", "exp": NOW + 600, "nbf": NOW + seconds})).map(|_| ())
    };
    assert_eq!(nbf(-5), Ok(()));
    assert_eq!(nbf(30), Ok(()));
    assert_eq!(nbf(31), Err(BAD));
    assert_eq!(nbf(3_600), Err(BAD));
}

#[test]
fn issuer_and_audience_are_checked_when_they_are_configured() {
    let config = VerifierConfig {
        issuer: Some("me".into()),
        audience: Some("you".into()),
        ..VerifierConfig::hs256(SECRET).unwrap()
    };
    let verifier = Verifier::new(config).unwrap();
    let check = |iss: Value, aud: Value| {
        let claims = json!({"sub": "u1", "exp": NOW + 60, "iss": iss, "aud": aud});
        let token = sign(&json!({"alg": "HS256"}), &claims);
        verifier.verify(&token, NOW * 1_000, Use::Request).is_ok()
    };
    assert!(check(json!("me"), json!("you")));
    assert!(check(json!("me"), json!(["them", "you"])));
    for (iss, aud) in [
        (json!("Me"), json!("you")),
        (json!(null), json!("you")),
        (json!("https://evil/me"), json!("you")),
        (json!("me"), json!(null)),
        (json!("me"), json!("your")),
        (json!("me"), json!([])),
    ] {
        assert!(!check(iss.clone(), aud.clone()), "{iss} {aud}");
    }
}

#[test]
fn two_readers_of_one_token_cannot_differ() {
    let header = part(&json!({"alg": "HS256"}));
    let good = format!(r#"{{"sub":"u1","exp":{}}}"#, NOW + 60);
    assert!(
        verify_as(
            &sign_parts(&header, &URL_SAFE_NO_PAD.encode(&good)),
            Use::Request
        )
        .is_ok()
    );
    for payload in [
        format!(r#"{{"sub":"u1","sub":"admin","exp":{}}}"#, NOW + 60),
        format!(r#"{{"sub":"u1","s\u0075b":"admin","exp":{}}}"#, NOW + 60),
        format!(r#"{{"sub":"u1","exp":{}}} "#, NOW + 60) + "{}",
        format!(r#"{{"sub":"u\u0000","exp":{}}}"#, NOW + 60),
        format!(r#"{{"sub":"u\ud800","exp":{}}}"#, NOW + 60),
        format!(
            r#"{{"sub":"u1","exp":{},"x":{}{}}}"#,
            NOW + 60,
            "[".repeat(60),
            "]".repeat(60)
        ),
        format!(r#"[{{"sub":"u1","exp":{}}}]"#, NOW + 60),
        String::new(),
        "null".into(),
    ] {
        let token = sign_parts(&header, &URL_SAFE_NO_PAD.encode(&payload));
        assert_eq!(verify_as(&token, Use::Request), Err(BAD), "{payload}");
    }
    let twice = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","alg":"HS256"}"#);
    assert_eq!(
        verify_as(
            &sign_parts(&twice, &URL_SAFE_NO_PAD.encode(&good)),
            Use::Request
        ),
        Err(BAD)
    );
}

#[test]
fn any_other_spelling_of_a_good_token_is_refused() {
    let good = mint(SECRET, &Claims::new("u1", NOW + 60)).unwrap();
    assert!(verify_as(&good, Use::Request).is_ok());
    let parts: Vec<&str> = good.split('.').collect();
    let mut others = vec![
        String::new(),
        ".".into(),
        "..".into(),
        format!("{good}."),
        format!("{good}="),
        format!(".{good}"),
        format!(" {good}"),
        format!("{good}\n"),
        format!("Bearer {good}"),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.{}.", parts[0], parts[1], parts[2]),
        format!("{}=.{}.{}", parts[0], parts[1], parts[2]),
        "x".repeat(TOKEN_BYTES_MAX + 1),
    ];
    for at in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        others.push(String::from_utf8(bytes).unwrap());
    }
    // The last digit of a signature has bits that do not count: another spelling of the same bytes.
    let last = good.len() - 1;
    for digit in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".chars() {
        let other = format!("{}{digit}", &good[..last]);
        if other != good {
            others.push(other);
        }
    }
    for other in others {
        assert_eq!(verify_as(&other, Use::Request), Err(BAD), "{other}");
    }
    let foreign = mint(&[7; 32], &Claims::new("u1", NOW + 60)).unwrap();
    assert_eq!(verify_as(&foreign, Use::Request), Err(BAD));
}

#[test]
fn a_refusal_never_repeats_the_token() {
    let token = sign(
        &json!({"alg": "HS256", "jku": "canary"}),
        &json!({"sub": "canary"}),
    );
    let error = verifier()
        .verify(&token, NOW * 1_000, Use::Request)
        .unwrap_err();
    assert!(!error.message.contains("canary") && error.details.is_none());
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in proptest::prelude::any::<String>()) {
        proptest::prop_assert_eq!(verify_as(&text, Use::Request), Err(BAD));
    }
}
