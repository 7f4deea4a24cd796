use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use strata_spec::{Digest, Name};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What a caller can be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Ask a model.
    Infer,
    /// Ask for an explanation of an answer.
    Explain,
    /// Read what the server and the key's models are. Every valid key may: callers cannot ask well
    /// without it.
    Metadata,
    /// Read `/metrics`. Not part of [`Action::Metadata`], because metrics name every model.
    Metrics,
    /// Load and unload models, for every caller.
    Load,
    /// Everything.
    Admin,
}

/// One API key as it is stored: all but the secret.
///
/// A caller has `strata_<id>_<secret>`: 16 hexadecimal digits that name the key, and 64 that stand for 32
/// random bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Names the key; not secret.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// SHA-256 of the secret's text.
    ///
    /// A slow password hash would add nothing: it makes guessing dear where secrets are few, and nobody
    /// guesses 256 random bits, whatever a guess costs. A fast one lets every request be checked against
    /// the stored hash.
    pub hash: Digest,
    /// What the caller may do.
    pub actions: Vec<Action>,
    /// The models it may do that with.
    pub models: KeyModels,
    /// When it was made.
    pub created: Timestamp,
    /// From when on it no longer counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// When it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
}

/// The models of a key: `"all"`, or a list of names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyModels {
    /// Every model, later ones too.
    All,
    /// These.
    #[serde(untagged)]
    Listed(Vec<Name>),
}

/// A text that is no [`Action`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown action `{}`: expected infer, explain, metadata, metrics, load or admin", .0.escape_debug())]
pub struct ActionError(String);

/// The two parts of what a caller presents.
#[derive(Clone, Copy)]
pub(crate) struct Presented<'a> {
    pub(crate) id: &'a str,
    secret: &'a str,
}

const PREFIX: &str = "strata_";
const ID_DIGITS: usize = 16;
const SECRET_DIGITS: usize = 64;

impl Action {
    /// The word for it in keys and options.
    pub fn word(self) -> &'static str {
        match self {
            Self::Infer => "infer",
            Self::Explain => "explain",
            Self::Metadata => "metadata",
            Self::Metrics => "metrics",
            Self::Load => "load",
            Self::Admin => "admin",
        }
    }
}

impl Key {
    /// Whether the caller may do it, to some model at least.
    pub fn allows(&self, action: Action) -> bool {
        action == Action::Metadata
            || self.actions.contains(&action)
            || self.actions.contains(&Action::Admin)
    }

    /// Whether the key is for this model. Says nothing of whether the model exists.
    pub fn covers(&self, model: &str) -> bool {
        match &self.models {
            KeyModels::All => true,
            KeyModels::Listed(names) => names.iter().any(|name| name.as_str() == model),
        }
    }

    pub(crate) fn has_secret(&self, presented: Presented<'_>) -> bool {
        hash(presented.secret)
            .as_bytes()
            .ct_eq(self.hash.as_bytes())
            .into()
    }

    pub(crate) fn has_expired(&self) -> bool {
        self.expires
            .is_some_and(|expires| expires <= Timestamp::now())
    }
}

impl<'a> Presented<'a> {
    /// Takes a key apart; nothing if it is malformed or cut short.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let is_hex = |part: &str| {
            part.bytes()
                .all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
        };
        let fits =
            id.len() == ID_DIGITS && secret.len() == SECRET_DIGITS && is_hex(id) && is_hex(secret);
        fits.then_some(Self { id, secret })
    }
}

/// A new key's identifier, hash, and the text for the caller.
pub(crate) fn generate() -> Result<(String, Digest, Zeroizing<String>), getrandom::Error> {
    let mut random = Zeroizing::new([0; (ID_DIGITS + SECRET_DIGITS) / 2]);
    getrandom::fill(&mut *random)?;
    let (id, secret) = random.split_at(ID_DIGITS / 2);
    // Composed in one allocation, so that no copy of the secret is left behind.
    let mut token = Zeroizing::new(String::with_capacity(
        PREFIX.len() + ID_DIGITS + 1 + SECRET_DIGITS,
    ));
    token.push_str(PREFIX);
    push_hex(&mut token, id);
    token.push('_');
    push_hex(&mut token, secret);
    let id = token[PREFIX.len()..][..ID_DIGITS].to_owned();
    let hash = hash(&token[PREFIX.len() + ID_DIGITS + 1..]);
    Ok((id, hash, token))
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    let digit = |value: u8| {
        char::from(if value < 10 {
            b'0' + value
        } else {
            b'a' + value - 10
        })
    };
    for byte in bytes {
        text.extend([digit(byte >> 4), digit(byte & 15)]);
    }
}

fn hash(secret: &str) -> Digest {
    Digest::from_bytes(Sha256::digest(secret.as_bytes()).into())
}

impl FromStr for Action {
    type Err = ActionError;

    fn from_str(text: &str) -> Result<Self, ActionError> {
        let all = [
            Self::Infer,
            Self::Explain,
            Self::Metadata,
            Self::Metrics,
            Self::Load,
            Self::Admin,
        ];
        all.into_iter()
            .find(|action| action.word() == text)
            .ok_or_else(|| ActionError(text.to_owned()))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_that_is_named_can_be_given() {
        let message = "x".parse::<Action>().unwrap_err().to_string();
        let (_, words) = message.split_once("expected ").unwrap();
        let words: Vec<&str> = words
            .split([',', ' '])
            .filter(|word| !["", "or"].contains(word))
            .collect();
        assert_eq!(words.len(), 6);
        for word in words {
            assert_eq!(word.parse::<Action>().unwrap().to_string(), word);
        }
    }

    fn check_malformed(text: &str) {
        assert!(Presented::parse(text).is_none(), "{text:?} was accepted");
    }

    #[test]
    fn a_key_is_an_identifier_and_a_secret() {
        let (id, hash, token) = generate().unwrap();
        let presented = Presented::parse(&token).unwrap();
        assert_eq!(presented.id, id);
        assert_eq!(super::hash(presented.secret), hash);
        assert_ne!(generate().unwrap().2, token);
    }

    #[test]
    fn a_malformed_key_is_not_taken_apart() {
        let (_, _, token) = generate().unwrap();
        check_malformed("");
        check_malformed("strata_");
        check_malformed("strata__");
        check_malformed(&token[1..]);
        check_malformed(&token[..token.len() - 1]);
        check_malformed(&format!("{}0", *token));
        check_malformed(&token.to_uppercase());
        check_malformed(&token.replacen('_', "-", 1));
        check_malformed(&format!("{}é", &token[..token.len() - 2]));
    }

    #[test]
    fn only_an_admin_may_do_what_is_not_listed() {
        let key = |actions: &[Action]| Key {
            id: String::new(),
            name: String::new(),
            hash: Digest::from_bytes([0; 32]),
            actions: actions.to_vec(),
            models: KeyModels::Listed(vec!["mnist".parse().unwrap()]),
            created: Timestamp::UNIX_EPOCH,
            expires: None,
            revoked: None,
        };
        let caller = key(&[Action::Infer]);
        assert!(caller.allows(Action::Infer) && caller.allows(Action::Metadata));
        assert!(
            !caller.allows(Action::Explain)
                && !caller.allows(Action::Metrics)
                && !caller.allows(Action::Admin)
        );
        assert!(key(&[Action::Admin]).allows(Action::Explain));
        assert!(caller.covers("mnist") && !caller.covers("mnist2") && !caller.covers(""));
    }
}
