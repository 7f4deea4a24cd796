//! The keys of an identity. Secret ones are cleared from memory when dropped, and no `Debug` shows them.

use std::{fmt, str::FromStr};

use age::secrecy::ExposeSecret;
use p256::{
    ecdsa::{
        DerSignature, Signature, SigningKey, VerifyingKey, signature::Signer as _,
        signature::Verifier as _,
    },
    elliptic_curve::Generate,
    pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, LineEnding},
};
use zeroize::Zeroizing;

use crate::files::digest;

/// A text that is not the key that it should be. It never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(pub(crate) &'static str);

/// Opens what was sealed for its [`Recipient`]: a secret X25519 key, which `age` calls an identity.
#[derive(Clone)]
pub struct AgeKey(pub(crate) age::x25519::Identity);

/// Whom something is sealed for: a public X25519 `age` key, written `age1…`.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient(pub(crate) age::x25519::Recipient);

/// Signs packages: a secret P-256 key.
#[derive(Clone)]
pub struct Signer(SigningKey);

/// Checks the signatures of packages: a public P-256 key.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    key: VerifyingKey,
    pem: String,
}

impl AgeKey {
    /// A new key.
    pub fn generate() -> Self {
        Self(age::x25519::Identity::generate())
    }

    /// Reads an identity file as `age-keygen` writes it: one line `AGE-SECRET-KEY-1…`, and comments.
    ///
    /// # Errors
    /// The text holds no key, several, or one of another kind.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (Some(key), None) = (lines.next(), lines.next()) else {
            return Err(KeyError("expected one age identity (AGE-SECRET-KEY-1…)"));
        };
        key.parse()
            .map(Self)
            .map_err(|_| KeyError("not an X25519 age identity (AGE-SECRET-KEY-1…)"))
    }

    /// Whom to seal for so that this opens it.
    pub fn recipient(&self) -> Recipient {
        Recipient(self.0.to_public())
    }

    /// The identity file that [`AgeKey::parse`] reads.
    pub(crate) fn to_file(&self, created: &str) -> Zeroizing<String> {
        let secret = self.0.to_string();
        // Composed in one allocation, so that no copy of the secret is left behind.
        let mut text = Zeroizing::new(String::with_capacity(256));
        for part in [
            "# created: ",
            created,
            "\n# public key: ",
            &self.recipient().to_string(),
            "\n",
        ] {
            text.push_str(part);
        }
        text.push_str(secret.expose_secret());
        text.push('\n');
        text
    }
}

impl FromStr for Recipient {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        text.trim()
            .parse()
            .map(Self)
            .map_err(|_| KeyError("not an X25519 age recipient (age1…)"))
    }
}

impl Signer {
    /// A new key.
    ///
    /// # Errors
    /// The operating system gives no random numbers.
    pub fn generate() -> Result<Self, KeyError> {
        let key = SigningKey::try_generate();
        key.map(Self)
            .map_err(|_| KeyError("the operating system gives no random numbers"))
    }

    /// Reads a PKCS#8 PEM text (`BEGIN PRIVATE KEY`).
    ///
    /// # Errors
    /// The text is none, or its key is not on the curve P-256.
    pub fn parse(pem: &str) -> Result<Self, KeyError> {
        let key = SigningKey::from_pkcs8_pem(pem.trim_start());
        key.map(Self)
            .map_err(|_| KeyError("not a P-256 signing key in PKCS#8 PEM (BEGIN PRIVATE KEY)"))
    }

    /// What checks this key's signatures.
    pub fn verifier(&self) -> Verifier {
        Verifier::new(*self.0.verifying_key())
    }

    /// The PEM text that [`Signer::parse`] reads.
    pub(crate) fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        self.0
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|_| KeyError("the signing key has no PEM form"))
    }

    /// An ASN.1 DER signature (ECDSA with SHA-256, its nonce from the message: RFC 6979).
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature: Result<Signature, _> = self.0.try_sign(message);
        let signature = signature.map_err(|_| KeyError("the signing key cannot sign"))?;
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

impl Verifier {
    fn new(key: VerifyingKey) -> Self {
        let pem = key.to_public_key_pem(LineEnding::LF);
        Self {
            key,
            pem: pem.expect("a P-256 point has a fixed size that PEM can hold"),
        }
    }

    /// Reads an SPKI PEM text (`BEGIN PUBLIC KEY`).
    ///
    /// # Errors
    /// The text is none, or its key is not on the curve P-256.
    pub fn parse(pem: &str) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_public_key_pem(pem.trim_start());
        key.map(Self::new)
            .map_err(|_| KeyError("not a P-256 public key in PEM (BEGIN PUBLIC KEY)"))
    }

    /// The key as SPKI PEM text.
    pub fn to_pem(&self) -> &str {
        &self.pem
    }

    /// What names the key in a signature: the SHA-256 of its PEM text, in hexadecimal.
    pub fn hint(&self) -> String {
        digest(self.pem.as_bytes()).hex()
    }

    pub(crate) fn holds(&self, message: &[u8], signature: &[u8]) -> bool {
        let signature = DerSignature::from_bytes(signature);
        signature.is_ok_and(|signature| self.key.verify(message, &signature).is_ok())
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({self})")
    }
}

impl fmt::Debug for AgeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgeKey(for {})", self.recipient())
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer(for {})", self.verifier().hint())
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({})", self.hint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_what_they_write() {
        let age_key = AgeKey::generate();
        let file = age_key.to_file("2026-01-01T00:00:00Z");
        assert!(file.starts_with("# created: 2026-01-01T00:00:00Z\n# public key: age1"));
        let read = AgeKey::parse(&file).unwrap();
        assert_eq!(read.recipient(), age_key.recipient());
        assert_eq!(
            age_key.recipient().to_string().parse(),
            Ok(age_key.recipient())
        );

        let signer = Signer::generate().unwrap();
        let read = Signer::parse(&signer.to_pem().unwrap()).unwrap();
        assert_eq!(read.verifier(), signer.verifier());
        assert_eq!(
            Verifier::parse(signer.verifier().to_pem()),
            Ok(signer.verifier())
        );
    }

    #[test]
    fn a_signature_holds_for_its_message_and_key_only() {
        let [signer, other] = [(); 2].map(|()| Signer::generate().unwrap());
        let signature = signer.sign(b"message").unwrap();
        assert!(signer.verifier().holds(b"message", &signature));
        assert!(!signer.verifier().holds(b"massage", &signature));
        assert!(
            !signer
                .verifier()
                .holds(b"message", &signature[..signature.len() - 1])
        );
        assert!(!signer.verifier().holds(b"message", b""));
        assert!(!other.verifier().holds(b"message", &signature));
    }

    #[test]
    fn secrets_show_neither_in_debug_nor_in_errors() {
        let (age_key, signer) = (AgeKey::generate(), Signer::generate().unwrap());
        let (age_file, pem) = (age_key.to_file("now"), signer.to_pem().unwrap());
        let broken = age_file.replace("AGE-SECRET-KEY-1", "AGE-SECRET-KEY-1Q");
        let shown = format!(
            "{age_key:?} {signer:?} {} {}",
            AgeKey::parse(&broken).unwrap_err(),
            Signer::parse(&pem.replace("MIG", "MIH")).unwrap_err()
        );
        let secrets = [
            age_file.lines().last().unwrap(),
            pem.lines().nth(1).unwrap(),
        ];
        for secret in secrets {
            assert!(!shown.contains(&secret[20..30]), "{shown}");
        }
    }

    #[test]
    fn a_text_that_is_no_key_is_refused() {
        let (age_key, signer) = (AgeKey::generate(), Signer::generate().unwrap());
        let age_file = age_key.to_file("now");
        for bad in [
            "",
            "# only a comment",
            "age1xyz",
            &format!("{}{}", *age_file, *age_file),
        ] {
            assert!(AgeKey::parse(bad).is_err());
        }
        assert!(Signer::parse(signer.verifier().to_pem()).is_err());
        assert!(Verifier::parse(&signer.to_pem().unwrap()).is_err());
        assert!("AGE-SECRET-KEY-1".parse::<Recipient>().is_err());
    }
}
