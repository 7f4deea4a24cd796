use strata_explain::Baseline;

use crate::{http::Refusal, infer::Parameters};

/// The only method so far.
pub(super) const METHOD: &str = "integrated-gradients";

pub(super) type Settings = strata_explain::IntegratedGradients;

/// The settings that a request asks for. Their ranges are checked by the explainer.
pub(super) fn settings(parameters: &Parameters) -> Result<Settings, Refusal> {
    let Parameters {
        method,
        steps,
        baseline,
        target,
        ..
    } = parameters;
    if let Some(method) = method.as_deref().filter(|&method| method != METHOD) {
        return Err(Refusal::Malformed(format!(
            "method: expected {METHOD}, found `{}`",
            method.escape_debug()
        )));
    }
    let defaults = Settings::default();
    Ok(Settings {
        steps: steps.unwrap_or(defaults.steps),
        baseline: baseline
            .as_deref()
            .map_or(Ok(defaults.baseline), parse_baseline)?,
        target: *target,
    })
}

pub(super) fn baseline_word(baseline: Baseline) -> &'static str {
    match baseline {
        Baseline::Black => "black",
        Baseline::White => "white",
        Baseline::Grey => "grey",
    }
}

fn parse_baseline(word: &str) -> Result<Baseline, Refusal> {
    let all = [Baseline::Black, Baseline::White, Baseline::Grey];
    all.into_iter()
        .find(|&baseline| baseline_word(baseline) == word)
        .ok_or_else(|| {
            Refusal::Malformed(format!(
                "baseline: expected black, white or grey, found `{}`",
                word.escape_debug()
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_error(parameters: Parameters, expected: &str) {
        assert_eq!(settings(&parameters).unwrap_err().to_string(), expected);
    }

    #[test]
    fn settings_come_from_the_parameters_or_are_the_defaults() {
        assert_eq!(
            settings(&Parameters::default()).unwrap(),
            Settings::default()
        );
        let parameters = Parameters {
            method: Some(METHOD.to_owned()),
            steps: Some(7),
            baseline: Some("grey".to_owned()),
            target: Some(2),
            ..Parameters::default()
        };
        let expected = Settings {
            steps: 7,
            baseline: Baseline::Grey,
            target: Some(2),
        };
        assert_eq!(settings(&parameters).unwrap(), expected);
    }

    #[test]
    fn an_unknown_word_is_named() {
        let method = Some("lime".to_owned());
        let parameters = Parameters {
            method,
            ..Parameters::default()
        };
        check_error(
            parameters,
            "method: expected integrated-gradients, found `lime`",
        );
        let baseline = Some("red".to_owned());
        let parameters = Parameters {
            baseline,
            ..Parameters::default()
        };
        check_error(
            parameters,
            "baseline: expected black, white or grey, found `red`",
        );
    }
}
