use crate::{Manifest, Name, Preparation, exits};

/// All that callers of a version rely on: two versions with the same one may answer the same requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Interface {
    preparation: Preparation,
    final_task: Name,
    /// The tasks that it answers and the labels of each.
    tasks: Vec<(Name, Vec<String>)>,
    /// The levels below the top at which rows may leave.
    exits: Vec<Name>,
}

impl Interface {
    /// That of a version.
    pub fn of(manifest: &Manifest) -> Self {
        let levels = manifest.architecture();
        let is_answered = |task: &Name| {
            let heads = levels.iter().filter_map(|level| level.head.as_ref());
            heads.into_iter().any(|head| head.task == *task)
        };
        let tasks = manifest
            .tasks
            .iter()
            .filter(|task| is_answered(&task.name))
            .map(|task| {
                let classes = &task.classification;
                let labels = (0..classes.classes).map(|class| classes.label(class));
                (task.name.clone(), labels.collect())
            });
        Self {
            preparation: manifest.preparation.clone(),
            final_task: manifest.final_task().name.clone(),
            tasks: tasks.collect(),
            exits: exits(&levels)
                .iter()
                .map(|level| level.name.clone())
                .collect(),
        }
    }

    /// In what the other one differs, for people; none if it is the same.
    pub fn difference(&self, other: &Self) -> Option<&'static str> {
        let Self {
            preparation,
            final_task,
            tasks,
            exits,
        } = self;
        if *preparation != other.preparation {
            return Some("the preparation of rows");
        }
        if *final_task != other.final_task || *tasks != other.tasks {
            return Some("tasks or labels");
        }
        (*exits != other.exits).then_some("exits")
    }
}
