use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, SeqAccess, Visitor},
};

/// A number for height and one for width: written as one number for both, or as `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair(pub [usize; 2]);

impl From<usize> for Pair {
    fn from(both: usize) -> Self {
        Self([both; 2])
    }
}

impl Serialize for Pair {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let [height, width] = self.0;
        if height == width {
            height.serialize(serializer)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Pair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrTwo;

        impl<'de> Visitor<'de> for OneOrTwo {
            type Value = Pair;

            fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
                text.write_str("a number, or [height, width]")
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Pair, E> {
                // More than `usize` holds is above every bound, too.
                Ok(usize::try_from(value).unwrap_or(usize::MAX).into())
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Pair, E> {
                let unsigned = u64::try_from(value)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(value), &self))?;
                self.visit_u64(unsigned)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Pair, A::Error> {
                let mut next = |found| {
                    let item = items.next_element::<usize>()?;
                    item.ok_or_else(|| A::Error::invalid_length(found, &self))
                };
                let pair = [next(0)?, next(1)?];
                match items.next_element::<usize>()? {
                    None => Ok(Pair(pair)),
                    Some(_) => Err(A::Error::invalid_length(3, &self)),
                }
            }
        }

        deserializer.deserialize_any(OneOrTwo)
    }
}

impl JsonSchema for Pair {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Pair".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let number = json_schema!({ "type": "integer", "minimum": 0 });
        json_schema!({
            "description": "One number for both directions, or [height, width].",
            "oneOf": [number, { "type": "array", "items": number, "minItems": 2, "maxItems": 2 }],
        })
    }
}
