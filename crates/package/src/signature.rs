//! Signatures in the OpenSSF Model Signing format, version 1.0
//! (<https://github.com/ossf/model-signing-spec>): a Sigstore bundle 0.3 around a DSSE envelope around an
//! in-toto statement that lists every file's digest.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use strata_spec::Digest;

use crate::{
    files::digest,
    keys::{KeyError, Signer, Verifier},
};

/// The signature's file in a package.
pub(crate) const SIGNATURE_FILE: &str = "model.sig";

const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";

/// The files of a signed folder: paths relative to it, with `/`, and the digests of their contents.
pub(crate) type Files = BTreeMap<String, Digest>;

/// Why a signature does not hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// Not a bundle of the kind that is read here.
    #[error("not a model signature: {0}")]
    Form(String),
    /// Signed with another key than the one that it is checked with.
    #[error("signed with another key (its hint is {found}, the key's is {expected})")]
    OtherKey {
        /// The hint of the key that it is checked with.
        expected: String,
        /// The hint in the signature.
        found: String,
    },
    /// The signature is not that of the key over the content.
    #[error("the signature does not hold: the package was changed, or signed with another key")]
    Wrong,
    /// The key cannot sign.
    #[error(transparent)]
    Key(#[from] KeyError),
}

// Fields outside the signed payload are read strictly, so that nothing in the file can change unnoticed.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Bundle {
    media_type: String,
    verification_material: VerificationMaterial,
    dsse_envelope: Envelope,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VerificationMaterial {
    public_key: KeyHint,
    /// Always empty: a key of one's own has no transparency log.
    #[serde(default)]
    tlog_entries: [(); 0],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyHint {
    hint: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: [EnvelopeSignature; 1],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeSignature {
    sig: String,
    #[serde(default)]
    keyid: String,
}

// Unknown fields of the signed payload are left alone, as the format asks of its readers.
#[derive(Serialize, Deserialize)]
struct Statement {
    #[serde(rename = "_type")]
    statement_type: String,
    subject: [Subject; 1],
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Serialize, Deserialize)]
struct Subject {
    name: String,
    digest: SubjectDigest,
}

#[derive(Serialize, Deserialize)]
struct SubjectDigest {
    sha256: String,
}

#[derive(Serialize, Deserialize)]
struct Predicate {
    serialization: Serialization,
    resources: Vec<Resource>,
}

/// How the files were digested. What the signer ignored is no matter here: no file may be unlisted.
#[derive(Serialize, Deserialize)]
struct Serialization {
    method: String,
    hash_type: String,
    allow_symlinks: bool,
    #[serde(default)]
    ignore_paths: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Resource {
    name: String,
    algorithm: String,
    digest: String,
}

/// The signature file of a folder with `files`; `subject` is a name for people, which nothing depends on.
pub(crate) fn sign(
    subject: &str,
    files: &Files,
    signer: &Signer,
) -> Result<Vec<u8>, SignatureError> {
    // The format orders paths by their components: `a/b` before `a-b`, although `-` is less than `/`.
    let mut ordered: Vec<(&String, &Digest)> = files.iter().collect();
    ordered.sort_by_key(|(path, _)| path.split('/').collect::<Vec<_>>());
    let root = root_digest(ordered.iter().map(|(_, digest)| *digest));
    let resource = |(path, digest): (&String, &Digest)| Resource {
        name: path.clone(),
        algorithm: "sha256".to_owned(),
        digest: digest.hex(),
    };
    let statement = Statement {
        statement_type: STATEMENT_TYPE.to_owned(),
        subject: [Subject {
            name: subject.to_owned(),
            digest: SubjectDigest { sha256: root.hex() },
        }],
        predicate_type: PREDICATE_TYPE.to_owned(),
        predicate: Predicate {
            serialization: Serialization {
                method: "files".to_owned(),
                hash_type: "sha256".to_owned(),
                allow_symlinks: false,
                ignore_paths: vec![SIGNATURE_FILE.to_owned()],
            },
            resources: ordered.into_iter().map(resource).collect(),
        },
    };
    let payload = serde_json::to_vec_pretty(&statement).map_err(form_error)?;
    let signature = signer.sign(&pre_authentication(&payload))?;
    let bundle = Bundle {
        media_type: BUNDLE_TYPE.to_owned(),
        verification_material: VerificationMaterial {
            public_key: KeyHint {
                hint: Some(signer.verifier().hint()),
            },
            tlog_entries: [],
        },
        dsse_envelope: Envelope {
            payload: BASE64_STANDARD.encode(payload),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures: [EnvelopeSignature {
                sig: BASE64_STANDARD.encode(signature),
                keyid: String::new(),
            }],
        },
    };
    serde_json::to_vec(&bundle).map_err(form_error)
}

/// The files that a signature file lists, once it is certain that `verifier`'s key signed that list.
pub(crate) fn verify(bundle: &[u8], verifier: &Verifier) -> Result<Files, SignatureError> {
    let bundle: Bundle = serde_json::from_slice(bundle).map_err(form_error)?;
    expect("media type", &bundle.media_type, BUNDLE_TYPE)?;
    let envelope = bundle.dsse_envelope;
    expect("payload type", &envelope.payload_type, PAYLOAD_TYPE)?;
    if let Some(found) = bundle.verification_material.public_key.hint {
        let expected = verifier.hint();
        if found != expected {
            let found = found
                .chars()
                .take(64)
                .collect::<String>()
                .escape_debug()
                .to_string();
            return Err(SignatureError::OtherKey { expected, found });
        }
    }
    let [signature] = envelope.signatures;
    let payload = BASE64_STANDARD
        .decode(envelope.payload)
        .map_err(form_error)?;
    let signature = BASE64_STANDARD.decode(signature.sig).map_err(form_error)?;
    if !verifier.holds(&pre_authentication(&payload), &signature) {
        return Err(SignatureError::Wrong);
    }
    files_of(serde_json::from_slice(&payload).map_err(form_error)?)
}

fn files_of(statement: Statement) -> Result<Files, SignatureError> {
    expect("statement type", &statement.statement_type, STATEMENT_TYPE)?;
    expect("predicate type", &statement.predicate_type, PREDICATE_TYPE)?;
    let Predicate {
        serialization,
        resources,
    } = statement.predicate;
    expect("serialization method", &serialization.method, "files")?;
    expect("hash type", &serialization.hash_type, "sha256")?;

    let mut digests = Vec::with_capacity(resources.len());
    let mut files = Files::new();
    for resource in resources {
        expect("algorithm", &resource.algorithm, "sha256")?;
        let digest = format!("sha256:{}", resource.digest)
            .parse()
            .map_err(form_error)?;
        digests.push(digest);
        let name = resource.name;
        if files.insert(name.clone(), digest).is_some() {
            return Err(SignatureError::Form(format!(
                "lists `{}` twice",
                name.escape_debug()
            )));
        }
    }
    let [subject] = statement.subject;
    expect(
        "root digest",
        &subject.digest.sha256,
        &root_digest(&digests).hex(),
    )?;
    Ok(files)
}

/// The digest of all digests, one after another.
fn root_digest<'a>(digests: impl IntoIterator<Item = &'a Digest>) -> Digest {
    let bytes: Vec<u8> = digests
        .into_iter()
        .flat_map(|digest| *digest.as_bytes())
        .collect();
    digest(&bytes)
}

/// DSSE's pre-authentication encoding of the payload (<https://github.com/secure-systems-lab/dsse>,
/// protocol 1.0).
fn pre_authentication(payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "DSSEv1 {} {PAYLOAD_TYPE} {} ",
        PAYLOAD_TYPE.len(),
        payload.len()
    );
    [head.as_bytes(), payload].concat()
}

fn expect(what: &str, found: &str, expected: &str) -> Result<(), SignatureError> {
    if found == expected {
        return Ok(());
    }
    let found: String = found.chars().take(100).collect();
    Err(SignatureError::Form(format!(
        "expected {what} `{expected}`, found `{}`",
        found.escape_debug()
    )))
}

fn form_error(error: impl std::fmt::Display) -> SignatureError {
    SignatureError::Form(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        ["a/b", "a-b", "manifest.json"]
            .map(|path| (path.to_owned(), digest(path.as_bytes())))
            .into()
    }

    #[test]
    fn a_signature_reads_back_the_files_that_were_signed() {
        let signer = Signer::generate().unwrap();
        let bundle = sign("model", &files(), &signer).unwrap();
        assert_eq!(verify(&bundle, &signer.verifier()).unwrap(), files());
    }

    #[test]
    fn files_are_listed_by_path_components() {
        let signer = Signer::generate().unwrap();
        let bundle: Bundle =
            serde_json::from_slice(&sign("model", &files(), &signer).unwrap()).unwrap();
        let payload = BASE64_STANDARD
            .decode(bundle.dsse_envelope.payload)
            .unwrap();
        let statement: Statement = serde_json::from_slice(&payload).unwrap();
        let names: Vec<String> = statement
            .predicate
            .resources
            .into_iter()
            .map(|file| file.name)
            .collect();
        assert_eq!(names, ["a/b", "a-b", "manifest.json"]);
    }

    #[test]
    fn another_key_is_told_from_a_changed_package() {
        let [signer, other] = [(); 2].map(|()| Signer::generate().unwrap());
        let bundle = sign("model", &files(), &signer).unwrap();
        assert!(matches!(
            verify(&bundle, &other.verifier()),
            Err(SignatureError::OtherKey { .. })
        ));
        let changed = String::from_utf8(bundle)
            .unwrap()
            .replace(&signer.verifier().hint(), &other.verifier().hint());
        assert!(matches!(
            verify(changed.as_bytes(), &other.verifier()),
            Err(SignatureError::Wrong)
        ));
    }

    #[test]
    fn a_statement_of_another_kind_is_refused() {
        let statement = |change: &dyn Fn(&mut Statement)| {
            let resource = Resource {
                name: "a".to_owned(),
                algorithm: "sha256".to_owned(),
                digest: digest(b"a").hex(),
            };
            let mut statement = Statement {
                statement_type: STATEMENT_TYPE.to_owned(),
                subject: [Subject {
                    name: "m".to_owned(),
                    digest: SubjectDigest {
                        sha256: root_digest([&digest(b"a")]).hex(),
                    },
                }],
                predicate_type: PREDICATE_TYPE.to_owned(),
                predicate: Predicate {
                    serialization: Serialization {
                        method: "files".to_owned(),
                        hash_type: "sha256".to_owned(),
                        allow_symlinks: true,
                        ignore_paths: Vec::new(),
                    },
                    resources: vec![resource],
                },
            };
            change(&mut statement);
            files_of(statement)
        };
        assert!(statement(&|_| ()).is_ok());
        assert!(statement(&|s| s.statement_type.push('x')).is_err());
        assert!(
            statement(&|s| s.predicate_type = "https://model_signing/Digests/v0.1".to_owned())
                .is_err()
        );
        assert!(statement(&|s| s.predicate.serialization.method = "shards".to_owned()).is_err());
        assert!(statement(&|s| s.predicate.serialization.hash_type = "blake3".to_owned()).is_err());
        assert!(statement(&|s| s.predicate.resources[0].algorithm = "md5".to_owned()).is_err());
        assert!(statement(&|s| s.predicate.resources[0].digest.push('0')).is_err());
        assert!(statement(&|s| s.subject[0].digest.sha256 = digest(b"b").hex()).is_err());
        assert!(statement(&|s| s.predicate.resources.clear()).is_err());
    }
}
