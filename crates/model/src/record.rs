//! A record and its merge: what we believe the CRM holds, whose word each value is, and what is in doubt.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::quota::Lane;
use crate::{CallId, Time};

/// The calls that a record remembers, for its trace.
pub const CALLS_REMEMBERED: usize = 50;
/// The provenance of a value that was in the CRM before us, or that a person put there.
pub const CRM_KEY: &str = "crm";

/// Decides between two values of one field: the larger stamp wins, so arrival order never matters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// 0 to 100, from configuration.
    pub trust: u8,
    /// When it happened.
    pub occurred_at: Time,
    /// The event's idempotency key, or [`CRM_KEY`].
    pub key: String,
}

/// A field's value and whose word it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// As sent to the CRM; null means cleared.
    pub value: Value,
    /// Whose word it is.
    pub stamp: Stamp,
}

/// How an event's value meets the one that a field has. Whatever the order in which events arrive, the same value comes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Merge {
    /// The more trusted value wins, then the newer one.
    #[default]
    Trust,
    /// The newer value wins, whoever said it.
    Newest,
    /// What the CRM has stays; where it has nothing, the earliest value fills it.
    FillEmpty,
    /// Set when the record is created, and left alone afterwards.
    CreateOnly,
    /// Never written; it is read, so that it can be compared.
    Never,
    /// A list: whatever anybody put into it stays in it, and what the CRM has.
    Union,
}

/// The fields of a record by CRM field name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields(pub BTreeMap<String, Held>);

impl Fields {
    /// Puts a value in if its stamp is larger than the held one's.
    pub fn offer(&mut self, field: &str, value: &Value, stamp: &Stamp) {
        self.meet(field, value, stamp, Merge::Trust, true);
    }

    /// Puts a value in where the field's way of merging lets it. `creating`: the CRM does not have the record yet.
    pub fn meet(&mut self, field: &str, value: &Value, stamp: &Stamp, merge: Merge, creating: bool) {
        let held = self.0.get(field);
        let vacant = held.is_none_or(|held| held.value.is_null());
        let newer =
            |held: &Held| (stamp.occurred_at, stamp.trust, &stamp.key) > (held.stamp.occurred_at, held.stamp.trust, &held.stamp.key);
        let earlier = |held: &Held| (stamp.occurred_at, &stamp.key) < (held.stamp.occurred_at, &held.stamp.key);
        let wins = match merge {
            Merge::Trust => held.is_none_or(|held| *stamp > held.stamp),
            Merge::Newest => held.is_none_or(newer),
            Merge::FillEmpty => !value.is_null() && (vacant || held.is_some_and(|held| held.stamp.key != CRM_KEY && earlier(held))),
            Merge::CreateOnly => creating && held.is_none_or(|held| *stamp > held.stamp),
            Merge::Never => false,
            Merge::Union => !value.is_null(),
        };
        if !wins {
            return;
        }
        let joined = match (merge, held) {
            (Merge::Union, Some(held)) => Held { value: union(&held.value, value), stamp: stamp.max(&held.stamp).clone() },
            (Merge::Union, None) => Held { value: union(&Value::Null, value), stamp: stamp.clone() },
            (Merge::Trust | Merge::Newest | Merge::FillEmpty | Merge::CreateOnly | Merge::Never, _) => {
                Held { value: value.clone(), stamp: stamp.clone() }
            }
        };
        self.0.insert(field.to_owned(), joined);
    }
}

/// Two lists as one: each choice once, in the order of their texts, so that it does not matter who came first. A text with semicolons is a list too:
/// CRMs keep several choices so.
fn union(held: &Value, added: &Value) -> Value {
    let choices = |value: &Value| -> Vec<Value> {
        match value {
            Value::Null => Vec::new(),
            Value::Array(choices) => choices.clone(),
            Value::String(text) => text.split(';').map(str::trim).filter(|choice| !choice.is_empty()).map(Value::from).collect(),
            Value::Bool(_) | Value::Number(_) | Value::Object(_) => vec![value.clone()],
        }
    };
    let all: BTreeMap<String, Value> = choices(held).into_iter().chain(choices(added)).map(|choice| (choice.to_string(), choice)).collect();
    Value::Array(all.into_values().collect())
}

// Many fields share one event's stamp, so the stored form names each stamp once.
#[derive(Serialize, Deserialize)]
struct Packed {
    s: Vec<(u8, Time, String)>,
    f: BTreeMap<String, (Value, usize)>,
}

impl Serialize for Fields {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let stamps: BTreeSet<&Stamp> = self.0.values().map(|held| &held.stamp).collect();
        let places: BTreeMap<&Stamp, usize> = stamps.iter().enumerate().map(|(place, stamp)| (*stamp, place)).collect();
        Packed {
            s: stamps.iter().map(|stamp| (stamp.trust, stamp.occurred_at, stamp.key.clone())).collect(),
            f: self
                .0
                .iter()
                .map(|(field, held)| (field.clone(), (held.value.clone(), places.get(&held.stamp).copied().unwrap_or_default())))
                .collect(),
        }
        .serialize(to)
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let packed = Packed::deserialize(from)?;
        let fields = packed.f.into_iter().map(|(field, (value, place))| {
            let (trust, occurred_at, key) =
                packed.s.get(place).cloned().ok_or_else(|| serde::de::Error::custom("a field points at a stamp that is not there"))?;
            Ok((field, Held { value, stamp: Stamp { trust, occurred_at, key } }))
        });
        Ok(Self(fields.collect::<Result<_, D::Error>>()?))
    }
}

/// A field's value that points at another record of the same destination: a contact's company. Connectors spell it as their CRM does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The CRM's object: `Account`.
    pub object: String,
    /// The CRM field that carries that record's key.
    pub key_field: String,
    /// The record's key.
    pub key: String,
    /// Its id in the CRM, where it is known.
    pub crm_id: Option<String>,
}

/// The one member of a value that is a link.
const LINK: &str = "$record";

impl Link {
    /// The link as a field's value.
    pub fn to_value(&self) -> Value {
        serde_json::json!({ LINK: self })
    }

    /// Reads it back; `None` for any other value.
    pub fn of(value: &Value) -> Option<Self> {
        let members = value.as_object().filter(|members| members.len() == 1)?;
        serde_json::from_value(members.get(LINK)?.clone()).ok()
    }
}

/// What a record is waiting for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing.
    Clean,
    /// A worker.
    #[default]
    Due,
    /// Its time to try again.
    Waiting,
    /// The worker that holds it.
    Leased,
    /// The end of the late-write window.
    Verifying,
    /// A record that it belongs to.
    Blocked,
}

impl State {
    /// Every state; the place in this list is the number in the ledger.
    pub const ALL: [State; 6] = [Self::Clean, Self::Due, Self::Waiting, Self::Leased, Self::Verifying, Self::Blocked];

    /// The word shown to people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Due => "due",
            Self::Waiting => "waiting",
            Self::Leased => "leased",
            Self::Verifying => "verifying",
            Self::Blocked => "blocked",
        }
    }

    /// The number in the ledger.
    pub const fn number(self) -> i64 {
        self as i64
    }

    /// Reads the number back.
    pub fn from_number(number: i64) -> Option<Self> {
        usize::try_from(number).ok().and_then(|place| Self::ALL.get(place).copied())
    }

    /// Whether a new delivery makes it due at once. A record that waits after a failure, or that a worker holds, is left alone:
    /// else new events would defeat the backoff.
    pub const fn wakes_for_new(self) -> bool {
        matches!(self, Self::Clean | Self::Verifying | Self::Blocked)
    }
}

/// Who holds a record, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The worker.
    pub holder: String,
    /// By the ledger's clock.
    pub until: Time,
    /// For which call.
    pub call: CallId,
}

/// A write whose outcome is unknown may still land.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The lowest revision that may be under way.
    pub revision: i64,
    /// When it can no longer land.
    pub verify_after: Time,
}

/// One CRM object under one key: what decisions need to know of it.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Record {
    /// What it waits for.
    pub state: State,
    /// When something happens next; `None` only for a clean record.
    pub wake_at: Option<Time>,
    /// How urgent it is: as the most urgent of its open deliveries. Of a clean record it says nothing.
    pub lane: Lane,
    /// Raised by each claim; a result that carries an older one changes nothing.
    pub fence: i64,
    /// The content that was last claimed for writing.
    pub revision: i64,
    /// The content that was last written successfully.
    pub pushed: i64,
    /// Who holds it.
    pub lease: Option<Lease>,
    /// The lease's call is a write: if no outcome is ever heard, it may have happened.
    pub intent: bool,
    /// Failures in a row that were surely not applied, or unknown: they set the wait.
    pub tries: u32,
    /// Those of them that count against the schedule.
    pub attempts: u32,
    /// Conflicts in a row.
    pub conflicts: u32,
    /// When it was last claimed for a call.
    pub last_attempt_at: Option<Time>,
    /// Claims that ended without any outcome.
    pub crashes: u32,
    /// When the last of those was counted.
    pub crashed_at: Option<Time>,
    /// What may still land.
    pub doubt: Option<Doubt>,
    /// Its present values in the CRM were read, or it was written by us.
    pub adopted: bool,
    /// Fold one delivery at a time, to find the one that is refused.
    pub solo: bool,
    /// At most this many records in a call with it; 0 means no limit of its own.
    pub group_max: u32,
    /// Its id in the CRM.
    pub crm_id: Option<String>,
    /// The wide part, kept in a row of its own.
    pub body: Body,
}

/// The wide part of a record: written once per push.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Body {
    /// What we believe the CRM holds.
    pub fields: Fields,
    /// Fields that the CRM was seen not to hold although we wrote them.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub missing: BTreeSet<String>,
    /// Values that may still land, by field.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub late: BTreeMap<String, Vec<Value>>,
    /// Who deleted it, if it was deleted: what is older than that does not bring it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Stamp>,
    /// The last calls that carried it, oldest first; at most [`CALLS_REMEMBERED`].
    pub calls: Vec<CallId>,
    /// The last failure in the CRM's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

impl Record {
    /// A record that was just made for a first delivery.
    pub fn new(now: Time) -> Self {
        Self { wake_at: Some(now), ..Self::default() }
    }

    /// Makes it due at `at`.
    pub(crate) fn due(&mut self, at: Time) {
        self.state = State::Due;
        self.wake_at = Some(at);
    }

    /// Lets go of the lease.
    pub(crate) fn release(&mut self) {
        self.lease = None;
        self.intent = false;
    }

    /// Notes that `patch` may still land, until `verify_after`.
    pub(crate) fn put_in_doubt(&mut self, revision: i64, patch: &BTreeMap<String, Value>, verify_after: Time) {
        let doubt = self.doubt.get_or_insert(Doubt { revision, verify_after });
        doubt.revision = doubt.revision.min(revision);
        doubt.verify_after = doubt.verify_after.max(verify_after);
        for (field, value) in patch {
            let values = self.body.late.entry(field.clone()).or_default();
            if !values.contains(value) {
                values.push(value.clone());
            }
        }
    }

    pub(crate) fn clear_doubt(&mut self) {
        self.doubt = None;
        self.body.late.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(trust: u8, at: i64, key: &str) -> Stamp {
        Stamp { trust, occurred_at: Time::from_seconds(at), key: key.into() }
    }

    #[test]
    fn the_larger_stamp_wins_in_any_order() {
        let offers = [
            (Value::from("old"), stamp(50, 1, "a")),
            (Value::from("new"), stamp(50, 2, "a")),
            (Value::from("trusted"), stamp(60, 0, "a")),
            (Value::from("tie"), stamp(60, 0, "b")),
        ];
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
            let mut fields = Fields::default();
            for place in order {
                fields.offer("Email", &offers[place].0, &offers[place].1);
            }
            assert_eq!(fields.0["Email"].value, "tie");
        }
    }

    /// What becomes of offers to one field in every order of three.
    fn merged(merge: Merge, before: Option<(&str, Stamp)>, offers: [(Value, Stamp); 3]) -> BTreeSet<String> {
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let one = |order: [usize; 3]| {
            let mut fields = Fields::default();
            if let Some((value, stamp)) = &before {
                fields.offer("F", &Value::from(*value), stamp);
            }
            order.into_iter().for_each(|place| fields.meet("F", &offers[place].0, &offers[place].1, merge, false));
            fields.0.get("F").map_or_else(|| "nothing".to_owned(), |held| held.value.to_string())
        };
        orders.into_iter().map(one).collect()
    }

    #[test]
    fn each_way_of_merging_comes_to_the_same_in_every_order_of_arrival() {
        let offers = || {
            [
                (Value::from("early"), stamp(50, 1, "a")),
                (Value::from("late"), stamp(40, 3, "b")),
                (Value::from("trusted"), stamp(90, 2, "c")),
            ]
        };
        let held = || Some(("there", stamp(50, 0, CRM_KEY)));
        for (merge, empty, filled) in [
            (Merge::Trust, "\"trusted\"", "\"trusted\""),
            (Merge::Newest, "\"late\"", "\"late\""),
            (Merge::FillEmpty, "\"early\"", "\"there\""),
            (Merge::CreateOnly, "nothing", "\"there\""),
            (Merge::Never, "nothing", "\"there\""),
            (Merge::Union, r#"["early","late","trusted"]"#, r#"["early","late","there","trusted"]"#),
        ] {
            assert_eq!(merged(merge, None, offers()), BTreeSet::from([empty.to_owned()]), "{merge:?}");
            assert_eq!(merged(merge, held(), offers()), BTreeSet::from([filled.to_owned()]), "{merge:?} over what the CRM has");
        }
        let mut created = Fields::default();
        created.meet("F", &Value::from("a"), &stamp(50, 1, "a"), Merge::CreateOnly, true);
        assert_eq!(created.0["F"].value, "a", "it is set when the record is created");
        // What is cleared fills up again, and nothing is no choice of a list.
        let nothing = [(Value::Null, stamp(50, 1, "a")), (Value::Null, stamp(50, 2, "b")), (Value::from("x;y"), stamp(50, 3, "c"))];
        assert_eq!(merged(Merge::Union, None, nothing), BTreeSet::from([r#"["x","y"]"#.to_owned()]));
    }

    #[test]
    fn fields_read_back_as_they_were_stored() {
        let mut fields = Fields::default();
        fields.offer("Email", &Value::from("ada@example.com"), &stamp(50, 1, "demo|lead.created|1"));
        fields.offer("Phone", &Value::Null, &stamp(50, 1, "demo|lead.created|1"));
        fields.offer("Company", &Value::from("Example"), &stamp(90, 2, "crm"));
        let text = serde_json::to_string(&fields).unwrap();
        assert_eq!(serde_json::from_str::<Fields>(&text).unwrap(), fields);
        assert_eq!(text.matches("lead.created").count(), 1, "a stamp is stored once: {text}");
    }
}
