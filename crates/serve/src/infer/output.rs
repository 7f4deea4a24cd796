use std::borrow::Cow;

use strata_nn::highest;

use crate::runtime::{Answered, Version};

/// What a model gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// The level whose head answered for the final task; only of models with exits.
    Exit,
    Probabilities(Task),
    Label(Task),
    Class(Task),
}

/// What an output is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Final,
    /// A place among the version's other tasks.
    Other(usize),
}

impl Output {
    /// All that a version gives.
    pub(crate) fn all(version: &Version) -> impl Iterator<Item = Self> {
        let exit = version.exits.is_any_below_top().then_some(Self::Exit);
        let others = (0..version.others.len()).map(Task::Other);
        let of_task = |task| {
            [
                Self::Probabilities(task),
                Self::Label(task),
                Self::Class(task),
            ]
        };
        let finals = of_task(Task::Final).into_iter().chain(exit);
        finals.chain(others.flat_map(of_task))
    }

    pub(crate) fn name(self, version: &Version) -> Cow<'static, str> {
        let (task, name) = match self {
            Self::Exit => (Task::Final, "exit"),
            Self::Probabilities(task) => (task, "probabilities"),
            Self::Label(task) => (task, "label"),
            Self::Class(task) => (task, "class"),
        };
        match task {
            Task::Final => name.into(),
            Task::Other(index) => format!("{}.{name}", version.others[index].name).into(),
        }
    }

    pub(crate) fn datatype(self) -> &'static str {
        match self {
            Self::Probabilities(_) => "FP32",
            Self::Label(_) | Self::Exit => "BYTES",
            Self::Class(_) => "INT64",
        }
    }

    /// Numbers of one row; none for a text or a class.
    pub(crate) fn width(self, version: &Version) -> Option<usize> {
        match self {
            Self::Probabilities(task) => Some(task.labels(version).len()),
            _ => None,
        }
    }

    /// What must be computed for it.
    pub(crate) fn task(self) -> Task {
        match self {
            Self::Exit => Task::Final,
            Self::Probabilities(task) | Self::Label(task) | Self::Class(task) => task,
        }
    }
}

impl Task {
    pub(crate) fn labels(self, version: &Version) -> &[String] {
        match self {
            Self::Final => &version.labels,
            Self::Other(index) => &version.others[index].labels,
        }
    }

    fn probabilities<'a>(self, version: &Version, answered: &'a Answered) -> &'a [f32] {
        match self {
            Self::Final => &answered.probabilities,
            Self::Other(index) => &answered.heads[version.others[index].head],
        }
    }
}

/// The exits that answered, lowest first and with commas, for models that have several.
pub(crate) fn exits_taken(version: &Version, answered: &Answered) -> Option<String> {
    if answered.exits.is_empty() || !version.exits.is_any_below_top() {
        return None;
    }
    let names = version.exits.names.iter().enumerate();
    let taken: Vec<&str> = names
        .filter(|(index, _)| answered.exits.contains(index))
        .map(|(_, name)| name.as_str())
        .collect();
    Some(taken.join(","))
}

/// The elements of an output.
pub(crate) enum Values<'a> {
    Numbers(&'a [f32]),
    Classes(Vec<usize>),
    Texts(Vec<&'a str>),
}

impl<'a> Values<'a> {
    pub(crate) fn of(output: Output, version: &'a Version, answered: &'a Answered) -> Self {
        let classes = |task: Task| {
            let rows = task
                .probabilities(version, answered)
                .chunks_exact(task.labels(version).len());
            rows.map(highest)
        };
        match output {
            Output::Probabilities(task) => Self::Numbers(task.probabilities(version, answered)),
            Output::Class(task) => Self::Classes(classes(task).collect()),
            Output::Label(task) => {
                let labels = task.labels(version);
                Self::Texts(classes(task).map(|class| &*labels[class]).collect())
            }
            Output::Exit => {
                let names = &version.exits.names;
                Self::Texts(answered.exits.iter().map(|exit| &*names[*exit]).collect())
            }
        }
    }

    /// Little-endian, each text after its length in 4 bytes.
    pub(crate) fn write_binary(&self, binary: &mut Vec<u8>) {
        match self {
            Self::Numbers(numbers) => {
                binary.extend(numbers.iter().flat_map(|value| value.to_le_bytes()))
            }
            Self::Classes(classes) => binary.extend(
                classes
                    .iter()
                    .flat_map(|&class| (class as i64).to_le_bytes()),
            ),
            Self::Texts(texts) => {
                for text in texts {
                    binary.extend((text.len() as u32).to_le_bytes());
                    binary.extend(text.as_bytes());
                }
            }
        }
    }
}
