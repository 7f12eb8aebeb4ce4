//! The key a token must be signed with. Its kind fixes the algorithm: one key, one algorithm.

use jsonwebtoken::{Algorithm, DecodingKey};

use super::TokenError;

/// Shortest HMAC secret, in bytes.
pub const SECRET_BYTES_MIN: usize = 32;

/// One verification key. Never printed.
#[derive(Clone)]
pub struct Key {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({}, ..)", self.algorithm())
    }
}

impl Key {
    /// HMAC with SHA-256.
    ///
    /// # Errors
    /// [`TokenError::WeakSecret`] under 32 bytes.
    pub fn hs256(secret: &[u8]) -> Result<Self, TokenError> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(TokenError::WeakSecret(secret.len()));
        }
        Ok(Key {
            algorithm: Algorithm::HS256,
            key: DecodingKey::from_secret(secret),
        })
    }

    /// RSA with SHA-256; a public key in PEM form, of 2048 bits or more (the library refuses to
    /// verify with less).
    ///
    /// # Errors
    /// [`TokenError::BadKey`].
    pub fn rs256_pem(pem: &[u8]) -> Result<Self, TokenError> {
        let key = DecodingKey::from_rsa_pem(pem).map_err(|_| TokenError::BadKey("RSA"))?;
        Ok(Key {
            algorithm: Algorithm::RS256,
            key,
        })
    }

    /// ECDSA on P-256 with SHA-256; a public key in PEM form.
    ///
    /// # Errors
    /// [`TokenError::BadKey`].
    pub fn es256_pem(pem: &[u8]) -> Result<Self, TokenError> {
        let key = DecodingKey::from_ec_pem(pem).map_err(|_| TokenError::BadKey("EC"))?;
        Ok(Key {
            algorithm: Algorithm::ES256,
            key,
        })
    }

    /// Ed25519; a public key in PEM form.
    ///
    /// # Errors
    /// [`TokenError::BadKey`].
    pub fn eddsa_pem(pem: &[u8]) -> Result<Self, TokenError> {
        let key = DecodingKey::from_ed_pem(pem).map_err(|_| TokenError::BadKey("Ed25519"))?;
        Ok(Key {
            algorithm: Algorithm::EdDSA,
            key,
        })
    }

    /// The `alg` a token's header must have.
    pub fn algorithm(&self) -> &'static str {
        match self.algorithm {
            Algorithm::HS256 => "HS256",
            Algorithm::RS256 => "RS256",
            Algorithm::ES256 => "ES256",
            _ => "EdDSA",
        }
    }

    /// Whether `signature` (base64url) is this key's over `signed`. HMACs are compared in constant time.
    pub(super) fn verifies(&self, signed: &[u8], signature: &str) -> bool {
        jsonwebtoken::crypto::verify(signature, signed, &self.key, self.algorithm).unwrap_or(false)
    }
}
