//! Sealing: the `age` file format, version 1, for X25519 recipients or by a passphrase
//! (<https://age-encryption.org/v1>, <https://c2sp.org/age>).

use std::{
    io::{Read, Write},
    iter,
};

use age::{DecryptError, Decryptor, EncryptError, Encryptor};
use zeroize::Zeroizing;

use crate::{
    access::Opener,
    keys::{AgeKey, Recipient},
    passphrase::Passphrase,
};

/// The most plain bytes that one sealed file may hold: 16 GiB, more than the weights of any level that a
/// single machine serves from memory.
pub const MAX_PLAIN_BYTES: u64 = 16 << 30;

/// The most work that is done for a passphrase, as the exponent of scrypt's `N`: 2^20, which takes a few
/// seconds and 1 GiB.
///
/// A sealed file says how much work it takes, so one that says more is refused: it could stall a server.
pub const MAX_WORK_FACTOR: u8 = 20;

/// Why bytes could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// Nobody could open it.
    #[error("cannot seal for no recipient")]
    NoRecipient,
    /// More than [`MAX_PLAIN_BYTES`].
    #[error("holds more than {MAX_PLAIN_BYTES} bytes")]
    TooLarge,
    /// It was sealed for recipients, and there is no key.
    #[error(
        "sealed, and there is no age identity to open it: give the identity folder that holds `age.key`, \
         or set STRATA_AGE_KEY"
    )]
    NoKey,
    /// It was sealed for other recipients.
    #[error(
        "sealed for another identity: use the one that it was sealed for (STRATA_IDENTITY, STRATA_AGE_KEY)"
    )]
    OtherIdentity,
    /// It was sealed by a passphrase, and there is none.
    #[error("sealed by a passphrase, and there is none to open it: set STRATA_PASSPHRASE")]
    NoPassphrase,
    /// It was sealed by another passphrase.
    #[error("sealed by another passphrase: set STRATA_PASSPHRASE to the one that it was sealed by")]
    WrongPassphrase,
    /// It takes more work than [`MAX_WORK_FACTOR`].
    #[error("asks for scrypt work factor {factor}, and at most {MAX_WORK_FACTOR} is done")]
    TooMuchWork {
        /// What it asks for.
        factor: u8,
    },
    /// Not an `age` file, or changed after it was sealed.
    #[error("not an intact age file")]
    Damaged,
}

impl SealError {
    /// Whether there is nothing that a file of this kind could be opened with.
    pub(crate) fn is_want_of_key(&self) -> bool {
        matches!(self, Self::NoKey | Self::NoPassphrase)
    }
}

/// Seals `plain` so that each of `recipients` can open it, and nobody else.
///
/// Sealing the same bytes twice gives different sealed bytes.
///
/// # Errors
/// There is no recipient, or more than [`MAX_PLAIN_BYTES`].
pub fn seal(plain: &[u8], recipients: &[Recipient]) -> Result<Vec<u8>, SealError> {
    let recipients = recipients
        .iter()
        .map(|recipient| &recipient.0 as &dyn age::Recipient);
    write(plain, Encryptor::with_recipients(recipients))
}

/// Seals `plain` so that whoever has the passphrase can open it, and nobody else.
///
/// The `age` crate chooses the work so that each guess at the passphrase, and so each sealing and each
/// opening, takes about a second on this machine; it is never more than [`MAX_WORK_FACTOR`].
///
/// # Errors
/// More than [`MAX_PLAIN_BYTES`].
pub fn seal_by_passphrase(plain: &[u8], passphrase: &Passphrase) -> Result<Vec<u8>, SealError> {
    let mut recipient = age::scrypt::Recipient::new(passphrase.0.clone());
    let sealed = seal_for_scrypt(plain, &recipient)?;
    // The chosen factor shows only in what was sealed. A very fast machine may get one that no machine
    // would open.
    if work_factor(&sealed).is_some_and(|factor| factor <= MAX_WORK_FACTOR) {
        return Ok(sealed);
    }
    recipient.set_work_factor(MAX_WORK_FACTOR);
    seal_for_scrypt(plain, &recipient)
}

fn seal_for_scrypt(plain: &[u8], recipient: &age::scrypt::Recipient) -> Result<Vec<u8>, SealError> {
    // The only recipient, as the format demands of this kind.
    write(
        plain,
        Encryptor::with_recipients(iter::once(recipient as &dyn age::Recipient)),
    )
}

fn write(plain: &[u8], encryptor: Result<Encryptor, EncryptError>) -> Result<Vec<u8>, SealError> {
    if plain.len() as u64 > MAX_PLAIN_BYTES {
        return Err(SealError::TooLarge);
    }
    // X25519 recipients can always be combined, so only their absence is left as a reason.
    let encryptor = encryptor.map_err(|_| SealError::NoRecipient)?;
    let mut sealed = Vec::with_capacity(plain.len() + plain.len() / 4096 + 1024);
    let write = |sealed: &mut Vec<u8>| {
        let mut writer = encryptor.wrap_output(sealed)?;
        writer.write_all(plain)?;
        writer.finish().map(|_| ())
    };
    // A vector takes every write; an error would mean that the stream ran out of chunk numbers.
    write(&mut sealed).map_err(|_: std::io::Error| SealError::TooLarge)?;
    Ok(sealed)
}

/// Opens what [`seal`], [`seal_by_passphrase`] or any `age` tool sealed. Nothing is returned unless all of it
/// is intact.
///
/// # Errors
/// `opener` lacks what opens it, it is damaged, takes more work than [`MAX_WORK_FACTOR`], or holds more than
/// [`MAX_PLAIN_BYTES`].
pub fn open(sealed: &[u8], opener: &Opener) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let decryptor = Decryptor::new_buffered(sealed).map_err(|_| SealError::Damaged)?;
    let reader = if decryptor.is_scrypt() {
        let passphrase = opener.passphrase.as_ref().ok_or(SealError::NoPassphrase)?;
        let mut identity = age::scrypt::Identity::new(passphrase.0.clone());
        identity.set_max_work_factor(MAX_WORK_FACTOR);
        decryptor.decrypt(iter::once(&identity as &dyn age::Identity))
    } else {
        let AgeKey(identity) = opener.key.as_ref().ok_or(SealError::NoKey)?;
        decryptor.decrypt(iter::once(identity as &dyn age::Identity))
    };
    let reader = reader.map_err(|error| match error {
        DecryptError::NoMatchingKeys => SealError::OtherIdentity,
        // Of the two kinds, only a passphrase is known to be meant for a file that it does not fit.
        DecryptError::DecryptionFailed => SealError::WrongPassphrase,
        DecryptError::ExcessiveWork { required, .. } if required > MAX_WORK_FACTOR => {
            SealError::TooMuchWork { factor: required }
        }
        _ => SealError::Damaged,
    })?;
    // Plain bytes are fewer than sealed ones, so the vector never grows and leaves no copy behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(sealed.len()));
    reader
        .take(MAX_PLAIN_BYTES + 1)
        .read_to_end(&mut plain)
        .map_err(|_| SealError::Damaged)?;
    if plain.len() as u64 > MAX_PLAIN_BYTES {
        return Err(SealError::TooLarge);
    }
    Ok(plain)
}

/// For whom something is sealed, as far as that shows: a file does not tell whom its recipients are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealedFor {
    /// It is not sealed.
    Everyone,
    /// For whoever has a passphrase.
    Passphrase,
    /// For one recipient.
    One,
    /// For several recipients.
    Several,
}

impl SealedFor {
    /// What an `age` file shows.
    pub(crate) fn of(sealed: &[u8]) -> Self {
        if stanzas(sealed).any(|stanza| stanza.starts_with("scrypt ")) {
            Self::Passphrase
        } else if has_one_receiver(sealed) {
            Self::One
        } else {
            Self::Several
        }
    }
}

/// Whether whoever opens this file is known to be the only one who can.
///
/// A file does not show for whom its stanzas are, but how many they are. The `age` crate adds one to files
/// with recipients that is for nobody, so that readers learn to skip unknown kinds; its kind ends in
/// `-grease`.
pub(crate) fn has_one_receiver(sealed: &[u8]) -> bool {
    let is_grease = |stanza: &&str| {
        let kind = stanza.split(' ').next();
        kind.is_some_and(|kind| kind.ends_with("-grease"))
    };
    stanzas(sealed).filter(|stanza| !is_grease(stanza)).count() == 1
}

/// The work factor of a file that is sealed by a passphrase.
fn work_factor(sealed: &[u8]) -> Option<u8> {
    let stanza = stanzas(sealed).next()?.strip_prefix("scrypt ")?;
    stanza.rsplit(' ').next()?.parse().ok()
}

/// The kind and the arguments of each stanza in the header of an `age` file.
fn stanzas(sealed: &[u8]) -> impl Iterator<Item = &str> {
    sealed
        .split(|byte| *byte == b'\n')
        .take_while(|line| !line.starts_with(b"---"))
        .filter_map(|line| str::from_utf8(line).ok()?.strip_prefix("-> "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sealed with little work, so that a test can open it many times.
    fn seal_quickly(plain: &[u8], passphrase: &Passphrase) -> Vec<u8> {
        let mut recipient = age::scrypt::Recipient::new(passphrase.0.clone());
        recipient.set_work_factor(2);
        seal_for_scrypt(plain, &recipient).unwrap()
    }

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(text).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_for_each_recipient_and_nobody_else() {
        let keys = [(); 3].map(|()| AgeKey::generate());
        let recipients = [keys[0].recipient(), keys[1].recipient()];
        let [first, second, other] = keys.map(Opener::from);
        for size in [0, 1, 65_535, 65_536, 65_537, 200_000] {
            let plain: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            let sealed = seal(&plain, &recipients).unwrap();
            assert_eq!(*open(&sealed, &first).unwrap(), plain);
            assert_eq!(*open(&sealed, &second).unwrap(), plain);
            assert!(matches!(
                open(&sealed, &other),
                Err(SealError::OtherIdentity)
            ));
        }
    }

    #[test]
    fn sealing_needs_a_recipient() {
        assert!(matches!(seal(b"x", &[]), Err(SealError::NoRecipient)));
    }

    #[test]
    fn a_passphrase_opens_what_was_sealed_by_it_and_nothing_else() {
        let right = passphrase("correct horse ");
        let sealed = seal_by_passphrase(b"weights", &right).unwrap();
        assert!(work_factor(&sealed).unwrap() <= MAX_WORK_FACTOR);
        // The format allows no stanza beside this kind, not even one that is for nobody.
        assert_eq!(stanzas(&sealed).count(), 1);
        assert_eq!(**open(&sealed, &right.clone().into()).unwrap(), *b"weights");

        let sealed = seal_quickly(b"weights", &right);
        let key = AgeKey::generate();
        let with_both = Opener {
            key: Some(key.clone()),
            passphrase: Some(right),
        };
        assert_eq!(**open(&sealed, &with_both).unwrap(), *b"weights");
        let for_key = seal(b"weights", &[key.recipient()]).unwrap();
        assert_eq!(**open(&for_key, &with_both).unwrap(), *b"weights");

        let error = |sealed: &[u8], opener: Opener| open(sealed, &opener).unwrap_err();
        assert!(matches!(
            error(&sealed, passphrase("correct horse").into()),
            SealError::WrongPassphrase
        ));
        assert!(matches!(
            error(&sealed, key.into()),
            SealError::NoPassphrase
        ));
        assert!(matches!(
            error(&for_key, passphrase("correct horse").into()),
            SealError::NoKey
        ));
    }

    #[test]
    fn a_file_that_asks_for_too_much_work_is_refused_at_once() {
        let right = passphrase("correct horse");
        let sealed = seal_quickly(b"weights", &right);
        let factor = b" 2\n";
        let start = sealed
            .windows(factor.len())
            .position(|bytes| bytes == factor);
        let (before, after) = (
            &sealed[..start.unwrap()],
            &sealed[start.unwrap() + factor.len()..],
        );
        for asked in [MAX_WORK_FACTOR + 1, 63, 64, u8::MAX] {
            let hostile = [before, format!(" {asked}\n").as_bytes(), after].concat();
            assert_eq!(work_factor(&hostile), Some(asked));
            // Done in full, the least of these would take 2 GiB, the next one more than there is.
            let error = open(&hostile, &right.clone().into()).unwrap_err();
            assert!(
                matches!(error, SealError::TooMuchWork { factor } if factor == asked),
                "{asked}: {error}"
            );
        }
    }

    #[test]
    fn how_many_can_open_a_file_shows() {
        let recipients = [(); 3].map(|()| AgeKey::generate().recipient());
        // What the crate adds for nobody is random, so several are looked at.
        for _ in 0..20 {
            for count in 1..=3 {
                let sealed = seal(b"weights", &recipients[..count]).unwrap();
                assert_eq!(has_one_receiver(&sealed), count == 1);
                let shown = if count == 1 {
                    SealedFor::One
                } else {
                    SealedFor::Several
                };
                assert_eq!(SealedFor::of(&sealed), shown);
            }
        }
        let by_passphrase = seal_quickly(b"weights", &passphrase("x"));
        assert_eq!(SealedFor::of(&by_passphrase), SealedFor::Passphrase);
        assert!(has_one_receiver(&seal_quickly(
            b"weights",
            &passphrase("x")
        )));
    }

    #[test]
    fn cut_or_changed_files_do_not_open() {
        let key = AgeKey::generate();
        let by_key = seal(&[7; 1000], &[key.recipient()]).unwrap();
        let right = passphrase("correct horse");
        let by_passphrase = seal_quickly(&[7; 50], &right);
        for (sealed, opener) in [
            (by_key, Opener::from(key)),
            (by_passphrase, Opener::from(right)),
        ] {
            for end in 0..sealed.len() {
                assert!(
                    open(&sealed[..end], &opener).is_err(),
                    "opened with {end} bytes"
                );
            }
            for position in 0..sealed.len() {
                let mut changed = sealed.clone();
                changed[position] ^= 1;
                assert!(
                    open(&changed, &opener).is_err(),
                    "opened with byte {position} changed"
                );
            }
            assert!(open(&[sealed.as_slice(), b"x"].concat(), &opener).is_err());
        }
    }
}
