use std::fmt;

use crate::{Contract, ElementType, Level, Manifest};

/// A level that cannot take another's place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found_level} cannot take the place of {level}: {what}: expected {expected}, found {found}"
)]
pub struct Misfit {
    /// Whose place it is, such as ``level `hidden` of tiny@1``.
    pub level: String,
    /// What was to take it.
    pub found_level: String,
    /// What does not fit.
    pub what: String,
    /// What would fit.
    pub expected: String,
    /// What was found.
    pub found: String,
}

impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ElementType::Fp32 = self.datatype;
        write!(f, "{:?} FP32", self.shape)
    }
}

impl Manifest {
    /// The level that level `index` becomes when level `from` of `other` takes its place: that one's layers under the own
    /// name, its head for the own task. It need not have the same layers, but it must take and give the same.
    ///
    /// # Errors
    /// It takes or gives something else, or rows that are prepared in another way.
    ///
    /// # Panics
    /// There is no such level.
    pub fn with_level_of(
        &self,
        index: usize,
        other: &Self,
        from: usize,
    ) -> Result<Level, Box<Misfit>> {
        let (own, new) = (&self.levels[index], &other.levels[from]);
        let named = |manifest: &Self, level: usize| {
            let name = &manifest.levels[level].architecture.name;
            format!("level `{name}` of {}@{}", manifest.name, manifest.version)
        };
        let check = |what: &str, is_same: bool, expected: String, found: String| {
            if is_same {
                return Ok(());
            }
            Err(Box::new(Misfit {
                level: named(self, index),
                found_level: named(other, from),
                what: what.to_owned(),
                expected,
                found,
            }))
        };
        let neighbour = |level: Option<usize>| {
            let level = level.and_then(|level| self.levels.get(level));
            level.map(|level| format!(" (level `{}`)", level.architecture.name))
        };
        let below = neighbour(index.checked_sub(1)).unwrap_or_default();
        let above = neighbour(Some(index + 1)).unwrap_or_default();
        check(
            &format!("what comes from below{below}"),
            own.input == new.input,
            own.input.to_string(),
            new.input.to_string(),
        )?;
        check(
            &format!("what goes above{above}"),
            own.output == new.output,
            own.output.to_string(),
            new.output.to_string(),
        )?;
        let is_lowest = [index == 0, from == 0];
        check(
            "what it takes",
            is_lowest == [false; 2]
                || (is_lowest == [true; 2] && self.preparation == other.preparation),
            self.rows_into(index),
            other.rows_into(from),
        )?;
        let (answer, others) = (self.answer_of(index), other.answer_of(from));
        check(
            "its head",
            answer == others,
            answer_text(answer),
            answer_text(others),
        )?;

        let mut level = new.architecture.clone();
        level.name = own.architecture.name.clone();
        if let (Some(head), Some(own)) = (&mut level.head, &own.architecture.head) {
            head.task = own.task.clone();
        }
        Ok(level)
    }

    /// What enters a level, for people.
    fn rows_into(&self, level: usize) -> String {
        if level > 0 {
            return "what another level gives".to_owned();
        }
        let preparation = serde_json::to_string(&self.preparation);
        let preparation = preparation.expect("a preparation has only string keys");
        format!("rows prepared as {preparation}")
    }

    /// The labels that a level's head chooses from. Tasks of other names but with the same labels are the same.
    fn answer_of(&self, level: usize) -> Option<Vec<String>> {
        let head = self.levels[level].architecture.head.as_ref()?;
        let task = self.tasks.iter().find(|task| task.name == head.task)?;
        let classes = &task.classification;
        Some(
            (0..classes.classes)
                .map(|class| classes.label(class))
                .collect(),
        )
    }
}

fn answer_text(labels: Option<Vec<String>>) -> String {
    let Some(labels) = labels else {
        return "none".to_owned();
    };
    let shown = labels.iter().take(MOST_LABELS).map(String::as_str);
    let dots = (labels.len() > MOST_LABELS).then_some("…");
    let shown: Vec<&str> = shown.chain(dots).collect();
    format!("one for {} classes ({})", labels.len(), shown.join(", "))
}

/// Labels that are shown: an error must not fill pages.
const MOST_LABELS: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Blob, Digest, ManifestLevel, Preparation, level_shapes};

    fn manifest(name: &str, hidden: usize, labels: &[&str], height: usize) -> Manifest {
        let levels: Vec<Level> = serde_json::from_value(serde_json::json!([
            { "name": "low", "layers": ["flatten", { "dense": { "units": hidden } }, "relu"] },
            { "name": "mid", "layers": [{ "dense": { "units": 4 } }] },
            { "name": "top", "head": { "task": name, "layers": [{ "dense": { "units": labels.len() } }] } },
        ]))
        .unwrap();
        let zero = Digest::from_bytes([0; 32]);
        let blob = Blob {
            digest: zero,
            plain: zero,
            bytes: 0,
            sealed: false,
        };
        let shapes = level_shapes(&[1, height, 24 / height], &levels).unwrap();
        let levels: Vec<_> = levels
            .into_iter()
            .zip(&shapes)
            .map(|(level, shapes)| ManifestLevel::new(level, shapes, blob.clone()))
            .collect();
        let json = serde_json::json!({
            "format": 1, "name": name, "version": 1, "created": "2026-01-01T00:00:00Z", "description": "",
            "levels": levels,
            "tasks": [{"name": name, "classification": {"classes": labels.len(), "labels": labels}}],
            "preparation": {"image": {"height": height, "width": 24 / height}},
            "lineage": {"recipe": zero, "data": [], "seed": 0, "strategy": "end-to-end", "code": "strata 0"},
            "metrics": {}, "precision": "f32",
        });
        Manifest::parse(json.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_level_that_fits_keeps_its_name_and_its_task() {
        let own = manifest("a", 5, &["x", "y"], 4);
        let other = manifest("b", 5, &["x", "y"], 4);
        let level = own.with_level_of(2, &other, 2).unwrap();
        assert_eq!(level, own.levels[2].architecture);
        // What is inside is the level's own matter.
        let deeper = manifest("b", 4, &["x", "y"], 4);
        let mut own = manifest("a", 4, &["x", "y"], 4);
        own.levels[0].architecture.layers.clear();
        let level = own.with_level_of(0, &deeper, 0).unwrap();
        assert_eq!(level.layers.len(), 3);
    }

    #[test]
    fn a_level_that_does_not_fit_is_refused_with_what_would() {
        let own = manifest("a", 5, &["x", "y"], 4);
        let check = |index: usize, other: &Manifest, from: usize, expected: &str| {
            let error = own.with_level_of(index, other, from).unwrap_err();
            assert_eq!(error.to_string(), expected);
        };
        let wide = manifest("b", 6, &["x", "y"], 4);
        check(
            1,
            &wide,
            1,
            "level `mid` of b@1 cannot take the place of level `mid` of a@1: what comes from below (level `low`): expected \
             [5] FP32, found [6] FP32",
        );
        check(
            0,
            &wide,
            0,
            "level `low` of b@1 cannot take the place of level `low` of a@1: what goes above (level `mid`): expected \
             [5] FP32, found [6] FP32",
        );
        let labels = manifest("b", 5, &["y", "x"], 4);
        check(
            2,
            &labels,
            2,
            "level `top` of b@1 cannot take the place of level `top` of a@1: its head: expected one for 2 classes (x, y), \
             found one for 2 classes (y, x)",
        );
        let mut tall = manifest("b", 5, &["x", "y"], 4);
        let Preparation::Image(image) = &mut tall.preparation;
        image.mean = vec![0.5];
        let error = own.with_level_of(0, &tall, 0).unwrap_err();
        assert_eq!(error.what, "what it takes");
        assert!(error.found.contains(r#""mean":[0.5]"#), "{error}");
        let mut headless = own.clone();
        headless.levels[1].input = headless.levels[2].input.clone();
        let error = own.with_level_of(2, &headless, 1).unwrap_err();
        assert_eq!(
            (error.what.as_str(), error.found.as_str()),
            ("its head", "none")
        );
    }
}
