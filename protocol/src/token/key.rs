//! The key a token must be signed with. Its kind fixes the algorithm: one key, one algorithm.

use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};

use super::TokenError;

/// Shortest HMAC secret, in bytes.
pub const SECRET_BYTES_MIN: usize = 32;

/// 2048 to 8192 bits.
const RSA_MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1_024;

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

    /// RSA with SHA-256; a public key in PEM form, of 2048 to 8192 bits.
    ///
    /// # Errors
    /// [`TokenError::BadKey`].
    pub fn rs256_pem(pem: &[u8]) -> Result<Self, TokenError> {
        let fits =
            |der: &[u8]| modulus_bytes(der).is_some_and(|bytes| RSA_MODULUS_BYTES.contains(&bytes));
        let key = public_pem(pem, "RSA", DecodingKey::from_rsa_pem, fits)?;
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
        // An uncompressed point: a key of another curve has another length, or lies on none of ours
        // and then verifies nothing.
        let fits = |point: &[u8]| point.len() == 65 && point[0] == 4;
        let key = public_pem(pem, "P-256", DecodingKey::from_ec_pem, fits)?;
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
        let key = public_pem(pem, "Ed25519", DecodingKey::from_ed_pem, |key| {
            key.len() == 32
        })?;
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

/// A public key in PEM form that `fits`. A private one is refused: it has no business on a machine
/// that only verifies.
fn public_pem(
    pem: &[u8],
    kind: &'static str,
    read: fn(&[u8]) -> jsonwebtoken::errors::Result<DecodingKey>,
    fits: impl Fn(&[u8]) -> bool,
) -> Result<DecodingKey, TokenError> {
    let text = std::str::from_utf8(pem).map_err(|_| TokenError::BadKey(kind))?;
    if !text.contains("PUBLIC KEY-----") || text.contains("PRIVATE KEY-----") {
        return Err(TokenError::BadKey(kind));
    }
    let key = read(pem).map_err(|_| TokenError::BadKey(kind))?;
    match key.kind() {
        DecodingKeyKind::SecretOrDer(bytes) if fits(bytes) => Ok(key),
        _ => Err(TokenError::BadKey(kind)),
    }
}

/// The length of the modulus in a PKCS#1 public key: a sequence that begins with that integer.
fn modulus_bytes(der: &[u8]) -> Option<usize> {
    let sequence = contents(der, 0x30)?;
    let modulus = contents(sequence, 0x02)?;
    let zeros = modulus.iter().take_while(|b| **b == 0).count();
    Some(modulus.len() - zeros)
}

/// The contents of the DER value at the start of `der`, if it has this tag.
fn contents(der: &[u8], tag: u8) -> Option<&[u8]> {
    let (&first, rest) = der.split_first()?;
    let (&length, rest) = rest.split_first()?;
    if first != tag {
        return None;
    }
    if length < 0x80 {
        return rest.get(..usize::from(length));
    }
    let digits = usize::from(length & 0x7f);
    if digits > 4 {
        return None;
    }
    let (length, rest) = rest.split_at_checked(digits)?;
    let length = length
        .iter()
        .fold(0usize, |sum, digit| sum << 8 | usize::from(*digit));
    rest.get(..length)
}
