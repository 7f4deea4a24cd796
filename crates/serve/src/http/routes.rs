use hyper::Method;

use crate::Action;

/// One route of the server.
#[derive(Debug)]
pub(crate) struct Route {
    /// Its name in metrics.
    pub(crate) name: &'static str,
    /// `GET` also stands for `HEAD`.
    pub(crate) method: Method,
    /// `{model}` and `{version}` stand for one segment each.
    pub(crate) path: &'static str,
    pub(crate) needs: Needs,
    pub(crate) endpoint: Endpoint,
}

/// What a caller needs for a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// No key: for what watches over the server, such as an orchestrator.
    Nothing,
    /// A key that allows this, for the route's model if it has one.
    KeyFor(Action),
}

/// What answers a route.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Endpoint {
    Live,
    Ready,
    Server,
    Model,
    ModelReady,
    Infer,
    Explain,
    Metrics,
    Statistics,
    Index,
    Load,
    Unload,
}

/// All routes. The most frequent ones come first, since they are compared in this order.
pub(crate) static ROUTES: [Route; 21] = [
    post(
        "infer",
        "/v2/models/{model}/infer",
        Action::Infer,
        Endpoint::Infer,
    ),
    post(
        "infer",
        "/v2/models/{model}/versions/{version}/infer",
        Action::Infer,
        Endpoint::Infer,
    ),
    open("live", "/v2/health/live", Endpoint::Live),
    open("ready", "/v2/health/ready", Endpoint::Ready),
    post(
        "explain",
        "/v2/models/{model}/explain",
        Action::Explain,
        Endpoint::Explain,
    ),
    post(
        "explain",
        "/v2/models/{model}/versions/{version}/explain",
        Action::Explain,
        Endpoint::Explain,
    ),
    // Before the routes of models: one whose name is `stats` is found by its versions.
    get(
        "statistics",
        "/v2/models/stats",
        Action::Metadata,
        Endpoint::Statistics,
    ),
    get("server", "/v2", Action::Metadata, Endpoint::Server),
    get("server", "/v2/", Action::Metadata, Endpoint::Server),
    get(
        "model",
        "/v2/models/{model}",
        Action::Metadata,
        Endpoint::Model,
    ),
    get(
        "model",
        "/v2/models/{model}/",
        Action::Metadata,
        Endpoint::Model,
    ),
    get(
        "model",
        "/v2/models/{model}/versions/{version}",
        Action::Metadata,
        Endpoint::Model,
    ),
    get(
        "model",
        "/v2/models/{model}/versions/{version}/",
        Action::Metadata,
        Endpoint::Model,
    ),
    get(
        "model-ready",
        "/v2/models/{model}/ready",
        Action::Metadata,
        Endpoint::ModelReady,
    ),
    get(
        "model-ready",
        "/v2/models/{model}/versions/{version}/ready",
        Action::Metadata,
        Endpoint::ModelReady,
    ),
    get("metrics", "/metrics", Action::Metrics, Endpoint::Metrics),
    get(
        "statistics",
        "/v2/models/{model}/stats",
        Action::Metadata,
        Endpoint::Statistics,
    ),
    get(
        "statistics",
        "/v2/models/{model}/versions/{version}/stats",
        Action::Metadata,
        Endpoint::Statistics,
    ),
    post(
        "repository-index",
        "/v2/repository/index",
        Action::Metadata,
        Endpoint::Index,
    ),
    post(
        "load",
        "/v2/repository/models/{model}/load",
        Action::Load,
        Endpoint::Load,
    ),
    post(
        "unload",
        "/v2/repository/models/{model}/unload",
        Action::Load,
        Endpoint::Unload,
    ),
];

/// Method and path of every route, such as `("POST", "/v2/models/{model}/infer")`, for documents and tests.
pub fn routes() -> impl Iterator<Item = (&'static str, &'static str)> {
    ROUTES
        .iter()
        .map(|route| (route.method.as_str(), route.path))
}

/// What a path leads to.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    Route {
        route: &'static Route,
        model: Option<&'a str>,
        version: Option<&'a str>,
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
        let Some((model, version)) = route.matches(path) else {
            continue;
        };
        if route.method == *method {
            return Found::Route {
                route,
                model,
                version,
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

impl Route {
    /// The model and the version that a path names, if it is one of this route's.
    fn matches<'a>(&self, path: &'a str) -> Option<(Option<&'a str>, Option<&'a str>)> {
        let (mut model, mut version) = (None, None);
        let mut found = path.split('/');
        for expected in self.path.split('/') {
            let segment = found.next()?;
            match expected {
                "{model}" if !segment.is_empty() => model = Some(segment),
                "{version}" if !segment.is_empty() => version = Some(segment),
                _ if expected == segment => {}
                _ => return None,
            }
        }
        found.next().is_none().then_some((model, version))
    }
}

const fn open(name: &'static str, path: &'static str, endpoint: Endpoint) -> Route {
    Route {
        name,
        method: Method::GET,
        path,
        needs: Needs::Nothing,
        endpoint,
    }
}

const fn get(name: &'static str, path: &'static str, action: Action, endpoint: Endpoint) -> Route {
    Route {
        name,
        method: Method::GET,
        path,
        needs: Needs::KeyFor(action),
        endpoint,
    }
}

const fn post(name: &'static str, path: &'static str, action: Action, endpoint: Endpoint) -> Route {
    Route {
        name,
        method: Method::POST,
        path,
        needs: Needs::KeyFor(action),
        endpoint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, path: &str, expected: &str) {
        let found = match find(&method, path) {
            Found::Route {
                route,
                model,
                version,
            } => {
                format!(
                    "{} {} {}",
                    route.name,
                    model.unwrap_or("-"),
                    version.unwrap_or("-")
                )
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
        check(Method::GET, "/v2/models/mnist/infer", "POST");
        check(Method::DELETE, "/v2", "GET, HEAD");
        for path in [
            "",
            "/",
            "/v2/models",
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
            ["/v2/health/live", "/v2/health/ready"]
        );
    }
}
