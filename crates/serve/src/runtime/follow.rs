//! The running server follows its store.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Weak,
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use strata_package::{Outcome, Selector};
use strata_spec::Name;

use super::{
    Asleep, Registry, Version,
    load::{Source, Wanted, cannot_be_followed, cannot_be_served},
    memory::to_sleep,
    repository::{Command, Refused, Wish},
    watch::Watch,
};
use crate::{
    ServeError,
    http::State,
    log::{Log, Problems},
    rollout::{OnRollout, adopt},
};

/// How often rollouts are judged and, where the operating system does not tell when a folder changes, the store is looked
/// at: some small files are read.
const EVERY: Duration = Duration::from_millis(250);

/// How often it is looked at where the operating system does tell, which it cannot for all kinds of file systems.
const ANYWAY: Duration = Duration::from_secs(2);

/// When a version that could not be opened is tried again. To open one may take long.
const AGAIN: Duration = Duration::from_secs(30);

/// For the last requests of a version that is to be loaded anew.
const GONE: Duration = Duration::from_secs(1);

/// Serves what the store says from now on, from a thread that ends with `state`.
///
/// A request keeps the version that it found, so it is answered wholly by one. What cannot be opened changes nothing for
/// callers: it is said once and shown with its model, and what is served goes on.
///
/// # Errors
/// The thread cannot be started.
pub(crate) fn follow(
    source: Source,
    state: &Arc<State>,
    commands: Receiver<Command>,
    log: Log,
    problems: Problems,
) -> io::Result<()> {
    let weak = Arc::downgrade(state);
    let failed = state.registry.current();
    let failed = failed.failed();
    let mut follower = Follower {
        source,
        problems,
        log,
        retired: Vec::new(),
        failed: failed
            .map(|(name, number)| ((name.clone(), number), Instant::now()))
            .collect(),
        unloaded: BTreeSet::new(),
        asleep: state.registry.current().asleep().clone(),
        watch: None,
        looked: Instant::now(),
    };
    let folder = follower.source.folder();
    match Watch::start(&folder, state.repository.waker()) {
        Ok(watch) => follower.watch = Some(watch),
        Err(error) => {
            let what = format!(
                "{} is looked at every quarter of a second",
                folder.display()
            );
            follower.problems.tell(what, &error);
        }
    }
    let thread = thread::Builder::new().name("strata-store".to_owned());
    thread.spawn(move || look_again_and_again(&mut follower, &weak, &commands))?;
    Ok(())
}

/// A thread, not a task: to open a version must not wait behind requests, nor they behind it.
///
/// What callers wish of models is done here too, so that one thread alone says what is served.
fn look_again_and_again(
    follower: &mut Follower,
    state: &Weak<State>,
    commands: &Receiver<Command>,
) {
    loop {
        let command = match commands.recv_timeout(EVERY) {
            Ok(command) => Some(command),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let Some(state) = state.upgrade() else { return };
        match command {
            Some(Command::Obey { model, wish, reply }) => {
                // Fails if the caller left meanwhile.
                let _ = reply.send(follower.obey(&model, wish, &state));
            }
            Some(Command::Look) | None if state.is_ready() => follower.tick(&state),
            Some(Command::Look) | None => {}
        }
    }
}

#[derive(Debug)]
struct Follower {
    source: Source,
    log: Log,
    /// No longer found, but perhaps still answering. Freed here, not by the last request: to free a large network takes time.
    retired: Vec<Arc<Version>>,
    /// When a version could not be opened.
    failed: BTreeMap<(Name, u64), Instant>,
    /// With a version, a model or the store.
    problems: Problems,
    /// Models that callers do not want served. Forgotten when the server ends.
    unloaded: BTreeSet<Name>,
    /// Models that do not fit into memory.
    asleep: BTreeMap<Name, Asleep>,
    /// None where the operating system does not tell of changes.
    watch: Option<Watch>,
    /// When the store was looked at last.
    looked: Instant,
}

impl Follower {
    /// Does what a caller wishes of a model.
    fn obey(&mut self, model: &Name, wish: Wish, state: &State) -> Result<(), Refused> {
        let wanted = self.source.wanted().map_err(|_| Refused::Failed)?;
        let is_served = state.registry.current().model(model.as_str()).is_some();
        let is_known = wanted.versions.iter().any(|(name, _)| name == model)
            || wanted.unknown.contains_key(model)
            || is_served;
        if !is_known {
            return Err(Refused::Unknown);
        }
        match wish {
            Wish::Wake => self.wake(model, state),
            Wish::Unload => {
                self.unloaded.insert(model.clone());
                self.asleep.remove(model);
                self.look(state);
                Ok(())
            }
            Wish::Load => {
                self.unloaded.remove(model);
                if self.asleep.contains_key(model) {
                    return self.wake(model, state);
                }
                self.retire_broken(model, state);
                // Tried again now, not when it is due.
                self.failed.retain(|(name, _), _| name != model);
                self.look(state);
                let is_served = state.registry.current().model(model.as_str()).is_some();
                let is_whole = !self.failed.keys().any(|(name, _)| name == model);
                if is_served && is_whole {
                    Ok(())
                } else {
                    Err(Refused::Failed)
                }
            }
        }
    }

    /// Brings a model back into memory, for which others that are idle go to sleep.
    fn wake(&mut self, model: &Name, state: &State) -> Result<(), Refused> {
        if let Some(bytes) = self.asleep.get(model).map(|asleep| asleep.bytes) {
            self.make_room(bytes, None, state);
            let current = state.registry.current();
            let is_full = current.memory().saturating_add(bytes) > self.source.memory;
            if is_full && !current.is_empty() {
                return Err(Refused::NoRoom);
            }
            self.asleep.remove(model);
        }
        self.look_with(Some(model), state);
        if state.registry.current().model(model.as_str()).is_some() {
            Ok(())
        } else {
            Err(Refused::Failed)
        }
    }

    /// Puts idle models to sleep until `more` bytes fit beside those that stay.
    fn make_room(&mut self, more: usize, except: Option<&Name>, state: &State) {
        let current = state.registry.current();
        let asleep = to_sleep(&current, self.source.memory, more, except);
        if asleep.is_empty() {
            return;
        }
        let next = current.with_asleep(&asleep);
        for (name, asleep) in next.asleep() {
            if asleep.bytes > self.source.memory {
                let what = format!("{name} is loaded anew for requests that come one by one");
                let problem = format!(
                    "it takes {} bytes in memory, and all models together may take {}: raise --memory",
                    asleep.bytes, self.source.memory
                );
                self.problems.tell(what, &problem);
            }
        }
        let gone = missing(&current, &next);
        self.asleep.clone_from(next.asleep());
        let gauge = &state.metrics.asleep_models;
        gauge.set(self.asleep.len() as i64);
        state.registry.exchange(next);
        drop(current);
        self.retired.extend(gone);
        self.free();
    }

    /// Takes away the versions of a model that failed while they computed, so that they are loaded anew.
    fn retire_broken(&mut self, model: &Name, state: &State) {
        let is_broken = |version: &Version| version.name == *model && version.batcher.is_broken();
        let current = state.registry.current();
        let next = current.without(is_broken);
        let gone = missing(&current, &next);
        drop(current);
        if gone.is_empty() {
            return;
        }
        state.registry.exchange(next);
        self.retired.extend(gone);
        // What is counted of the new one is shown only if the old one is gone. No request takes it long: it is refused.
        let until = Instant::now() + GONE;
        while Instant::now() < until {
            self.free();
            if !self.retired.iter().any(|version| is_broken(version)) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn free(&mut self) {
        self.retired
            .retain(|version| Arc::strong_count(version) > 1);
    }

    /// Says how rollouts ended here or why they are not carried out, and records the ends in the store.
    fn end_rollouts(&mut self, state: &State) {
        let current = state.registry.current();
        for (name, rollout) in current.rollouts() {
            let trial = match rollout {
                OnRollout::Trial(trial) => trial,
                OnRollout::Idle { problem, .. } => {
                    self.problems
                        .tell(format!("the rollout of {name} is idle"), problem);
                    continue;
                }
            };
            trial.judge();
            let (Some(ended), None) = (trial.ended(), &trial.rollout.ended) else {
                continue;
            };
            let (id, to) = (&trial.rollout.id, trial.rollout.to);
            let (what, is_back) = match ended.outcome {
                Outcome::RolledBack => ("rolled back", true),
                Outcome::Promoted => ("to be promoted", false),
            };
            let what = format!("the rollout {id} of {name} to version {to} is {what}");
            if self.problems.tell(what, &ended.reason) && is_back {
                state.metrics.rollouts.rolled_back.inc();
            }
            if let Err(error) = self.source.end_rollout(name, id, ended) {
                let what = format!("the end of the rollout {id} of {name} cannot be recorded");
                self.problems.tell(what, &error);
            }
        }
    }

    /// What is due from time to time, and when the store has changed.
    fn tick(&mut self, state: &State) {
        let is_due = match &self.watch {
            // Asked first: a change from here on is for the next time.
            Some(watch) => watch.take() || self.looked.elapsed() >= ANYWAY,
            None => true,
        };
        if is_due {
            self.look(state);
        } else {
            self.end_rollouts(state);
            self.free();
            self.make_room(0, None, state);
        }
    }

    fn look(&mut self, state: &State) {
        self.look_with(None, state);
    }

    /// Serves what the store says now. `woken` is not put to sleep for what is new.
    fn look_with(&mut self, woken: Option<&Name>, state: &State) {
        self.end_rollouts(state);
        self.exchange(state);
        self.make_room(0, woken, state);
    }

    fn exchange(&mut self, state: &State) {
        self.free();
        self.looked = Instant::now();
        let mut wanted = match self.source.wanted() {
            Ok(wanted) => wanted,
            Err(error) => {
                self.problems
                    .tell("the store cannot be followed".to_owned(), &error);
                state.metrics.store_reachable.set(0);
                return;
            }
        };
        if !self.source.is_mirror() {
            state.metrics.store_reachable.set(1);
        }
        self.asleep
            .retain(|name, _| wanted.versions.iter().any(|(wanted, _)| wanted == name));
        for (name, asleep) in &mut self.asleep {
            let own = wanted.versions.iter().filter(|(wanted, _)| wanted == name);
            asleep.numbers = own.map(|(_, number)| *number).collect();
            let aliases = wanted.aliases.iter();
            asleep.aliases = aliases
                .filter(|((wanted, _), _)| wanted == name)
                .map(|((_, alias), number)| (alias.to_string(), *number))
                .collect();
        }
        let is_wanted =
            |name: &Name| !self.unloaded.contains(name) && !self.asleep.contains_key(name);
        wanted.versions.retain(|(name, _)| is_wanted(name));
        wanted.aliases.retain(|(name, _), _| is_wanted(name));
        wanted.unknown.retain(|name, _| is_wanted(name));
        self.failed
            .retain(|version, _| wanted.versions.contains(version));
        let current = state.registry.current();
        let next = self.next(&wanted, &current, state);
        let broken: Vec<_> = current
            .versions()
            .filter(|version| version.batcher.is_broken())
            .collect();
        for version in &broken {
            let what = format!("{} failed while it computed", title(version));
            self.problems.tell(what, &ServeError::Broken);
        }
        let failed = next.missing() + broken.len();
        state.metrics.failed_versions.set(failed as i64);
        state.metrics.asleep_models.set(self.asleep.len() as i64);
        if next.is_same(&current) {
            return;
        }
        let fresh: Vec<String> = titles(&next, &current);
        let gone: Vec<Arc<Version>> = missing(&current, &next);
        state.registry.exchange(next);
        state.metrics.swaps.inc();
        if !fresh.is_empty() || !gone.is_empty() {
            let gone: Vec<String> = gone.iter().map(title).collect();
            let line = format!("now served: {}; no longer: {}", list(&fresh), list(&gone));
            self.log.write(line);
        }
        self.retired.extend(gone);
    }

    /// What is served from now on.
    fn next(&mut self, wanted: &Wanted, current: &Registry, state: &State) -> Registry {
        let mut next = Registry::default();
        // Models of which something that is wanted cannot be had keep all that they have.
        let mut kept: BTreeSet<Name> = BTreeSet::new();
        for (name, error) in &wanted.unknown {
            self.problems.tell(cannot_be_followed(name), error);
            kept.insert(name.clone());
        }
        for (name, number) in &wanted.versions {
            match self.version(name, *number, current, state) {
                Some(version) => next.add(version),
                None => {
                    kept.insert(name.clone());
                }
            }
        }
        for version in current.versions() {
            if kept.contains(&version.name) {
                next.add(Arc::clone(version));
            }
        }
        for (name, number) in self.failed.keys().chain(&wanted.unavailable) {
            let model = next.model(name.as_str());
            if model.and_then(|model| model.numbered(*number)).is_none() {
                next.add_failed(name, *number);
            }
        }
        for name in wanted.unknown.keys() {
            if next.model(name.as_str()).is_none() {
                next.add_unknown(name);
            }
        }
        for name in &self.unloaded {
            next.add_unloaded(name);
        }
        for (name, asleep) in &self.asleep {
            next.add_asleep(name, asleep.clone());
        }
        for ((name, alias), number) in &wanted.aliases {
            let before = current.model(name.as_str());
            let before = before.and_then(|model| model.alias(alias.as_str()));
            let is_served = |number: &u64| {
                let model = next.model(name.as_str());
                model.is_some_and(|model| model.numbered(*number).is_some())
            };
            // An alias of what cannot be served keeps its meaning as long as that is served.
            let number = Some(*number)
                .filter(is_served)
                .or(before.filter(is_served))
                .unwrap_or(*number);
            next.add_alias(name, alias, number);
        }
        for name in wanted.unknown.keys() {
            if let Some(before) = current.model(name.as_str()) {
                next.keep_aliases(name, before);
            }
        }
        let adopted = adopt(&wanted.rollouts, &next, current, &state.metrics.rollouts);
        next.set_rollouts(adopted);
        next
    }

    /// A version that is ready to answer; none if it cannot be opened.
    fn version(
        &mut self,
        name: &Name,
        number: u64,
        current: &Registry,
        state: &State,
    ) -> Option<Arc<Version>> {
        let served = current.model(name.as_str());
        if let Some(version) = served.and_then(|model| model.numbered(number)) {
            return Some(Arc::clone(version));
        }
        // Two of the same version would count in the same place, until the first to go takes it away.
        let is_it = |version: &Arc<Version>| {
            (&version.name, version.number) == (name, number) && !version.batcher.is_broken()
        };
        if let Some(index) = self.retired.iter().position(is_it) {
            return Some(self.retired.swap_remove(index));
        }
        let key = (name.clone(), number);
        if self.failed.get(&key).is_some_and(|at| at.elapsed() < AGAIN) {
            return None;
        }
        // A fault must cost one version, not this thread and with it all later ones.
        let load = || self.source.load(name, number, &state.metrics);
        let loaded = catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|_| {
            let selector = Selector::version(name.clone(), number);
            Err(ServeError::Fault { selector })
        });
        match loaded {
            Ok(version) => {
                self.failed.remove(&key);
                self.problems.forget(&cannot_be_served(name, number));
                Some(Arc::new(version))
            }
            Err(error) => {
                self.failed.insert(key, Instant::now());
                self.problems.tell(cannot_be_served(name, number), &error);
                None
            }
        }
    }
}

/// The versions of `of` that `other` has not.
fn missing(of: &Registry, other: &Registry) -> Vec<Arc<Version>> {
    let is_missing = |version: &&Arc<Version>| {
        let model = other.model(version.name.as_str());
        let same = model.and_then(|model| model.numbered(version.number));
        same.is_none_or(|same| !Arc::ptr_eq(same, version))
    };
    of.versions().filter(is_missing).map(Arc::clone).collect()
}

fn titles(of: &Registry, other: &Registry) -> Vec<String> {
    missing(of, other).iter().map(title).collect()
}

fn title(version: &Arc<Version>) -> String {
    format!("{}@{}", version.name, version.number)
}

fn list(titles: &[String]) -> String {
    if titles.is_empty() {
        return "none".to_owned();
    }
    titles.join(", ")
}
