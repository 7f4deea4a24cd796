//! The request, built once as bytes.

use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, Result, bail, ensure};

/// The parts of `http://host:port/path`.
#[derive(Debug, PartialEq)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) path: String,
}

impl Target {
    /// Reads a URL. The port defaults to 80 and the path to `/`; other schemes and IPv6 literals are refused.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let Some(rest) = url.strip_prefix("http://") else {
            bail!("expected a URL that starts with http://, found {url:?}");
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (
                host,
                port.parse()
                    .with_context(|| format!("no port number in {url:?}"))?,
            ),
            None => (authority, 80),
        };
        ensure!(!host.is_empty(), "no host in {url:?}");
        let clean = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        ensure!(
            clean(host) && clean(path),
            "a blank or a control character in {url:?}"
        );
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self {
            host: host.to_owned(),
            port,
            path: path.to_owned(),
        })
    }

    /// The first address of the host.
    pub(crate) fn address(&self) -> Result<SocketAddr> {
        let found = (self.host.as_str(), self.port).to_socket_addrs();
        let mut addresses = found.with_context(|| format!("cannot resolve {}", self.host))?;
        addresses
            .next()
            .with_context(|| format!("{} has no address", self.host))
    }
}

/// The bytes of a POST request; `Host` and `Content-Length` are added to `headers`.
pub(crate) fn post(target: &Target, headers: &[String], body: &[u8]) -> Result<Vec<u8>> {
    let Target { host, port, path } = target;
    let mut head = format!("POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\n");
    for line in headers {
        let (name, value) = header(line)?;
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    Ok(bytes)
}

/// Name and value of a header line.
pub(crate) fn header(line: &str) -> Result<(&str, &str)> {
    let (name, value) = line
        .split_once(':')
        .with_context(|| format!("expected a header `Name: value`, found {line:?}"))?;
    ensure!(
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()),
        "expected a header `Name: value`, found {line:?}"
    );
    ensure!(
        !value.contains(['\r', '\n']),
        "a line break in the header {name:?}"
    );
    Ok((name, value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(host: &str, port: u16, path: &str) -> Target {
        Target {
            host: host.to_owned(),
            port,
            path: path.to_owned(),
        }
    }

    #[test]
    fn a_url_gives_host_port_and_path() {
        let check = |url, expected| assert_eq!(Target::parse(url).unwrap(), expected);
        check(
            "http://127.0.0.1:8000/v2/x?y=1",
            target("127.0.0.1", 8000, "/v2/x?y=1"),
        );
        check("http://localhost:1", target("localhost", 1, "/"));
        check("http://localhost/a:b", target("localhost", 80, "/a:b"));
    }

    #[test]
    fn a_wrong_url_is_refused() {
        for url in [
            "https://a/",
            "a",
            "http://",
            "http://a:b/",
            "http://a/x y",
            "http://a/\r\nb",
        ] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_request_has_its_headers_its_length_and_its_body() {
        let bytes = post(&target("h", 9, "/p"), &["A: b".to_owned()], b"xyz").unwrap();
        let expected = "POST /p HTTP/1.1\r\nHost: h:9\r\nA: b\r\nContent-Length: 3\r\n\r\nxyz";
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }

    #[test]
    fn a_header_cannot_smuggle_another() {
        for line in ["A", ": b", "A: b\r\nC: d", "A b: c"] {
            assert!(
                post(&target("h", 9, "/p"), &[line.to_owned()], b"").is_err(),
                "{line:?}"
            );
        }
    }
}
