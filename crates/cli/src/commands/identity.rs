use serde_json::json;
use strata_package::Identity;

use crate::{
    args::{Identity as Command, IdentityArgs},
    output::Output,
};

pub(super) fn run(command: Command, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Init(IdentityArgs { identity }) => {
            let folder = match identity {
                Some(folder) => folder,
                None => Identity::folder()?,
            };
            let made = Identity::init(&folder)?;
            show(&made, output)?;
            output.note(&format!(
                "made in {}: keep age.key and signing.key secret and safe. Without age.key no sealed package opens \
                 again.",
                folder.display()
            ));
            Ok(())
        }
        Command::Show(IdentityArgs { identity }) => {
            show(&Identity::find(identity.as_deref())?, output)
        }
    }
}

fn show(identity: &Identity, output: Output) -> anyhow::Result<()> {
    let (recipient, verifier) = (identity.recipient().to_string(), identity.verifier());
    let value = json!({ "age_recipient": recipient, "signing_public_key": verifier.to_pem() });
    output.result(&value, || format!("{recipient}\n{}", verifier.to_pem()))
}
