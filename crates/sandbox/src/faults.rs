//! How the sandbox misbehaves: which faults are in force, and the seeded dice that choose among them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use model::Time;
use model::time::parse_span;
use serde_json::{Map, Value};
use thiserror::Error;

/// The dialects that the sandbox speaks, each of which faults can be set for on its own.
pub fn dialects() -> impl Iterator<Item = &'static str> {
    [crate::salesforce::CRM, crate::hubspot::CRM].into_iter().chain(crate::dialects::DIALECTS.iter().map(|dialect| dialect.name()))
}

/// The longest span a fault may name.
const MAX_SPAN: Duration = Duration::from_secs(24 * 3_600);

/// One way to misbehave. The order is the order in which the dice are thrown: the first that falls decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    Down,
    ExpiredToken,
    Throttled,
    Limit,
    CutBefore,
    FailBefore,
    Empty,
    Late,
    FailAfter,
    CutAfter,
    Garbage,
    Missing,
    Partial,
    Lock,
    Slow,
}

impl Fault {
    const ALL: [Self; 15] = [
        Self::Down,
        Self::ExpiredToken,
        Self::Throttled,
        Self::Limit,
        Self::CutBefore,
        Self::FailBefore,
        Self::Empty,
        Self::Late,
        Self::FailAfter,
        Self::CutAfter,
        Self::Garbage,
        Self::Missing,
        Self::Partial,
        Self::Lock,
        Self::Slow,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::ExpiredToken => "expired-token",
            Self::Throttled => "429",
            Self::Limit => "limit",
            Self::CutBefore => "cut-before",
            Self::FailBefore => "500-before",
            Self::Empty => "empty",
            Self::Late => "late",
            Self::FailAfter => "500-after",
            Self::CutAfter => "cut-after",
            Self::Garbage => "garbage",
            Self::Missing => "missing",
            Self::Partial => "partial",
            Self::Lock => "lock",
            Self::Slow => "slow",
        }
    }

    /// The span that goes with a chance when the list names none; `None` for faults that have no span.
    const fn default_span(self) -> Option<Duration> {
        match self {
            Self::Throttled => Some(Duration::from_secs(1)),
            Self::Late => Some(Duration::from_secs(30)),
            Self::Slow => Some(Duration::from_secs(2)),
            Self::Down
            | Self::ExpiredToken
            | Self::Limit
            | Self::CutBefore
            | Self::FailBefore
            | Self::Empty
            | Self::FailAfter
            | Self::CutAfter
            | Self::Garbage
            | Self::Missing
            | Self::Partial
            | Self::Lock => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Setting {
    chance: f64,
    span: Duration,
}

/// Which faults are in force, and how likely each is for a call.
///
/// Read from a list, `429=0.05,late=0.01:30s,down=30s,salesforce.lock=0.01`, or from the same as a JSON object,
/// `{"429": 0.05, "late": "0.01:30s", "down": "30s", "salesforce.lock": 0.01}`. A dialect's own setting replaces the general one.
///
/// | name | what it does |
/// | --- | --- |
/// | `down=SPAN` | every call is answered 503 or cut, for the span from when it was set |
/// | `expired-token=P` | 401, and the token is good for nothing from then on |
/// | `429=P[:SPAN]` | 429 with `Retry-After` (default 1 s), nothing applied |
/// | `limit=P` | the CRM's own "too many requests at once" answer, nothing applied |
/// | `500-before=P`, `cut-before=P` | 500, or no answer at all; nothing applied |
/// | `empty=P` | not applied, and the answer is a success with nothing in it; for CRMs that are known to do so |
/// | `500-after=P`, `cut-after=P` | 500, or no answer at all; applied |
/// | `late=P[:SPAN]` | no answer, not applied now, but after the span (default 30 s), over whatever was written meanwhile |
/// | `garbage=P` | applied, and the answer is HTML, empty or half a JSON text, with status 200 |
/// | `missing=P` | applied, and the answer to a batch lacks its last result |
/// | `partial=P` | about half of a batch's records meet a lock and are not applied |
/// | `lock=P` | one record of the call meets a lock and is not applied |
/// | `slow=P[:SPAN]` | the answer comes later by the span (default 2 s) |
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    settings: BTreeMap<(Option<&'static str>, Fault), Setting>,
}

/// A fault setting that does not read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WrongFault {
    /// Not `name=value`.
    #[error("`{0}` is not a fault setting; write `name=value`, for example `429=0.05`")]
    NotASetting(String),
    /// No fault has this name.
    #[error("there is no fault `{name}`; there are {}", Fault::ALL.map(Fault::name).join(", "))]
    UnknownFault {
        /// What was given.
        name: String,
    },
    /// No dialect has this name.
    #[error("there is no dialect `{name}` here; there are {}", dialects().collect::<Vec<_>>().join(", "))]
    UnknownDialect {
        /// What was given.
        name: String,
    },
    /// The value is not a chance, a span or both, whichever the fault takes.
    #[error("`{value}` does not fit the fault `{name}`: {wanted}")]
    WrongValue {
        /// The setting's name.
        name: String,
        /// What was given.
        value: String,
        /// What is expected, as a sentence.
        wanted: String,
    },
    /// The same setting twice.
    #[error("the fault `{0}` is set twice; keep one")]
    Twice(String),
    /// The JSON form is not an object.
    #[error("the faults are a JSON object, for example {{\"429\": 0.05, \"late\": \"0.01:30s\"}}")]
    NotAnObject,
}

impl FromStr for Faults {
    type Err = WrongFault;

    /// Reads the list form; an empty text means no faults.
    fn from_str(list: &str) -> Result<Self, WrongFault> {
        let mut faults = Self::default();
        for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (name, value) = entry.split_once('=').ok_or_else(|| WrongFault::NotASetting(entry.into()))?;
            faults.set(name.trim(), value.trim())?;
        }
        Ok(faults)
    }
}

impl fmt::Display for Faults {
    /// The list form, which reads back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, ((dialect, fault), setting)) in self.settings.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{}={}", full_name(*dialect, *fault), write_value(*fault, *setting))?;
        }
        Ok(())
    }
}

impl Faults {
    /// Reads the JSON form.
    ///
    /// # Errors
    ///
    /// Says which setting is wrong and what it should look like.
    pub fn from_json(json: &Value) -> Result<Self, WrongFault> {
        let Value::Object(object) = json else { return Err(WrongFault::NotAnObject) };
        let mut faults = Self::default();
        for (name, value) in object {
            match value {
                Value::String(text) => faults.set(name, text)?,
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    faults.set(name, &value.to_string())?;
                }
            }
        }
        Ok(faults)
    }

    /// The JSON form, which reads back.
    pub fn to_json(&self) -> Value {
        let write = |(&(dialect, fault), &setting): (&(Option<&'static str>, Fault), &Setting)| {
            let plain = fault != Fault::Down && fault.default_span().is_none();
            let value = if plain { setting.chance.into() } else { Value::String(write_value(fault, setting)) };
            (full_name(dialect, fault), value)
        };
        Value::Object(self.settings.iter().map(write).collect::<Map<_, _>>())
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), WrongFault> {
        let (dialect, fault) = read_name(name)?;
        let setting =
            read_value(fault, value).map_err(|wanted| WrongFault::WrongValue { name: name.into(), value: value.into(), wanted })?;
        match self.settings.insert((dialect, fault), setting) {
            Some(_) => Err(WrongFault::Twice(name.into())),
            None => Ok(()),
        }
    }

    fn setting(&self, dialect: &'static str, fault: Fault) -> Option<Setting> {
        self.settings.get(&(Some(dialect), fault)).or_else(|| self.settings.get(&(None, fault))).copied()
    }

    /// Whether the dialect is still down, when these faults were set at `since`.
    pub(crate) fn is_down(&self, dialect: &'static str, since: Time, now: Time) -> bool {
        self.setting(dialect, Fault::Down).is_some_and(|setting| now < since + setting.span)
    }

    /// Leaves out what has run its time.
    pub(crate) fn in_force(&self, since: Time, now: Time) -> Self {
        let mut settings = self.settings.clone();
        settings.retain(|(_, fault), setting| *fault != Fault::Down || now < since + setting.span);
        Self { settings }
    }

    /// Throws the dice for one fault: its span if it happens (zero where it has none).
    pub(crate) fn strikes(&self, dialect: &'static str, fault: Fault, dice: &mut Dice) -> Option<Duration> {
        let setting = self.setting(dialect, fault)?;
        dice.falls(setting.chance).then_some(setting.span)
    }

    /// The first of these faults that happens, with its span.
    pub(crate) fn first(&self, dialect: &'static str, among: &[Fault], dice: &mut Dice) -> Option<(Fault, Duration)> {
        among.iter().find_map(|&fault| Some((fault, self.strikes(dialect, fault, dice)?)))
    }
}

fn full_name(dialect: Option<&str>, fault: Fault) -> String {
    dialect.map_or_else(|| fault.name().into(), |dialect| format!("{dialect}.{}", fault.name()))
}

fn read_name(name: &str) -> Result<(Option<&'static str>, Fault), WrongFault> {
    let (dialect, bare) = match name.split_once('.') {
        Some((dialect, bare)) => {
            let known = dialects().find(|known| *known == dialect);
            (Some(known.ok_or_else(|| WrongFault::UnknownDialect { name: dialect.into() })?), bare)
        }
        None => (None, name),
    };
    let fault = Fault::ALL.into_iter().find(|fault| fault.name() == bare);
    fault.map(|fault| (dialect, fault)).ok_or_else(|| WrongFault::UnknownFault { name: bare.into() })
}

fn read_value(fault: Fault, value: &str) -> Result<Setting, String> {
    let span = |text: &str| match parse_span(text) {
        Ok(span) if span > MAX_SPAN => Err("a span is at most 24h".to_owned()),
        other => other,
    };
    if fault == Fault::Down {
        return Ok(Setting { chance: 1.0, span: span(value)? });
    }
    let (chance, rest) = value.split_once(':').map_or((value, None), |(chance, rest)| (chance, Some(rest)));
    let wanted = || match fault.default_span() {
        Some(_) => "write a chance from 0 to 1, with a span if you like: `0.01:30s`".to_owned(),
        None => "write a chance from 0 to 1: `0.05`".to_owned(),
    };
    let chance: f64 = chance.parse().map_err(|_| wanted())?;
    if !(0.0..=1.0).contains(&chance) {
        return Err(wanted());
    }
    match (rest, fault.default_span()) {
        (Some(text), Some(_)) => Ok(Setting { chance, span: span(text)? }),
        (None, usual) => Ok(Setting { chance, span: usual.unwrap_or_default() }),
        (Some(_), None) => Err(wanted()),
    }
}

fn write_value(fault: Fault, setting: Setting) -> String {
    let millis = setting.span.as_millis();
    let span = if millis.is_multiple_of(1_000) { format!("{}s", millis / 1_000) } else { format!("{millis}ms") };
    match fault.default_span() {
        Some(_) => format!("{}:{span}", setting.chance),
        None if fault == Fault::Down => span,
        None => setting.chance.to_string(),
    }
}

/// Chance that repeats: SplitMix64, so that a seed says everything about a run.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// True with this chance.
    pub(crate) fn falls(&mut self, chance: f64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
        let roll = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        roll < chance
    }

    /// A number below `sides`; zero if there are none.
    pub(crate) fn below(&mut self, sides: usize) -> usize {
        let roll = usize::try_from(self.next() >> 33).unwrap_or_default();
        roll.checked_rem(sides).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_list_of_the_contract_reads_and_reads_back() {
        let list = "429=0.05,500-before=0.02,500-after=0.02,cut-after=0.01,late=0.01:30s,partial=0.02,lock=0.01,expired-token=0.005,down=30s,\
                    salesforce.429=0.5,cut-before=0,slow=0.01:250ms,garbage=1,missing=0.1,limit=0.2";
        let faults: Faults = list.parse().unwrap();
        assert_eq!(faults.to_string().parse::<Faults>().unwrap(), faults);
        assert_eq!(Faults::from_json(&faults.to_json()).unwrap(), faults);
        assert_eq!(faults.to_json()["late"], "0.01:30s");
        assert_eq!(faults.to_json()["500-after"], 0.02);
        assert_eq!(faults.setting("salesforce", Fault::Throttled).unwrap().chance, 0.5);
    }

    #[test]
    fn a_wrong_setting_says_what_is_wrong() {
        for (list, says) in [
            ("429", "name=value"),
            ("428=0.1", "there is no fault `428`; there are down, expired-token, 429"),
            ("acme.429=0.1", "there is no dialect `acme` here; there are salesforce, hubspot"),
            ("429=1.5", "chance from 0 to 1"),
            ("429=NaN", "chance from 0 to 1"),
            ("late=0.1:soon", "not a span"),
            ("late=0.1:25h", "at most 24h"),
            ("lock=0.1:5s", "chance from 0 to 1: `0.05`"),
            ("down=0.1", "not a span"),
            ("lock=0.1,lock=0.2", "twice"),
        ] {
            let error = list.parse::<Faults>().unwrap_err().to_string();
            assert!(error.contains(says), "{list}: {error}");
        }
        assert_eq!(Faults::from_json(&json!([])), Err(WrongFault::NotAnObject));
        assert!(Faults::from_json(&json!({"429": null})).unwrap_err().to_string().contains("`null`"));
    }

    #[test]
    fn chances_come_true_about_as_often_as_they_say() {
        let mut dice = Dice::new(7);
        let fell = (0..100_000).filter(|_| dice.falls(0.05)).count();
        assert!((4_700..5_300).contains(&fell), "{fell}");
        assert!((0..1_000).all(|_| dice.falls(1.0) && !dice.falls(0.0)));
    }
}
