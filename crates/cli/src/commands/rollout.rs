use std::{env, fs, path::Path, time::Duration};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use strata_package::{Bounds, Figures, Outcome, Pick, Rollout, RolloutMode, Selector, Side};
use strata_spec::{Interface, Name};
use zeroize::Zeroizing;

use super::{models::exact, opened::access};
use crate::{
    args::{Rollout as Command, Start, Status},
    output::Output,
    stores::{change, look_at},
};

/// Many times what a report takes.
const MOST_BYTES: u64 = 1 << 20;

pub(super) fn run(command: Command, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Start(args) => start(args, output),
        Command::Weight {
            model,
            percent,
            store,
        } => {
            let rollout = change(store.store, &model, |store| {
                Ok(store.set_rollout_percent(&model, percent)?)
            })?;
            show(&model, &rollout, output)
        }
        Command::Status(args) => status(&args, output),
        Command::Promote { model, store } => {
            let rollout = change(store.store, &model, |store| {
                Ok(store.promote_rollout(&model)?)
            })?;
            show(&model, &rollout, output)
        }
        Command::Abort { model, store } => {
            change(
                store.store,
                &model,
                |store| Ok(store.abort_rollout(&model)?),
            )?;
            let value = json!({ "model": model, "rollout": null });
            output.result(&value, || format!("the rollout of {model} is no more"))
        }
    }
}

fn start(args: Start, output: Output) -> anyhow::Result<()> {
    let to = exact(&args.model, "strata rollout start NAME@VERSION")?;
    let mode = match (args.percent, args.shadow) {
        (Some(percent), _) => RolloutMode::Split(percent),
        (None, Some(percent)) => RolloutMode::Shadow(percent),
        (None, None) => bail!("expected --percent or --shadow"),
    };
    let bounds = Bounds {
        requests: args.min_requests,
        errors: args.max_errors,
        latency: args.max_latency,
        agreement: args.min_agreement,
    };
    let access = access(&args.access)?;
    let name = &args.model.name;
    let old = Selector {
        name: name.clone(),
        pick: Pick::Alias(args.alias.clone()),
    };
    let sticky = args.sticky.map(|header| header.to_ascii_lowercase());
    let rollout = change(args.store.store, name, |store| {
        let [old, new] = [&old, &args.model].map(|selector| store.manifest(selector, &access));
        let (old, new) = (old?.manifest, new?.manifest);
        if let Some(difference) = Interface::of(&old).difference(&Interface::of(&new)) {
            bail!(
                "{name}@{to} cannot answer the requests of {name}@{}: it differs in {difference}",
                old.version
            );
        }
        let (alias, after) = (&args.alias, args.promote_after);
        let sticky = sticky.clone();
        Ok(store.start_rollout(name, alias, to, mode, sticky, bounds, after)?)
    })?;
    show(name, &rollout, output)
}

fn show(name: &Name, rollout: &Rollout, output: Output) -> anyhow::Result<()> {
    let value = json!({ "model": name, "rollout": rollout });
    output.result(&value, || describe(name, rollout))
}

fn status(args: &Status, output: Output) -> anyhow::Result<()> {
    let name = &args.model;
    if let Some(server) = &args.server {
        let report = ask(server, name, args.key_file.as_deref())?;
        return output.result(&report, || describe_report(name, &report));
    }
    let rollout = look_at(args.store.store.clone(), name, |store| {
        if store.versions(name)?.is_empty() {
            store.resolve(&name.clone().into())?;
        }
        Ok(store.rollout(name)?)
    })?;
    let value = json!({ "model": name, "rollout": rollout });
    output.result(&value, || match &rollout {
        Some(rollout) => describe(name, rollout),
        None => format!("there is no rollout of {name}"),
    })
}

/// What a server says of a model's rollout.
fn ask(server: &str, name: &Name, key_file: Option<&Path>) -> anyhow::Result<Value> {
    let key = match key_file {
        Some(path) => fs::read_to_string(path).with_context(|| format!("{}", path.display()))?,
        None => env::var("STRATA_KEY")
            .ok()
            .context("no key for the server: give --key-file, or set STRATA_KEY")?,
    };
    let key = Zeroizing::new(format!("Bearer {}", key.trim()));
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(20)))
        .build()
        .into();
    let url = format!("{}/api/v1/rollouts/{name}", server.trim_end_matches('/'));
    let answer = agent.get(&url).header("authorization", key.as_str()).call();
    let mut answer = answer.with_context(|| format!("cannot ask {url}"))?;
    let body = answer.body_mut().with_config().limit(MOST_BYTES);
    let text = body
        .read_to_string()
        .with_context(|| format!("cannot ask {url}"))?;
    let status = answer.status();
    let report: Value = serde_json::from_str(&text)
        .with_context(|| format!("{url}: no answer of a Strata server (status {status})"))?;
    if status != 200 {
        bail!(
            "{url}: {}",
            report["error"].as_str().unwrap_or(status.as_str())
        );
    }
    Ok(report)
}

/// For people.
fn describe(name: &Name, rollout: &Rollout) -> String {
    let Rollout {
        alias, from, to, ..
    } = rollout;
    let what = match (&rollout.ended, rollout.mode) {
        (Some(ended), _) => {
            let how = match ended.outcome {
                Outcome::Promoted => format!("{name}:{alias} is version {to}"),
                Outcome::RolledBack => format!("rolled back, {name}:{alias} is version {from}"),
            };
            let figures = ended.figures.as_ref().map(table).unwrap_or_default();
            return format!("{how}: {}\n{figures}", ended.reason);
        }
        (None, RolloutMode::Split(percent)) => format!("{percent} of the requests go to"),
        (None, RolloutMode::Shadow(percent)) => {
            format!("copies of {percent} of the requests go to")
        }
    };
    let mut text = format!("{name}:{alias} is version {from}, and {what} version {to}");
    if let Some(header) = &rollout.sticky {
        text.push_str(&format!(", the same for equal `{header}`"));
    }
    let bounds = &rollout.bounds;
    text.push_str(&format!(
        "\nrolled back if its share of errors is more than {} larger or 95 of 100 requests take more than {} times as long",
        bounds.errors, bounds.latency
    ));
    if let Some(agreement) = bounds.agreement {
        text.push_str(&format!(", or if less than {agreement} of the rows agree"));
    }
    if let Some(after) = rollout.promote_after {
        text.push_str(&format!("; promoted after {after} requests within that"));
    }
    text
}

fn describe_report(name: &Name, report: &Value) -> String {
    let state = report["state"].as_str().unwrap_or("unknown");
    let why = [&report["problem"], &report["ended"]["reason"]];
    let why = why.into_iter().find_map(Value::as_str);
    let rollout = &report["rollout"];
    let mut text = match (
        rollout["base"]["version"].as_u64(),
        rollout["candidate"]["version"].as_u64(),
    ) {
        (Some(from), Some(to)) => format!("{name} from version {from} to {to}: {state}"),
        _ => format!("{name}: {state}"),
    };
    if let Some(why) = why {
        text.push_str(&format!(": {why}"));
    }
    if let Ok(figures) = serde_json::from_value(report["figures"].clone()) {
        text.push_str(&format!("\n{}", table(&figures)));
    }
    text
}

fn table(figures: &Figures) -> String {
    let mut text = format!(
        "{:<10}{:>10}{:>8}{:>10}{:>10}{:>10}{:>10}",
        "", "requests", "errors", "mean ms", "p50", "p95", "p99"
    );
    for (name, side) in [("base", figures.base), ("candidate", figures.candidate)] {
        let Side {
            requests,
            errors,
            mean_ms,
            p50_ms,
            p95_ms,
            p99_ms,
        } = side;
        text.push_str(&format!(
            "\n{name:<10}{requests:>10}{errors:>8}{mean_ms:>10.3}{p50_ms:>10.3}{p95_ms:>10.3}{p99_ms:>10.3}"
        ));
    }
    if let Some(compared) = &figures.compared {
        text.push_str(&format!(
            "\n{} of {} rows agree ({:.2} %); distance {:.4} on average, {:.4} at most; {} copies dropped",
            compared.agreeing,
            compared.rows,
            100.0 * compared.agreement,
            compared.mean_distance,
            compared.max_distance,
            compared.dropped
        ));
    }
    text
}
