use std::sync::Arc;

use hyper::{HeaderMap, header};

use super::{
    key::{Action, Key, Presented},
    live::LiveKeys,
    store::{KeyStore, KeysError},
};
use crate::log::Log;

/// Stands in front of every route.
#[derive(Debug)]
pub(crate) struct Guard {
    keys: Arc<LiveKeys>,
}

/// A caller whose key is valid.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    key: Arc<Key>,
}

/// Why a caller is not let in. What the caller is told does not help to find keys: of a key whose secret
/// is not known to the caller, it says only that it is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    #[error("no credential: send `Authorization: Bearer strata_…` or `X-API-Key: strata_…`")]
    Missing,
    #[error("the key is not valid")]
    Invalid,
    #[error("the key was revoked")]
    Revoked,
    #[error("the key has expired")]
    Expired,
    #[error("the keys cannot be read; see the server's log")]
    Unreadable,
    #[error("the key does not allow `{0}`")]
    Action(Action),
    /// The same for a model that does not exist.
    #[error("the key is not for this model")]
    Model,
}

impl Guard {
    pub(crate) fn new(keys: KeyStore, log: Log) -> Result<Self, KeysError> {
        Ok(Self {
            keys: LiveKeys::watch(keys, log)?,
        })
    }

    /// Finds out who calls.
    pub(crate) fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, Denied> {
        let text = credential(headers)?;
        let presented = Presented::parse(text).ok_or(Denied::Invalid)?;
        let ring = self.keys.ring().ok_or(Denied::Unreadable)?;
        let key = ring.get(presented.id).ok_or(Denied::Invalid)?;
        if !key.has_secret(presented) {
            return Err(Denied::Invalid);
        }
        if key.revoked.is_some() {
            return Err(Denied::Revoked);
        }
        if key.has_expired() {
            return Err(Denied::Expired);
        }
        Ok(Caller { key: key.clone() })
    }
}

impl Caller {
    /// Finds out whether the caller may do it, and to this model if it is about one.
    pub(crate) fn authorize(&self, action: Action, model: Option<&str>) -> Result<(), Denied> {
        // The model first: a key must not tell which of two refusals a model that exists gets.
        if model.is_some_and(|model| !self.key.covers(model)) {
            return Err(Denied::Model);
        }
        if !self.key.allows(action) {
            return Err(Denied::Action(action));
        }
        Ok(())
    }

    /// Whether the key is for this model.
    pub(crate) fn covers(&self, model: &str) -> bool {
        self.key.covers(model)
    }

    /// The key's identifier, which is not secret.
    pub(crate) fn id(&self) -> &str {
        &self.key.id
    }
}

/// The one credential of a request. Two are refused: which one counts must not be a matter of taste.
fn credential(headers: &HeaderMap) -> Result<&str, Denied> {
    let bearer = headers
        .get_all(header::AUTHORIZATION)
        .iter()
        .map(|value| (value, true));
    let plain = headers
        .get_all("x-api-key")
        .iter()
        .map(|value| (value, false));
    let mut all = bearer.chain(plain);
    let (value, is_bearer) = all.next().ok_or(Denied::Missing)?;
    if all.next().is_some() {
        return Err(Denied::Invalid);
    }
    let text = value.to_str().map_err(|_| Denied::Invalid)?;
    if !is_bearer {
        return Ok(text.trim());
    }
    let (scheme, token) = text.split_once(' ').ok_or(Denied::Invalid)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token.trim())
    } else {
        Err(Denied::Invalid)
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::{KeyModels, NewKey};

    fn check(guard: &Guard, headers: &[(&'static str, &str)], expected: Result<(), Denied>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        assert_eq!(guard.authenticate(&map).map(drop), expected, "{headers:?}");
    }

    fn new(expires: Option<Timestamp>) -> NewKey {
        NewKey {
            name: "a".to_owned(),
            actions: vec![Action::Infer],
            models: KeyModels::All,
            expires,
        }
    }

    #[test]
    fn only_a_whole_and_valid_key_is_let_in() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyStore::beside(folder.path());
        let token = keys.create(new(None)).unwrap().token;
        let other = keys.create(new(None)).unwrap().token;
        let guard = Guard::new(keys, Log::start().unwrap()).unwrap();
        let bearer = format!("Bearer {}", *token);

        check(&guard, &[("authorization", &bearer)], Ok(()));
        check(
            &guard,
            &[("authorization", &bearer.replace("Bearer", "bearer"))],
            Ok(()),
        );
        check(&guard, &[("x-api-key", &token)], Ok(()));
        check(&guard, &[], Err(Denied::Missing));
        check(&guard, &[("authorization", "")], Err(Denied::Invalid));
        check(&guard, &[("authorization", "Bearer")], Err(Denied::Invalid));
        check(&guard, &[("authorization", &token)], Err(Denied::Invalid));
        check(
            &guard,
            &[("authorization", &bearer.replace("Bearer", "Basic"))],
            Err(Denied::Invalid),
        );
        check(
            &guard,
            &[("authorization", &bearer[..bearer.len() - 1])],
            Err(Denied::Invalid),
        );
        check(
            &guard,
            &[("x-api-key", &token), ("authorization", &bearer)],
            Err(Denied::Invalid),
        );
        check(
            &guard,
            &[("x-api-key", &token), ("x-api-key", &token)],
            Err(Denied::Invalid),
        );
        let mixed = format!("{}{}", &token[..24], &other[24..]);
        check(&guard, &[("x-api-key", &mixed)], Err(Denied::Invalid));
        let unknown = format!("strata_{}_{}", "0".repeat(16), &token[24..]);
        check(&guard, &[("x-api-key", &unknown)], Err(Denied::Invalid));
    }

    #[test]
    fn revoked_and_expired_are_said_only_to_who_knows_the_secret() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyStore::beside(folder.path());
        let revoked = keys.create(new(None)).unwrap();
        keys.revoke(&revoked.key.id).unwrap();
        let soon = Timestamp::now() + SignedDuration::from_millis(50);
        let expired = keys.create(new(Some(soon))).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(60));
        let guard = Guard::new(keys, Log::start().unwrap()).unwrap();

        for (token, denied) in [
            (revoked.token, Denied::Revoked),
            (expired.token, Denied::Expired),
        ] {
            check(&guard, &[("x-api-key", &token)], Err(denied));
            let wrong = format!("{}{}", &token[..24], "0".repeat(64));
            check(&guard, &[("x-api-key", &wrong)], Err(Denied::Invalid));
        }
    }
}
