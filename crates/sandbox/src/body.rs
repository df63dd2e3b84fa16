//! The members of one record in a request.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::Value;

/// Names and values in the order they came. A list, because a record is read once from end to end and building a map for each
/// is the larger part of a batch's cost.
#[derive(Clone, Debug, Default)]
pub(crate) struct Body(pub Vec<(String, Value)>);

impl Body {
    /// Takes a member out, whatever case its name is written in.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        let place = self.0.iter().position(|(held, _)| held.eq_ignore_ascii_case(name))?;
        Some(self.0.remove(place).1)
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Body;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a record as a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Body, A::Error> {
                let mut members = Vec::with_capacity(12);
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Body(members))
            }
        }
        from.deserialize_map(Members)
    }
}
