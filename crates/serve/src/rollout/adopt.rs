use std::{collections::BTreeMap, sync::Arc};

use strata_package::{PackageError, Rollout};
use strata_spec::Name;

use super::{OnRollout, Trial, metrics::RolloutMetrics};
use crate::runtime::Registry;

/// The rollouts of what is to be served next. One that goes on keeps what `current` measured of it.
pub(crate) fn adopt(
    wanted: &BTreeMap<Name, Result<Rollout, PackageError>>,
    next: &Registry,
    current: &Registry,
    metrics: &RolloutMetrics,
) -> BTreeMap<Name, OnRollout> {
    let each = wanted.iter().map(|(name, rollout)| {
        let rollout = match rollout {
            Ok(rollout) => rollout,
            Err(error) => return (name.clone(), idle(None, error.to_string())),
        };
        let earlier = match current.rollout(name.as_str()) {
            Some(OnRollout::Trial(trial)) if trial.rollout.id == rollout.id => Some(trial),
            _ => None,
        };
        if let Some(problem) = problem(name, rollout, next) {
            return (name.clone(), idle(Some(rollout), problem));
        }
        let trial = match earlier {
            Some(trial) if trial.rollout == *rollout => Arc::clone(trial),
            earlier => {
                let earlier = earlier.map(|trial| &**trial);
                Arc::new(Trial::new(name.as_str(), rollout.clone(), earlier, metrics))
            }
        };
        (name.clone(), OnRollout::Trial(trial))
    });
    let adopted: BTreeMap<_, _> = each.collect();
    let is_idle = |on: &&OnRollout| matches!(on, OnRollout::Idle { .. });
    let idle = adopted.values().filter(is_idle).count();
    let is_running =
        |on: &&OnRollout| matches!(on, OnRollout::Trial(trial) if trial.ended().is_none());
    let running = adopted.values().filter(is_running).count();
    metrics.failed.set(idle as i64);
    metrics.running.set(running as i64);
    adopted
}

fn idle(rollout: Option<&Rollout>, problem: String) -> OnRollout {
    OnRollout::Idle {
        rollout: rollout.cloned().map(Box::new),
        problem,
    }
}

/// Why a rollout that is not over cannot be carried out.
fn problem(name: &Name, rollout: &Rollout, next: &Registry) -> Option<String> {
    let Rollout {
        alias, from, to, ..
    } = rollout;
    // A model that is not in memory is loaded before it is asked, and nothing of it can be told before.
    let model = next
        .model(name.as_str())
        .filter(|_| rollout.ended.is_none())?;
    let named = model.aliases().find(|(own, _)| *own == alias.as_str());
    if named.map(|(_, number)| number) != Some(*from) {
        return Some(format!("alias `{alias}` does not name version {from}"));
    }
    let (Some(base), Some(candidate)) = (model.numbered(*from), model.numbered(*to)) else {
        return Some(format!("version {to} is not served"));
    };
    let difference = base.interface.difference(&candidate.interface)?;
    Some(format!(
        "version {to} differs from version {from} in {difference}, so it cannot answer the same requests"
    ))
}
