use std::fmt::Write;

use serde_json::{Value, json};
use strata_spec::{Digest, Name};

/// Where an answer comes from, as the start of its JSON; composed once, since it is the same in every answer.
#[derive(Debug)]
pub(crate) struct Origin {
    /// `{"model_name":…,"model_version":…`
    model: String,
    /// `,"parameters":{…` without the closing brace.
    parameters: String,
}

impl Origin {
    /// The protocol allows only texts, numbers and truth values as parameters, so the levels are one text
    /// with commas.
    pub(crate) fn new(name: &Name, version: u64, digest: Digest, levels: &[String]) -> Self {
        let digest = json!(digest.to_string());
        let levels = json!(levels.join(","));
        Self {
            model: format!(r#"{{"model_name":"{name}","model_version":"{version}""#),
            parameters: format!(
                r#","parameters":{{"version":{version},"digest":{digest},"levels":{levels}"#
            ),
        }
    }

    /// The start of an answer, up to and with its parameters; `more` are further ones.
    pub(crate) fn write(&self, body: &mut String, id: Option<&str>, more: &[(&str, Value)]) {
        body.push_str(&self.model);
        // Writing to a string cannot fail.
        if let Some(id) = id {
            let _ = write!(body, r#","id":{}"#, json!(id));
        }
        body.push_str(&self.parameters);
        for (name, value) in more {
            let _ = write!(body, r#","{name}":{value}"#);
        }
        body.push('}');
    }
}
