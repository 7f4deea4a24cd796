use super::{Problem, check_range, number, problem};
use crate::{ChannelOrder, Crop, ImagePreparation};

/// Checks the settings of images.
pub(super) fn check_image(image: &ImagePreparation) -> Result<(), Problem> {
    for (side, value) in [("height", image.height), ("width", image.width)] {
        check_range(&format!("preparation.image.{side}"), value, 1, 4096)?;
    }
    if ![1, 3].contains(&image.channels) {
        let text = format!("expected 1 (grey) or 3 (RGB), found {}", image.channels);
        return Err(problem("preparation.image.channels", text));
    }
    for (field, values, lowest) in [
        ("mean", &image.mean, f32::MIN),
        ("std", &image.std, f32::MIN_POSITIVE),
    ] {
        let field = format!("preparation.image.{field}");
        if !values.is_empty() && values.len() != image.channels {
            let text = format!(
                "expected {} (one a channel), found {}",
                image.channels,
                values.len()
            );
            return Err((field, text));
        }
        if let Some(value) = values
            .iter()
            .find(|value| !value.is_finite() || **value < lowest)
        {
            return Err((
                field,
                format!("expected finite numbers (for std more than 0), found {value}"),
            ));
        }
    }
    if image.order != ChannelOrder::Rgb && image.channels != 3 {
        let text = "only images of 3 channels have an order of colours".to_owned();
        return Err(problem("preparation.image.order", text));
    }
    // Beyond these the numbers of a row, or their mean, could leave what `f32` holds.
    if !(1e-6..=1e6).contains(&image.scale) {
        let text = format!(
            "expected 0.000001 to 1000000, found {}",
            number(image.scale.into())
        );
        return Err(problem("preparation.image.scale", text));
    }
    if let Some(shorter) = image.resize {
        if image.crop != Crop::Centre {
            let text = "needs `crop = \"centre\"`, which cuts out what remains".to_owned();
            return Err(problem("preparation.image.resize", text));
        }
        let least = image.height.max(image.width);
        check_range("preparation.image.resize", shorter, least, 4096)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: fn(&mut ImagePreparation), expected: &str) {
        let mut image = ImagePreparation {
            crop: Crop::Centre,
            ..ImagePreparation::new(224, 200, 3)
        };
        change(&mut image);
        let found = check_image(&image).map_or_else(
            |(field, problem)| format!("{field}: {problem}"),
            |()| "right".to_owned(),
        );
        assert_eq!(found, expected);
    }

    #[test]
    fn settings_that_contradict_each_other_are_named() {
        check(|image| image.resize = Some(256), "right");
        check(|image| image.scale = 255.0, "right");
        check(|image| image.order = ChannelOrder::Bgr, "right");
        check(
            |image| image.resize = Some(223),
            "preparation.image.resize: expected 224 to 4096, found 223",
        );
        check(
            |image| {
                image.crop = Crop::Stretch;
                image.resize = Some(256);
            },
            "preparation.image.resize: needs `crop = \"centre\"`, which cuts out what remains",
        );
        check(
            |image| image.scale = f32::NAN,
            "preparation.image.scale: expected 0.000001 to 1000000, found NaN",
        );
        check(
            |image| {
                image.channels = 1;
                image.order = ChannelOrder::Bgr;
            },
            "preparation.image.order: only images of 3 channels have an order of colours",
        );
    }
}
