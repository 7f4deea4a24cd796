//! Bodies that are packed on their way.
//!
//! <https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1>

use std::{
    io::{self, Read, Write},
    sync::Arc,
};

use bytes::{Buf, Bytes, buf::Reader};
use flate2::{
    Compression,
    bufread::{MultiGzDecoder, ZlibDecoder},
    write::{GzEncoder, ZlibEncoder},
};
use http_body_util::BodyExt;
use hyper::{
    HeaderMap,
    body::Body as _,
    header::{self, HeaderValue},
};

use super::{Body, Budget, Refusal, Response, Share, State};

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    /// In the format of zlib, as HTTP and gRPC understand the word.
    Deflate,
}

/// The codings that are understood, the preferred one first.
const ALL: [Coding; 2] = [Coding::Gzip, Coding::Deflate];

/// What a caller is told whose body is packed in another way.
pub(crate) const UNDERSTOOD: &str = "gzip, deflate";

/// What is unpacked where it arrives. More goes to another thread, so that other connections do not wait for it.
const INLINE: usize = 128 << 10;
/// What is unpacked between two looks at the bounds.
const STEP: usize = 32 << 10;

/// Shorter answers are sent as they are: a packet or two hold them.
const FROM: u64 = 4 << 10;

impl Coding {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// How the body is packed that a header tells of: none if it is not.
    pub(crate) fn of(headers: &HeaderMap, name: &str) -> Result<Option<Self>, Refusal> {
        let mut all = headers.get_all(name).iter();
        let Some(value) = all.next() else {
            return Ok(None);
        };
        let text = value.to_str().unwrap_or("").trim();
        let is = |word: &str| text.eq_ignore_ascii_case(word);
        let coding = ALL.into_iter().find(|coding| is(coding.name()));
        match coding {
            // Once each, since one in another is none of them.
            _ if all.next().is_some() => {}
            Some(coding) => return Ok(Some(coding)),
            None if is("identity") => return Ok(None),
            None if is("x-gzip") => return Ok(Some(Self::Gzip)),
            None => {}
        }
        Err(Refusal::Encoding(
            String::from_utf8_lossy(value.as_bytes()).into_owned(),
        ))
    }

    /// The coding that a caller would rather have than the body as it is.
    ///
    /// <https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3>
    pub(crate) fn wanted(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(header::ACCEPT_ENCODING).iter();
        let texts = values.filter_map(|value| value.to_str().ok());
        let (mut weights, mut others) = ([None; ALL.len()], None);
        for element in texts.flat_map(|text| text.split(',')) {
            let (word, weight) = weighted(element);
            let place = ALL
                .iter()
                .position(|coding| word.eq_ignore_ascii_case(coding.name()));
            match place {
                Some(place) => weights[place] = Some(weight),
                None if word == "*" => others = Some(weight),
                None => {}
            }
        }
        let weights = weights.map(|weight| weight.or(others).unwrap_or(0));
        let best = *weights.iter().max()?;
        let place = weights.iter().position(|weight| *weight == best)?;
        (best > 0).then_some(ALL[place])
    }

    /// Packs bytes; none if they would not be fewer.
    pub(crate) fn pack(self, bytes: &[u8]) -> Option<Vec<u8>> {
        // An answer is waited for, so it is packed fast rather than well.
        let level = Compression::fast();
        let packed = Vec::with_capacity(bytes.len() / 2);
        let packed = match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(packed, level);
                encoder.write_all(bytes).and_then(|()| encoder.finish())
            }
            Self::Deflate => {
                let mut encoder = ZlibEncoder::new(packed, level);
                encoder.write_all(bytes).and_then(|()| encoder.finish())
            }
        };
        // To write to memory cannot fail.
        packed.ok().filter(|packed| packed.len() < bytes.len())
    }
}

/// A word and how much it is wanted, in thousandths: as much as can be unless it says so, not at all if that is not to be
/// understood.
fn weighted(element: &str) -> (&str, u16) {
    let mut parts = element.split(';').map(str::trim);
    let word = parts.next().unwrap_or("");
    let weight = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then_some(value)
    });
    let thousandths = |text: &str| {
        let weight: f32 = text.trim().parse().ok()?;
        (0.0..=1.0)
            .contains(&weight)
            .then_some((weight * 1000.0).round() as u16)
    };
    (
        word,
        weight.map_or(1000, |text| thousandths(text).unwrap_or(0)),
    )
}

/// A body that is being unpacked.
struct Unpacking {
    decoder: Decoder,
    unpacked: Vec<u8>,
    share: Share,
    limit: usize,
    what: &'static str,
}

enum Decoder {
    Gzip(MultiGzDecoder<Reader<Bytes>>),
    Deflate(ZlibDecoder<Reader<Bytes>>),
}

impl Decoder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Deflate(decoder) => {
                let read = decoder.read(buffer)?;
                if read == 0 && decoder.get_ref().get_ref().has_remaining() {
                    return Err(io::Error::other("bytes after its end"));
                }
                Ok(read)
            }
        }
    }
}

impl Unpacking {
    fn new(
        coding: Coding,
        packed: Bytes,
        bodies: &Arc<Budget>,
        limit: usize,
        what: &'static str,
    ) -> Self {
        let packed = packed.reader();
        Self {
            decoder: match coding {
                Coding::Gzip => Decoder::Gzip(MultiGzDecoder::new(packed)),
                Coding::Deflate => Decoder::Deflate(ZlibDecoder::new(packed)),
            },
            unpacked: Vec::new(),
            share: Share::new(bodies),
            limit,
            what,
        }
    }

    /// Goes on for `most` bytes. Whether it has come to the end.
    ///
    /// The bounds hold for what is unpacked, at each step: a small body may hold a thousand times its own size.
    fn go_on(&mut self, most: usize) -> Result<bool, Refusal> {
        let end = self.unpacked.len().saturating_add(most);
        let mut step = [0; STEP];
        while self.unpacked.len() < end {
            let read = self.decoder.read(&mut step).map_err(|problem| {
                Refusal::Malformed(format!("{}: cannot be unpacked: {problem}", self.what))
            })?;
            if read == 0 {
                return Ok(true);
            }
            if self.unpacked.len() + read > self.limit {
                return Err(Refusal::TooLarge {
                    what: "unpacked bytes",
                    limit: self.limit,
                });
            }
            self.share.grow(read)?;
            self.unpacked.extend_from_slice(&step[..read]);
        }
        Ok(false)
    }
}

/// Unpacks what has arrived as `what`, of at most `limit` bytes.
pub(crate) async fn unpack(
    state: &State,
    coding: Coding,
    packed: Bytes,
    limit: usize,
    what: &'static str,
) -> Result<Body, Refusal> {
    let mut unpacking = Unpacking::new(coding, packed, &state.bodies, limit, what);
    if !unpacking.go_on(INLINE)? {
        unpacking = state
            .elsewhere(move || {
                unpacking.go_on(usize::MAX)?;
                Ok(unpacking)
            })
            .await?;
    }
    Ok(Body::new(unpacking.unpacked.into(), unpacking.share))
}

/// An answer, packed if it is long and its caller likes that.
pub(super) async fn packed(state: &State, asked: &HeaderMap, answer: Response) -> Response {
    let length = answer.body().size_hint().lower();
    if length < FROM {
        return answer;
    }
    let (mut head, body) = answer.into_parts();
    // It depends on the request, whatever this one asks.
    head.headers
        .insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    let Some(coding) = Coding::wanted(asked) else {
        return Response::from_parts(head, body);
    };
    let Ok(whole) = body.collect().await;
    let bytes = whole.to_bytes();
    let packed = if bytes.len() <= INLINE {
        coding.pack(&bytes)
    } else {
        let bytes = bytes.clone();
        let packed = state.elsewhere(move || Ok(coding.pack(&bytes))).await;
        packed.unwrap_or(None)
    };
    let bytes = match packed {
        Some(packed) => {
            let name = HeaderValue::from_static(coding.name());
            head.headers.insert(header::CONTENT_ENCODING, name);
            packed.into()
        }
        None => bytes,
    };
    Response::from_parts(head, bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpack(
        coding: Coding,
        packed: &[u8],
        limit: usize,
        free: usize,
    ) -> Result<Vec<u8>, Refusal> {
        let budget = Arc::new(Budget::new(free));
        let mut unpacking =
            Unpacking::new(coding, Bytes::copy_from_slice(packed), &budget, limit, "it");
        while !unpacking.go_on(1000)? {}
        Ok(unpacking.unpacked)
    }

    #[test]
    fn what_is_packed_is_unpacked_within_the_bounds() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|i| (i / 7) as u8).collect();
        for coding in ALL {
            let packed = coding.pack(&bytes).unwrap();
            let unpack = |packed: &[u8], limit, free| unpack(coding, packed, limit, free);
            assert!(unpack(&packed, bytes.len(), bytes.len()).unwrap() == bytes);
            let refused = unpack(&packed, bytes.len() - 1, usize::MAX).unwrap_err();
            assert!(matches!(refused, Refusal::TooLarge { .. }), "{refused}");
            let refused = unpack(&packed, usize::MAX, bytes.len() - 1).unwrap_err();
            assert!(matches!(refused, Refusal::Busy(_)), "{refused}");
            let cut = &packed[..packed.len() - 1];
            let more = [&packed[..], b"more"].concat();
            for wrong in [cut, &more, b"no such thing", b""] {
                let refused = unpack(wrong, usize::MAX, usize::MAX).unwrap_err();
                assert!(matches!(refused, Refusal::Malformed(_)), "{refused}");
            }
        }
        // Files of gzip may follow each other.
        let two = Coding::Gzip.pack(&[7; 100]).unwrap().repeat(2);
        assert_eq!(unpack(Coding::Gzip, &two, 200, 200).unwrap(), [7; 200]);
        assert!(Coding::Gzip.pack(b"short").is_none());
    }

    #[test]
    fn the_coding_that_is_wanted_most_is_chosen() {
        let check = |values: &[&str], expected: Option<Coding>| {
            let values = values.iter().map(|value| {
                let value = HeaderValue::from_str(value).unwrap();
                (header::ACCEPT_ENCODING, value)
            });
            let mut headers = HeaderMap::new();
            for (name, value) in values {
                headers.append(name, value);
            }
            assert_eq!(Coding::wanted(&headers), expected, "{headers:?}");
        };
        let (gzip, deflate) = (Some(Coding::Gzip), Some(Coding::Deflate));
        check(&[], None);
        check(&[""], None);
        check(&["gzip"], gzip);
        check(&["GZip"], gzip);
        check(&["deflate"], deflate);
        check(&["deflate, gzip;q=0.5"], deflate);
        check(&["br;q=1.0, gzip;q=0.8, *;q=0.1"], gzip);
        check(&["deflate", "gzip"], gzip);
        check(&["*"], gzip);
        check(&["*;q=0.5, gzip;q=0"], deflate);
        check(&["gzip;q=0, deflate;q=0.000"], None);
        check(&["gzip;q=2, deflate;q=x"], None);
        check(&["identity, br, zstd"], None);
    }

    #[test]
    fn a_body_is_packed_once_or_refused() {
        let check = |values: &[&str], expected: Option<Option<Coding>>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(
                    header::CONTENT_ENCODING,
                    HeaderValue::from_str(value).unwrap(),
                );
            }
            let found = Coding::of(&headers, "content-encoding").ok();
            assert_eq!(found, expected, "{values:?}");
        };
        check(&[], Some(None));
        check(&["identity"], Some(None));
        check(&["gzip"], Some(Some(Coding::Gzip)));
        check(&["X-GZIP"], Some(Some(Coding::Gzip)));
        check(&["deflate"], Some(Some(Coding::Deflate)));
        for wrong in [&["br"][..], &["gzip, gzip"], &["gzip", "identity"], &[""]] {
            check(wrong, None);
        }
    }
}
