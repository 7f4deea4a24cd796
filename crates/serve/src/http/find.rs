use hyper::Method;

use super::routes::{ROUTES, Route};

/// How a path names a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named<'a> {
    /// By number or alias.
    Version(&'a str),
    /// By alias.
    Label(&'a str),
}

/// What a path leads to.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    Route {
        route: &'static Route,
        model: Option<&'a str>,
        named: Option<Named<'a>>,
    },
    /// The path exists for another method.
    OtherMethod {
        allowed: &'static str,
    },
    Nothing,
}

/// Looks a request up in the table. Names have no characters that addresses escape, so nothing is unescaped.
pub(crate) fn find<'a>(method: &Method, path: &'a str) -> Found<'a> {
    let method = if *method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    let mut other = None;
    for route in &ROUTES {
        let Some((model, named)) = matches(route.path, path) else {
            continue;
        };
        if route.method == *method {
            return Found::Route {
                route,
                model,
                named,
            };
        }
        other = Some(if route.method == Method::GET {
            "GET, HEAD"
        } else {
            "POST"
        });
    }
    other.map_or(Found::Nothing, |allowed| Found::OtherMethod { allowed })
}

/// The model and the version that a path names, if it is one of `pattern`.
fn matches<'a>(pattern: &str, path: &'a str) -> Option<(Option<&'a str>, Option<Named<'a>>)> {
    let (mut model, mut named) = (None, None);
    let mut found = path.split('/');
    for expected in pattern.split('/') {
        let segment = found.next()?;
        let Some((name, suffix)) = expected.strip_prefix('{').and_then(|e| e.split_once('}'))
        else {
            if expected != segment {
                return None;
            }
            continue;
        };
        let value = segment.strip_suffix(suffix)?;
        // What follows a colon is part of the route.
        if value.is_empty() || value.contains(':') {
            return None;
        }
        match name {
            "model" => model = Some(value),
            "version" => named = Some(Named::Version(value)),
            _ => named = Some(Named::Label(value)),
        }
    }
    found.next().is_none().then_some((model, named))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::routes::Needs;

    fn check(method: Method, path: &str, expected: &str) {
        let found = match find(&method, path) {
            Found::Route {
                route,
                model,
                named,
            } => {
                let named = match named {
                    Some(Named::Version(version)) => version.to_owned(),
                    Some(Named::Label(label)) => format!("label:{label}"),
                    None => "-".to_owned(),
                };
                format!("{} {} {named}", route.name, model.unwrap_or("-"))
            }
            Found::OtherMethod { allowed } => allowed.to_owned(),
            Found::Nothing => "nothing".to_owned(),
        };
        assert_eq!(found, expected, "{method} {path}");
    }

    #[test]
    fn a_path_leads_to_its_route() {
        check(Method::POST, "/v2/models/mnist/infer", "infer mnist -");
        check(
            Method::POST,
            "/v2/models/mnist/versions/3/infer",
            "infer mnist 3",
        );
        check(Method::GET, "/v2/models/mnist", "model mnist -");
        check(
            Method::HEAD,
            "/v2/models/versions/versions/stable",
            "model versions stable",
        );
        check(Method::POST, "/v1/models/mnist:predict", "predict mnist -");
        check(
            Method::POST,
            "/v1/models/mnist/versions/3:classify",
            "classify mnist 3",
        );
        check(
            Method::POST,
            "/v1/models/mnist/labels/stable:predict",
            "predict mnist label:stable",
        );
        check(Method::GET, "/v1/models/mnist", "model-status mnist -");
        check(Method::GET, "/", "live - -");
        check(Method::GET, "/v1/models/mnist:predict", "POST");
        check(Method::GET, "/v2/models/mnist/infer", "POST");
        check(Method::DELETE, "/v2", "GET, HEAD");
        for path in [
            "",
            "//",
            "/v1",
            "/v1/models/",
            "/v1/models/m:nothing",
            "/v1/models/:predict",
            "/v1/models/m/versions/:predict",
            "/v1/models/m:predict:predict",
            "/v2/models",
            "/v2/models/m:predict/infer",
            "/v2/models//infer",
            "/v2/models/m/infer/",
            "//v2",
            "/V2",
            "/v2/models/a/b",
        ] {
            check(Method::GET, path, "nothing");
        }
    }

    #[test]
    fn only_health_is_open() {
        let open = ROUTES
            .iter()
            .filter(|route| route.needs == Needs::Nothing)
            .map(|route| route.path);
        assert_eq!(
            open.collect::<Vec<_>>(),
            ["/v2/health/live", "/v2/health/ready", "/"]
        );
    }
}
