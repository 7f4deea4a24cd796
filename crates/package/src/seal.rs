//! Sealing: the `age` file format, version 1, with X25519 recipients (<https://age-encryption.org/v1>).

use std::io::{Read, Write};

use age::{DecryptError, Decryptor, Encryptor};
use zeroize::Zeroizing;

use crate::keys::{Opener, Recipient};

/// The most plain bytes that one sealed file may hold: 16 GiB, more than the weights of any level that a
/// single machine serves from memory.
pub const MAX_PLAIN_BYTES: u64 = 16 << 30;

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
    /// It was sealed for other recipients.
    #[error(
        "sealed for another identity: use the one that it was sealed for (STRATA_IDENTITY, STRATA_AGE_KEY)"
    )]
    OtherIdentity,
    /// Not an `age` file, or changed after it was sealed.
    #[error("not an intact age file")]
    Damaged,
}

/// Seals `plain` so that each of `recipients` can open it, and nobody else.
///
/// Sealing the same bytes twice gives different sealed bytes.
///
/// # Errors
/// There is no recipient, or more than [`MAX_PLAIN_BYTES`].
pub fn seal(plain: &[u8], recipients: &[Recipient]) -> Result<Vec<u8>, SealError> {
    if plain.len() as u64 > MAX_PLAIN_BYTES {
        return Err(SealError::TooLarge);
    }
    let recipients = recipients
        .iter()
        .map(|recipient| &recipient.0 as &dyn age::Recipient);
    // X25519 recipients can always be combined, so only their absence is left as a reason.
    let encryptor = Encryptor::with_recipients(recipients).map_err(|_| SealError::NoRecipient)?;
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

/// Opens what [`seal`] or any `age` tool sealed. Nothing is returned unless all of it is intact.
///
/// # Errors
/// It was sealed for others, it is damaged, or holds more than [`MAX_PLAIN_BYTES`].
pub fn open(sealed: &[u8], opener: &Opener) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let decryptor = Decryptor::new_buffered(sealed).map_err(|_| SealError::Damaged)?;
    let identity = std::iter::once(&opener.0 as &dyn age::Identity);
    let reader = decryptor.decrypt(identity).map_err(|error| match error {
        DecryptError::NoMatchingKeys => SealError::OtherIdentity,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_for_each_recipient_and_nobody_else() {
        let [first, second, other] = [(); 3].map(|()| Opener::generate());
        for size in [0, 1, 65_535, 65_536, 65_537, 200_000] {
            let plain: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            let sealed = seal(&plain, &[first.recipient(), second.recipient()]).unwrap();
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
    fn cut_or_changed_files_do_not_open() {
        let opener = Opener::generate();
        let sealed = seal(&[7; 1000], &[opener.recipient()]).unwrap();
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
