//! Checks of what a recipe says about its data.

use super::{Problem, check_range, number, problem, with_suggestion, within};
use crate::{Augmentation, DataSpec, ImagePreparation, Margin, Preparation, error::list};

/// Sources that are known by name.
const CATALOGUE: [&str; 5] = ["mnist", "fashion-mnist", "cifar10", "cifar100", "digits"];

const MOST_FURTHER: usize = 16;
const MOST_AUGMENTATIONS: usize = 64;

pub(crate) fn check_data(data: &DataSpec, preparation: &Preparation) -> Result<(), Problem> {
    check_source("data.source", &data.source)?;
    if data.also.len() > MOST_FURTHER {
        let found = data.also.len();
        let text = format!("expected at most {MOST_FURTHER} further sources, found {found}");
        return Err(problem("data.also", text));
    }
    for (index, source) in data.also.iter().enumerate() {
        let field = format!("data.also[{index}]");
        check_source(&field, source)?;
        if data
            .sources()
            .take(index + 1)
            .any(|earlier| earlier == source)
        {
            let text =
                format!("`{source}` is among the sources already: its rows would come twice");
            return Err((field, text));
        }
    }
    if let Some(validation) = &data.validation {
        let fraction = validation.fraction;
        if !(fraction > 0.0 && fraction <= 0.5) {
            let text = format!(
                "expected more than 0 and at most 0.5, found {}",
                number(fraction)
            );
            return Err(problem("data.validation.fraction", text));
        }
    }
    let Preparation::Image(image) = preparation;
    check_augmentations(&data.augmentation, image)
}

fn check_source(field: &str, source: &str) -> Result<(), Problem> {
    if source.contains('/') || CATALOGUE.contains(&source) {
        return Ok(());
    }
    let found = format!(
        "expected one of {} or the path of a folder, found `{source}`",
        list(&CATALOGUE)
    );
    Err(problem(field, with_suggestion(found, source, &CATALOGUE)))
}

fn check_augmentations(
    augmentations: &[Augmentation],
    image: &ImagePreparation,
) -> Result<(), Problem> {
    if augmentations.len() > MOST_AUGMENTATIONS {
        let found = augmentations.len();
        let text = format!("expected at most {MOST_AUGMENTATIONS}, found {found}");
        return Err(problem("data.augmentation", text));
    }
    let resized = augmentations
        .iter()
        .position(|one| matches!(one, Augmentation::RandomResizedCrop(_)));
    for (index, augmentation) in augmentations.iter().enumerate() {
        let field = format!("data.augmentation[{index}]");
        check_augmentation(&field, augmentation, image)?;
        let rest = &augmentations[index + 1..];
        if augmentation.mixes_rows() {
            if rest.iter().any(|later| !later.mixes_rows()) {
                let text = "rows of a batch are mixed at the end: put `mixup` and `cutmix` last";
                return Err((field, text.to_owned()));
            }
            let same = std::mem::discriminant(augmentation);
            if rest
                .iter()
                .any(|later| std::mem::discriminant(later) == same)
            {
                let text = "rows are mixed once: it is given twice";
                return Err((field, text.to_owned()));
            }
        }
        let is_resize = |one: &Augmentation| matches!(one, Augmentation::RandomResizedCrop(_));
        if is_resize(augmentation) && rest.iter().any(is_resize) {
            let text = "`random-resized-crop` is given twice".to_owned();
            return Err((field, text));
        }
        // What has a size in pixels means those of the network.
        let in_pixels = matches!(
            augmentation,
            Augmentation::Crop(_) | Augmentation::Cutout(_)
        );
        if in_pixels && resized.is_some_and(|resized| resized > index) {
            let text =
                "`random-resized-crop` makes the network's size: put it before what counts pixels";
            return Err((field, text.to_owned()));
        }
    }
    Ok(())
}

fn check_augmentation(
    field: &str,
    augmentation: &Augmentation,
    image: &ImagePreparation,
) -> Result<(), Problem> {
    match augmentation {
        Augmentation::Flip | Augmentation::AlternatingFlip | Augmentation::VerticalFlip => Ok(()),
        Augmentation::Crop(crop) => {
            let field = format!("{field}.crop.padding");
            check_range(&field, crop.padding, 1, 1024)?;
            let shortest = image.height.min(image.width);
            if crop.margin == Margin::Reflect && crop.padding >= shortest {
                let text = format!(
                    "a mirrored margin is smaller than the image: expected less than {shortest}, found {}",
                    crop.padding
                );
                return Err((field, text));
            }
            Ok(())
        }
        Augmentation::RandomResizedCrop(crop) => {
            let field = format!("{field}.random-resized-crop");
            check_interval(&format!("{field}.scale"), crop.scale, 1e-4, 1.0)?;
            check_interval(&format!("{field}.ratio"), crop.ratio, 0.01, 100.0)
        }
        Augmentation::ColourJitter(jitter) => {
            for (name, value, most) in [
                ("brightness", jitter.brightness, 10.0),
                ("contrast", jitter.contrast, 10.0),
                ("saturation", jitter.saturation, 10.0),
                ("hue", jitter.hue, 0.5),
            ] {
                within(&format!("{field}.colour-jitter.{name}"), value, 0.0, most)?;
            }
            Ok(())
        }
        Augmentation::Cutout(cutout) => {
            check_range(&format!("{field}.cutout.size"), cutout.size, 1, 4096)
        }
        Augmentation::RandAugment(random) => {
            let field = format!("{field}.rand-augment");
            check_range(&format!("{field}.operations"), random.operations, 1, 14)?;
            check_range(&format!("{field}.magnitude"), random.magnitude, 0, 30)
        }
        Augmentation::Mixup(mix) => within(&format!("{field}.mixup.alpha"), mix.alpha, 0.01, 4.0),
        Augmentation::CutMix(mix) => within(&format!("{field}.cutmix.alpha"), mix.alpha, 0.01, 4.0),
    }
}

fn check_interval(field: &str, interval: [f64; 2], low: f64, high: f64) -> Result<(), Problem> {
    for value in interval {
        within(field, value, low, high)?;
    }
    if interval[0] > interval[1] {
        let [first, second] = interval.map(number);
        let text = format!("expected the lower number first, found {first} and {second}");
        return Err(problem(field, text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::Recipe;

    const MNIST: &str = include_str!("../../../../recipes/mnist-mlp.toml");

    fn with(data: &str) -> Result<Recipe, String> {
        let text = MNIST.replacen("source = \"mnist\"", data, 1);
        Recipe::parse(&text, "r.toml", &[]).map_err(|error| error.to_string())
    }

    fn check_error(data: &str, expected: &str) {
        let error = with(&format!("source = \"mnist\"\n{data}")).unwrap_err();
        assert!(error.contains(expected), "`{error}` lacks `{expected}`");
    }

    #[test]
    fn every_augmentation_reads_back_as_itself() {
        let recipe = with(
            "source = \"cifar10\"\nalso = [\"fashion-mnist\", \"./photos\"]\naugmentation = [\"flip\", \"vertical-flip\",
             { random-resized-crop = {} }, { crop = { padding = 4, margin = \"reflect\" } }, { colour-jitter = { hue = 0.1 } },
             { cutout = { size = 8 } }, { rand-augment = { magnitude = 5 } }, { mixup = { alpha = 0.2 } }, { cutmix = {} }]",
        )
        .unwrap();
        assert_eq!(recipe.data.augmentation.len(), 9);
        assert_eq!(recipe.data.sources().count(), 3);
        let again = Recipe::parse(&recipe.to_toml(), "resolved", &[]);
        assert_eq!(again, Ok(recipe));
    }

    #[test]
    fn an_augmentation_that_cannot_be_is_named() {
        check_error(
            "augmentation = [\"flop\"]",
            "data.augmentation[0]: unknown word `flop`; did you mean `flip`?",
        );
        check_error(
            "augmentation = [\"flip\", { crop = { padding = 0 } }]",
            "data.augmentation[1].crop.padding: expected 1 to 1024, found 0",
        );
        check_error(
            "augmentation = [{ crop = { padding = 28, margin = \"reflect\" } }]",
            "expected less than 28, found 28",
        );
        check_error(
            "augmentation = [{ random-resized-crop = { scale = [0.5, 0.1] } }]",
            "scale: expected the lower number first, found 0.5 and 0.1",
        );
        check_error(
            "augmentation = [{ colour-jitter = { hue = 0.6 } }]",
            "colour-jitter.hue: expected a number from 0 to 0.5, found 0.6",
        );
        check_error(
            "augmentation = [{ mixup = {} }, \"flip\"]",
            "data.augmentation[0]: rows of a batch are mixed at the end",
        );
        check_error(
            "augmentation = [{ mixup = {} }, { mixup = {} }]",
            "it is given twice",
        );
        check_error(
            "augmentation = [{ cutout = { size = 8 } }, { random-resized-crop = {} }]",
            "put it before what counts pixels",
        );
        check_error(
            "augmentation = [{ rand-augment = { magnitude = 31 } }]",
            "rand-augment.magnitude: expected 0 to 30, found 31",
        );
    }

    #[test]
    fn a_source_comes_once() {
        check_error(
            "also = [\"digits\", \"mnist\"]",
            "data.also[1]: `mnist` is among the sources already",
        );
        check_error(
            "also = [\"cifar1\"]",
            "found `cifar1`; did you mean `cifar10`?",
        );
    }
}
