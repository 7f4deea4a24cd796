use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::ToSpan;
use serde_json::{Value, json};
use strata_data::{Dataset, Images, Places, Preparer, load, load_offline};
use strata_package::{Identity, Sealing, Selector, Store};
use strata_serve::{Action, KeyModels, KeyStore, NewKey, ServeOptions, Server};
use strata_spec::{Preparation, Recipe};
use strata_train::Run;

use super::{
    serve::{asked_to_stop, runtime},
    train::learn,
};
use crate::{
    Stopped,
    args::Quickstart,
    files, heat_map,
    output::Output,
    packaging,
    places::{data_folder, new_run_folder},
    progress::duration,
};

const RECIPE: &str = include_str!("../../../../recipes/mnist-mlp.toml");
const RECIPE_NAME: &str = "mnist-mlp.toml";

/// Where everything of a quickstart lies.
struct Folder {
    root: PathBuf,
    /// Removed at the end.
    temporary: Option<tempfile::TempDir>,
}

pub(super) fn run(args: Quickstart, output: Output) -> anyhow::Result<()> {
    let folder = Folder::new(&args)?;
    // Before the training, so that nobody learns only after it that the keys are of no use.
    let identity_folder = folder.root.join("identity");
    let identity = if identity_folder.join("age.key").exists() {
        Identity::load(&identity_folder)?
    } else {
        Identity::init(&identity_folder)?
    };
    let (recipe, data) = recipe_and_data()?;
    let mut run = Run::create(
        &new_run_folder(&folder.root.join("runs"), "quickstart"),
        recipe,
        &folder.root,
    )?;
    let (source, digit) = (data.source.clone(), Digit::first_of(&data.test)?);
    let Some(trained) = learn(&mut run, data, output)? else {
        return Err(Stopped("stopped".to_owned()).into());
    };
    output.note(&format!(
        "test accuracy {:.4}, learned in {}",
        trained.test.accuracy,
        duration(trained.seconds)
    ));

    let store = Store::create_if_missing(&folder.root.join("store"))?;
    let manifest = packaging::package(&run, &trained, &store, &identity, Sealing::Own)?;
    output.note(&format!(
        "packaged {}@{}, sealed and signed",
        manifest.name, manifest.version
    ));

    let keys = KeyStore::beside(store.path());
    let token = keys
        .create(NewKey {
            name: "quickstart".to_owned(),
            actions: vec![Action::Infer, Action::Explain],
            models: KeyModels::Listed(vec![manifest.name.clone()]),
            expires: Some(jiff::Timestamp::now() + 24.hours() * 30),
        })?
        .token;
    let mut options = ServeOptions::new(store.path(), identity.access());
    options.models = Some(vec![Selector::version(
        manifest.name.clone(),
        manifest.version,
    )]);
    let server = bind(options, args.address)?;
    let address = server.local_addr();

    let runtime = runtime()?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let until = async {
        tokio::select! {
            _ = asked_to_stop(1) => {}
            _ = stopped => {}
        }
    };
    let serving = runtime.spawn(server.run(until));
    let asked = self_test(
        &folder.root,
        address,
        manifest.name.as_str(),
        &token,
        &digit,
        run.recipe(),
    )?;

    // Nobody can look into a folder that will be gone.
    let paths = folder.temporary.is_none().then(|| json!({
        "folder": folder.root, "store": store.path(), "run": run.folder(), "report": run.report(),
        "identity": identity_folder, "keys": keys.path(), "explanation": folder.root.join("explanation.png"),
    }));
    let value = json!({
        "data": source, "metrics": trained.test.named("test"), "model": manifest.name,
        "version": manifest.version, "address": format!("http://{address}"), "predicted": asked.label,
        "expected": digit.label, "completeness_error": asked.completeness_error, "files": paths,
    });
    output.result(&value, || {
        let text = format!(
            "test accuracy  {:.4} on {} ({})\n\
             self-test      the server takes digit.png for a {} (it is a {}); completeness error of the \
             explanation {:.1e}\n\
             address        http://{address}",
            trained.test.accuracy,
            source,
            duration(trained.seconds),
            asked.label,
            digit.label,
            asked.completeness_error,
        );
        if folder.temporary.is_some() {
            return format!(
                "{text}\nfiles          removed with their temporary folder; --folder DIR keeps them"
            );
        }
        let root = folder.root.display();
        format!(
            "{text}\n\
             files          {root}\n\
             report         {}\n\
             explanation    {root}/explanation.png\n\
             ask it         curl -H {} -d {} http://{address}/v2/models/{}/infer",
            run.report().display(),
            shell_word(&format!("@{root}/headers")),
            shell_word(&format!("@{root}/request.json")),
            manifest.name,
        )
    })?;
    if args.check {
        // Nobody listens any more if the server has ended by itself, which `serving` then tells.
        let _ = stop.send(());
    } else {
        output.note("serving until Ctrl-C");
    }
    let served = runtime.block_on(serving);
    // The server has waited for as long as it may; nothing that still computes is waited for again.
    runtime.shutdown_background();
    served.context("the server's task failed")??;
    Ok(())
}

impl Folder {
    fn new(args: &Quickstart) -> anyhow::Result<Self> {
        let (root, temporary) = match (&args.folder, args.check) {
            (Some(folder), _) => (folder.clone(), None),
            (None, false) => (data_folder()?.join("quickstart"), None),
            (None, true) => {
                let temporary = tempfile::tempdir().context("cannot make a temporary folder")?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        let root = std::path::absolute(&root)?;
        Ok(Self { root, temporary })
    }
}

/// MNIST if it is on this machine, else digits that are drawn: this command needs no network.
fn recipe_and_data() -> anyhow::Result<(Recipe, Dataset)> {
    let places = Places::from_env();
    let here = std::path::Path::new(".");
    let recipe = Recipe::parse(RECIPE, RECIPE_NAME, &[])?;
    let classes = recipe.tasks[0].classification.classes;
    let Preparation::Image(image) = &recipe.preparation;
    let preparer = Preparer::new(image);
    if let Some(data) = load_offline(&recipe.data, &preparer, here, classes, &places)? {
        return Ok((recipe, data));
    }
    let recipe = Recipe::parse(RECIPE, RECIPE_NAME, &["data.source=digits".to_owned()])?;
    let data = load(&recipe.data, &preparer, here, classes, &places, &mut |_| ())?;
    Ok((recipe, data))
}

/// The address that was asked for; if none was, the usual one, or any that is free.
fn bind(mut options: ServeOptions, address: Option<SocketAddr>) -> anyhow::Result<Server> {
    if let Some(address) = address {
        options.address = address;
        return Ok(Server::bind(options)?);
    }
    let mut any = options.clone();
    any.address.set_port(0);
    Server::bind(options)
        .or_else(|_| Server::bind(any))
        .map_err(Into::into)
}

/// A test image to ask about.
struct Digit {
    png: Vec<u8>,
    label: String,
}

impl Digit {
    fn first_of(images: &Images) -> anyhow::Result<Self> {
        let mut file = std::io::Cursor::new(Vec::new());
        let (width, height) = (images.width as u32, images.height as u32);
        let color = image::ExtendedColorType::L8;
        image::write_buffer_with_format(
            &mut file,
            images.row(0),
            width,
            height,
            color,
            image::ImageFormat::Png,
        )?;
        Ok(Self {
            png: file.into_inner(),
            label: images.labels[0].to_string(),
        })
    }
}

struct Asked {
    label: String,
    completeness_error: f64,
}

/// Asks the server as any caller would, and leaves what was asked and answered in the folder.
fn self_test(
    root: &Path,
    address: SocketAddr,
    model: &str,
    token: &str,
    digit: &Digit,
    recipe: &Recipe,
) -> anyhow::Result<Asked> {
    let input = json!({ "name": "image", "shape": [1], "datatype": "BYTES", "data": [STANDARD.encode(&digit.png)] });
    let question = json!({ "inputs": [input] });
    files::write(&root.join("digit.png"), &digit.png)?;
    files::write(
        &root.join("request.json"),
        serde_json::to_string_pretty(&question)?.as_bytes(),
    )?;
    write_secret(
        &root.join("headers"),
        &format!("Authorization: Bearer {token}\nContent-Type: application/json\n"),
    )?;

    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(30)))
        // The environment may name one, for every address.
        .proxy(None)
        .build()
        .into();
    let ask = |route: &str| -> anyhow::Result<Value> {
        let url = format!("http://{address}/v2/models/{model}/{route}");
        let request = agent
            .post(&url)
            .header("authorization", &format!("Bearer {token}"));
        let mut response = request
            .content_type("application/json")
            .send(question.to_string())?;
        Ok(serde_json::from_str(
            &response.body_mut().read_to_string()?,
        )?)
    };
    let answer = ask("infer").context("the self-test's question")?;
    let output = |name: &str| {
        answer["outputs"]
            .as_array()?
            .iter()
            .find(|output| output["name"] == name)
    };
    let label = output("label")
        .and_then(|label| label["data"][0].as_str())
        .context("the answer has no label")?;

    let explanation = ask("explain").context("the self-test's explanation")?;
    let found = explanation["outputs"]
        .as_array()
        .and_then(|outputs| outputs.first())
        .map(|output| &output["data"]);
    let values: Vec<f32> =
        serde_json::from_value(found.context("the explanation has no output")?.clone())?;
    let completeness_error = explanation["parameters"]["completeness_error"].as_f64();
    let Preparation::Image(image) = &recipe.preparation;
    let row = strata_data::Preparer::new(image).request(&digit.png)?;
    ensure!(
        values.len() == row.len(),
        "the explanation has {} values for {} numbers",
        values.len(),
        row.len()
    );
    files::write(
        &root.join("explanation.png"),
        &heat_map::png(image, &row, &values)?,
    )?;
    Ok(Asked {
        label: label.to_owned(),
        completeness_error: completeness_error
            .context("the explanation has no completeness error")?,
    })
}

/// A text as one word of a shell's command line.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "@/._-+,:=".contains(c);
    if text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Writes a file that only its owner may read.
fn write_secret(file: &Path, content: &str) -> anyhow::Result<()> {
    let folder = file.parent().context("a file in a folder")?;
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    std::io::Write::write_all(&mut temporary, content.as_bytes())?;
    temporary.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::shell_word;

    #[test]
    fn a_word_with_blanks_or_quotes_is_quoted() {
        assert_eq!(shell_word("@/a/b-1.png"), "@/a/b-1.png");
        assert_eq!(shell_word("@/a b/$c"), "'@/a b/$c'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
    }
}
