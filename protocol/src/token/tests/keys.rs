//! Public keys: each verifies its own algorithm, and nothing else is taken for one.

use super::*;

// Made for these tests, used nowhere else.
const RSA: &[u8] = include_bytes!("../testkeys/rsa2048.pub.pem");
const RSA_PKCS1: &[u8] = include_bytes!("../testkeys/rsa2048.pkcs1.pub.pem");
const RSA_SHORT: &[u8] = include_bytes!("../testkeys/rsa1024.pub.pem");
const P256: &[u8] = include_bytes!("../testkeys/p256.pub.pem");
const P384: &[u8] = include_bytes!("../testkeys/p384.pub.pem");
const K256: &[u8] = include_bytes!("../testkeys/k256.pub.pem");
const ED25519: &[u8] = include_bytes!("../testkeys/ed25519.pub.pem");
const RSA_PRIVATE: &[u8] = include_bytes!("../testkeys/rsa2048.pem");
const P256_PRIVATE: &[u8] = include_bytes!("../testkeys/p256.pem");
const ED25519_PRIVATE: &[u8] = include_bytes!("../testkeys/ed25519.pem");

fn with_key(key: Key, token: &str) -> bool {
    let config = VerifierConfig {
        key,
        ..VerifierConfig::hs256(SECRET).unwrap()
    };
    let verifier = Verifier::new(config).unwrap();
    verifier.verify(token, NOW * 1_000, Use::Request).is_ok()
}

fn signed_by(algorithm: jsonwebtoken::Algorithm, key: &jsonwebtoken::EncodingKey) -> String {
    let header = jsonwebtoken::Header::new(algorithm);
    jsonwebtoken::encode(&header, &Claims::new("u1", NOW + 60), key).unwrap()
}

#[test]
fn public_keys_verify_their_own_algorithm_and_no_other() {
    use jsonwebtoken::{Algorithm, EncodingKey};
    let keys = [
        Key::rs256_pem(RSA).unwrap(),
        Key::rs256_pem(RSA_PKCS1).unwrap(),
        Key::es256_pem(P256).unwrap(),
        Key::eddsa_pem(ED25519).unwrap(),
        Key::hs256(SECRET).unwrap(),
    ];
    let rsa = EncodingKey::from_rsa_pem(RSA_PRIVATE).unwrap();
    let tokens = [
        signed_by(Algorithm::RS256, &rsa),
        signed_by(
            Algorithm::ES256,
            &EncodingKey::from_ec_pem(P256_PRIVATE).unwrap(),
        ),
        signed_by(
            Algorithm::EdDSA,
            &EncodingKey::from_ed_pem(ED25519_PRIVATE).unwrap(),
        ),
        mint(SECRET, &Claims::new("u1", NOW + 60)).unwrap(),
        signed_by(Algorithm::RS384, &rsa),
        signed_by(Algorithm::PS256, &rsa),
    ];
    for key in keys {
        let fitting = ["RS256", "ES256", "EdDSA", "HS256"]
            .iter()
            .position(|name| *name == key.algorithm());
        for (at, token) in tokens.iter().enumerate() {
            assert_eq!(
                with_key(key.clone(), token),
                Some(at) == fitting,
                "{key:?} {at}"
            );
        }
    }
}

#[test]
fn a_public_key_is_no_hmac_secret() {
    use jsonwebtoken::{Algorithm, EncodingKey};
    for (key, pem) in [
        (Key::rs256_pem(RSA).unwrap(), RSA),
        (Key::es256_pem(P256).unwrap(), P256),
        (Key::eddsa_pem(ED25519).unwrap(), ED25519),
    ] {
        let forged = signed_by(Algorithm::HS256, &EncodingKey::from_secret(pem));
        assert!(!with_key(key, &forged));
    }
}

#[test]
fn keys_of_another_kind_or_strength_are_refused() {
    for pem in [
        RSA_SHORT,
        RSA_PRIVATE,
        P256,
        ED25519,
        b"",
        b"-----BEGIN PUBLIC KEY-----",
    ] {
        assert_eq!(Key::rs256_pem(pem).unwrap_err(), TokenError::BadKey("RSA"));
    }
    for pem in [P384, P256_PRIVATE, RSA, ED25519, b"\xff"] {
        assert_eq!(
            Key::es256_pem(pem).unwrap_err(),
            TokenError::BadKey("P-256")
        );
    }
    for pem in [ED25519_PRIVATE, RSA, P256, SECRET] {
        assert_eq!(
            Key::eddsa_pem(pem).unwrap_err(),
            TokenError::BadKey("Ed25519")
        );
    }
    // A point of another curve of that length: taken for a key, verifies nothing.
    let token = signed_by(
        jsonwebtoken::Algorithm::ES256,
        &jsonwebtoken::EncodingKey::from_ec_pem(P256_PRIVATE).unwrap(),
    );
    assert!(!with_key(Key::es256_pem(K256).unwrap(), &token));
}
