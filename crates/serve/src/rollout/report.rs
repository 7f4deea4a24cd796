//! `GET /api/v1/rollouts` and `/api/v1/rollouts/{model}`: what was measured, for people and programs.

use serde_json::{Value, json};
use strata_package::{Outcome, Rollout};

use super::{OnRollout, Trial};
use crate::{
    access::Caller,
    http::{Refusal, Response, State, json as response},
    runtime::Registry,
};

/// Those of the models that the caller's key is for, by name.
pub(crate) fn reports(state: &State, caller: &Caller) -> Response {
    let registry = state.registry.current();
    let covered = registry
        .rollouts()
        .iter()
        .filter(|(name, _)| caller.covers(name.as_str()));
    let all: Vec<Value> = covered
        .map(|(name, rollout)| describe(&registry, name.as_str(), rollout))
        .collect();
    response(json!({ "rollouts": all }).to_string())
}

/// That of one model.
pub(crate) fn report(state: &State, name: &str) -> Result<Response, Refusal> {
    let registry = state.registry.current();
    let report = match registry.rollout(name) {
        Some(rollout) => describe(&registry, name, rollout),
        None if registry.model(name).is_some() || registry.is_asleep(name) => {
            json!({ "model": name, "state": "none" })
        }
        None => {
            let problem = format!("no model `{}`", name.escape_debug());
            return Err(Refusal::NotFound(problem));
        }
    };
    Ok(response(report.to_string()))
}

fn describe(registry: &Registry, name: &str, on_rollout: &OnRollout) -> Value {
    let (state, settings, problem) = match on_rollout {
        OnRollout::Trial(trial) => (state(trial), Some(&trial.rollout), None),
        OnRollout::Idle { rollout, problem } => ("idle", rollout.as_deref(), Some(problem)),
    };
    let mut report = json!({ "model": name, "state": state });
    if let Some(problem) = problem {
        report["problem"] = json!(problem);
    }
    if let Some(rollout) = settings {
        let digest = |number: u64| {
            let version = registry.model(name)?.numbered(number)?;
            Some(version.digest.to_string())
        };
        let version = |number: u64| json!({ "version": number, "digest": digest(number) });
        let Rollout {
            id,
            alias,
            from,
            to,
            mode,
            sticky,
            bounds,
            promote_after,
            started,
            ended: _,
        } = rollout;
        report["rollout"] = json!({
            "id": id, "alias": alias, "base": version(*from), "candidate": version(*to), "mode": mode, "sticky": sticky,
            "bounds": bounds, "promote_after": promote_after, "started": started,
        });
    }
    if let OnRollout::Trial(trial) = on_rollout {
        let ended = trial.ended();
        let figures = ended.and_then(|ended| ended.figures.clone());
        report["figures"] = json!(figures.unwrap_or_else(|| trial.counts.figures()));
        if let Some(ended) = ended {
            report["ended"] = json!({ "at": ended.at, "reason": ended.reason });
        }
    }
    report
}

fn state(trial: &Trial) -> &'static str {
    match trial.ended().map(|ended| ended.outcome) {
        None => "running",
        Some(Outcome::Promoted) => "promoted",
        Some(Outcome::RolledBack) => "rolled-back",
    }
}
