//! From a recipe's strategy to what each level does, step by step.

use strata_nn::{Learns, Objective, Role, auxiliary_head, side_layers};
use strata_spec::{
    Boundary, FeatureCache, Head, InfoPro, Layer, Level, Objective as Word, Recipe, Schedule,
    level_shapes,
};

/// Share of cross-entropy in `predsim` (Nøkland & Eidnes 2019, section 3.1).
const PREDICTION_OF_PREDSIM: f64 = 0.01;
/// What reconstruction and prediction count in `infopro` at the highest level that has it (Wang et al. 2021, appendix).
const INFOPRO_HIGHEST: InfoPro = InfoPro {
    reconstruction: 0.0,
    prediction: 1.0,
};

/// What a network learns with, and when.
#[derive(Clone, Debug)]
pub(crate) struct Curriculum {
    /// The recipe's levels, with auxiliary heads where an objective needs one.
    pub(crate) levels: Vec<Level>,
    /// What objectives need beside heads, for each level.
    pub(crate) sides: Vec<Vec<Layer>>,
    /// At least one; they follow each other.
    pub(crate) phases: Vec<Phase>,
}

/// Some epochs in which the roles stay the same.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Phase {
    /// What each level does.
    pub(crate) roles: Vec<Role>,
    /// The lowest level that takes part in a step: what enters it was computed once, for all steps.
    pub(crate) first: usize,
    /// Its first epoch, counted from 0, and those of it.
    pub(crate) first_epoch: u64,
    pub(crate) epochs: u64,
    /// The same of the stretch over which the learning rate's schedule runs.
    pub(crate) schedule: (u64, u64),
}

impl Phase {
    /// The highest level with an objective: whose answers are measured while it lasts.
    pub(crate) fn top(&self) -> usize {
        let top = self.roles.iter().rposition(|role| role.objective.is_some());
        top.expect("a phase has an objective")
    }
}

impl Curriculum {
    pub(crate) fn of(recipe: &Recipe) -> Self {
        let train = &recipe.train;
        let count = recipe.levels.len();
        let shapes = level_shapes(&recipe.input_shape(), &recipe.levels).expect("a checked recipe");
        let rules: Vec<_> = (0..count)
            .map(|level| train.strategy.rule(level, count))
            .collect();
        let mut levels = recipe.levels.clone();
        for (index, level) in levels.iter_mut().enumerate() {
            if rules[index].objective && level.head.is_none() {
                let task = recipe.final_task();
                let mut layers = setting(recipe, index).auxiliary;
                if layers.is_empty() {
                    layers = auxiliary_head(&shapes[index].output, task.classification.classes);
                }
                level.head = Some(Head {
                    task: task.name.clone(),
                    layers,
                    mirrored: false,
                });
            }
        }
        let objectives: Vec<Objective> = (0..count).map(|level| objective(recipe, level)).collect();
        let sides = objectives
            .iter()
            .zip(&rules)
            .zip(&shapes)
            .map(|((objective, rule), shapes)| {
                if rule.objective {
                    side_layers(*objective, &recipe.input_shape(), &shapes.output)
                } else {
                    Vec::new()
                }
            })
            .collect();
        let learner = |level: usize| Role {
            learns: Learns::All,
            below: rules[level].below,
            objective: rules[level].objective.then_some(objectives[level]),
            rate: setting(recipe, level).rate,
        };
        let epochs = train.epochs as u64;
        let phases = match rules[0].learns {
            Schedule::AllAtOnce => vec![Phase {
                roles: (0..count).map(learner).collect(),
                first: 0,
                first_epoch: 0,
                epochs,
                schedule: (0, epochs),
            }],
            Schedule::Turn(_) => turns(recipe, learner),
            Schedule::From(_) => stages(recipe, learner),
        };
        Self {
            levels,
            sides,
            phases,
        }
    }

    /// Epochs of the whole training.
    pub(crate) fn epochs(&self) -> u64 {
        self.phases.iter().map(|phase| phase.epochs).sum()
    }

    /// The phase of an epoch, counted from 0, by its number; of the last one after the end.
    pub(crate) fn phase_of(&self, epoch: u64) -> usize {
        let begun = self
            .phases
            .iter()
            .filter(|phase| phase.first_epoch <= epoch);
        begun.count().max(1) - 1
    }
}

/// One level after another; those below are frozen, those above not there yet.
fn turns(recipe: &Recipe, learner: impl Fn(usize) -> Role) -> Vec<Phase> {
    let mut first_epoch = 0;
    let turn = |level: usize| {
        let epochs = setting(recipe, level).epochs.unwrap_or(recipe.train.epochs) as u64;
        let roles = (0..recipe.levels.len()).map(|other| {
            if other == level {
                learner(other)
            } else {
                Role::FROZEN
            }
        });
        let is_cached = recipe.train.greedy.cache != FeatureCache::None;
        let phase = Phase {
            roles: roles.collect(),
            first: if is_cached { level } else { 0 },
            first_epoch,
            epochs,
            schedule: (first_epoch, epochs),
        };
        first_epoch += epochs;
        phase
    };
    (0..recipe.levels.len()).map(turn).collect()
}

/// The top level's head first, then with each stage one body more, from the top.
fn stages(recipe: &Recipe, learner: impl Fn(usize) -> Role) -> Vec<Phase> {
    let train = &recipe.train;
    let (count, epochs) = (recipe.levels.len(), train.epochs as u64);
    let begin = |stage: u64| match train.staged.epochs {
        Some(each) => stage * each as u64,
        None => stage * epochs / (2 * count as u64),
    };
    let mut phases: Vec<Phase> = Vec::new();
    for stage in 0..=count {
        let first_epoch = begin(stage as u64);
        let end = if stage == count {
            epochs
        } else {
            begin(stage as u64 + 1).min(epochs)
        };
        if first_epoch >= end {
            continue;
        }
        let role = |level: usize| {
            let from_top = count - 1 - level;
            let own = learner(level);
            let rate = own.rate * train.staged.decay.powi(from_top as i32);
            let learns = match from_top {
                _ if from_top < stage => Learns::All,
                0 => Learns::Head,
                _ => Learns::Nothing,
            };
            // Below the lowest level that learns nobody waits for a gradient.
            let below = if from_top + 1 >= stage {
                Boundary::Stop
            } else {
                own.below
            };
            Role {
                learns,
                below,
                rate,
                ..own
            }
        };
        phases.push(Phase {
            roles: (0..count).map(role).collect(),
            first: 0,
            first_epoch,
            epochs: end - first_epoch,
            schedule: (0, epochs),
        });
    }
    phases
}

fn setting(recipe: &Recipe, level: usize) -> strata_spec::LevelTraining {
    let name = &recipe.levels[level].name;
    recipe.train.levels.get(name).cloned().unwrap_or_default()
}

/// The objective of a level, if its strategy gives it one.
fn objective(recipe: &Recipe, level: usize) -> Objective {
    let setting = setting(recipe, level);
    let last = recipe.levels.len() - 1;
    let word = match setting.objective.unwrap_or(recipe.train.objective) {
        // Nothing is above the top level that its features should be good for.
        _ if level == last => Word::CrossEntropy,
        word => word,
    };
    let objective = match word {
        Word::CrossEntropy => Objective::CROSS_ENTROPY,
        Word::PredSim => Objective {
            prediction: PREDICTION_OF_PREDSIM,
            similarity: 1.0 - PREDICTION_OF_PREDSIM,
            reconstruction: 0.0,
        },
        Word::InfoPro => {
            let lowest = recipe.train.infopro;
            // From 0 at the lowest level to 1 at the highest below the top.
            let height = level as f64 / (last.max(2) - 1) as f64;
            let along = |from: f64, to: f64| from + (to - from) * height;
            Objective {
                prediction: along(lowest.prediction, INFOPRO_HIGHEST.prediction),
                similarity: 0.0,
                reconstruction: along(lowest.reconstruction, INFOPRO_HIGHEST.reconstruction),
            }
        }
    };
    objective.times(setting.weight)
}

#[cfg(test)]
mod tests {
    use strata_nn::Learns::{All, Head as HeadOnly, Nothing};

    use super::*;

    const RECIPE: &str = r#"
        format = 1
        name = "small"
        data = { source = "digits" }
        preparation = { image = { height = 28, width = 28 } }
        tasks = [{ name = "digit", classification = { classes = 10 } }]
        levels = [
            { name = "low", layers = ["flatten", { dense = { units = 8 } }] },
            { name = "middle", layers = [{ dense = { units = 8 } }] },
            { name = "top", layers = [{ dense = { units = 8 } }], head = { task = "digit", layers = [{ dense = { units = 10 } }] } },
        ]
        train = { epochs = 6 }
    "#;

    fn curriculum(settings: &[&str]) -> Curriculum {
        let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        Curriculum::of(&Recipe::parse(RECIPE, "r.toml", &settings).unwrap())
    }

    fn learns(phase: &Phase) -> Vec<Learns> {
        phase.roles.iter().map(|role| role.learns).collect()
    }

    #[test]
    fn staged_learning_begins_with_the_head_and_ends_with_all() {
        let found = curriculum(&["train.strategy=staged", "train.staged.decay=0.1"]);
        let stages = [
            [Nothing, Nothing, HeadOnly],
            [Nothing, Nothing, All],
            [Nothing, All, All],
            [All, All, All],
        ];
        for (index, (phase, expected)) in found.phases.iter().zip(stages).enumerate() {
            assert_eq!(learns(phase), expected);
            assert_eq!(phase.first_epoch, index as u64);
            assert_eq!((phase.top(), phase.schedule), (2, (0, 6)));
        }
        assert_eq!((found.phases.len(), found.epochs()), (4, 6));
        let rates: Vec<f64> = found.phases[3].roles.iter().map(|role| role.rate).collect();
        assert!((rates[0] - 0.01).abs() < 1e-12 && (rates[1] - 0.1).abs() < 1e-12);
        assert_eq!(
            [0, 1, 2, 5, 9].map(|epoch| found.phase_of(epoch)),
            [0, 1, 2, 3, 3]
        );
    }

    #[test]
    fn greedy_turns_have_epochs_of_their_own() {
        let found = curriculum(&["train.strategy=greedy", "train.levels.middle.epochs=2"]);
        let spans: Vec<_> = found
            .phases
            .iter()
            .map(|p| (p.first_epoch, p.epochs, p.first))
            .collect();
        assert_eq!(spans, [(0, 6, 0), (6, 2, 1), (8, 6, 2)]);
        assert_eq!(learns(&found.phases[1]), [Nothing, All, Nothing]);
        assert!(found.levels.iter().all(|level| level.head.is_some()));
    }

    #[test]
    fn the_lower_a_level_the_more_it_reconstructs() {
        let found = curriculum(&[
            "train.strategy=local",
            "train.objective=infopro",
            "train.levels.middle.weight=2.0",
        ]);
        let objectives: Vec<Objective> = found.phases[0]
            .roles
            .iter()
            .filter_map(|role| role.objective)
            .collect();
        let infopro = |reconstruction, prediction| Objective {
            prediction,
            similarity: 0.0,
            reconstruction,
        };
        assert_eq!(
            objectives,
            [
                infopro(5.0 / 8.0, 0.5),
                infopro(0.0, 2.0),
                Objective::CROSS_ENTROPY
            ]
        );
        assert!(!found.sides[0].is_empty() && found.sides[1].is_empty());
    }
}
