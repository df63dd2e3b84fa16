//! Payloads such as a vendor sends: its preset's sample, with people, ids and moments of our own in it.

use std::io::Write as _;

use model::Time;
use model::preset::sample;
use serde_json::Value;

use super::script::Facts;

/// What stands at a place of the sample.
#[derive(Clone, Copy, Debug)]
enum Slot {
    /// The vendor's id of the event, after this prefix.
    EventId(&'static str),
    /// The vendor's id of the person, after this prefix.
    PersonId(&'static str),
    /// The same, as a number.
    PersonNumber,
    Email,
    Phone,
    Website,
    FirstName,
    LastName,
    FullName,
    Company,
    JobTitle,
    /// When it happened, in RFC 3339.
    Moment,
    /// The same, in seconds since 1970.
    Seconds,
    /// A moment that no other event has, for vendors whose events have no id of their own.
    OwnMoment,
}

/// A vendor's sample: which headers come with it, and what to change where.
struct Recipe {
    preset: &'static str,
    headers: &'static [(&'static str, &'static str)],
    slots: &'static [(&'static str, Slot)],
}

const RECIPES: [Recipe; 4] = [
    Recipe {
        preset: "shopify",
        headers: &[("x-shopify-topic", "customers/update")],
        slots: &[
            ("/id", Slot::PersonNumber),
            ("/email", Slot::Email),
            ("/phone", Slot::Phone),
            ("/first_name", Slot::FirstName),
            ("/last_name", Slot::LastName),
            ("/default_address/company", Slot::Company),
            ("/default_address/phone", Slot::Phone),
            ("/updated_at", Slot::OwnMoment),
        ],
    },
    Recipe {
        preset: "standard-webhooks",
        headers: &[],
        slots: &[
            ("/timestamp", Slot::Moment),
            ("/data/id", Slot::PersonId("")),
            ("/data/email", Slot::Email),
            ("/data/phone", Slot::Phone),
            ("/data/first_name", Slot::FirstName),
            ("/data/last_name", Slot::LastName),
            ("/data/company", Slot::Company),
            ("/data/job_title", Slot::JobTitle),
            ("/data/website", Slot::Website),
        ],
    },
    Recipe {
        preset: "stripe",
        headers: &[],
        slots: &[
            ("/id", Slot::EventId("evt_")),
            ("/created", Slot::Seconds),
            ("/data/object/id", Slot::PersonId("cus_")),
            ("/data/object/email", Slot::Email),
            ("/data/object/name", Slot::FullName),
            ("/data/object/phone", Slot::Phone),
        ],
    },
    Recipe {
        preset: "typeform",
        headers: &[],
        slots: &[
            ("/event_id", Slot::EventId("")),
            ("/form_response/token", Slot::EventId("")),
            ("/form_response/submitted_at", Slot::Moment),
            ("/form_response/answers/0/text", Slot::FirstName),
            ("/form_response/answers/1/text", Slot::LastName),
            ("/form_response/answers/2/email", Slot::Email),
            ("/form_response/answers/3/phone_number", Slot::Phone),
            ("/form_response/answers/4/text", Slot::Company),
            ("/form_response/answers/5/choice/label", Slot::JobTitle),
        ],
    },
];

/// Area codes and the exchange 555, which is kept free for uses like this one.
const AREAS: [u32; 10] = [206, 212, 305, 312, 404, 415, 503, 512, 617, 702];
const FIRST_NAMES: [&str; 8] = ["Ada", "Blaise", "Charles", "Dorothy", "Edsger", "Frances", "Grace", "Hedy"];

/// A sample, cut where something of ours comes in.
#[derive(Clone, Debug)]
pub struct Payload {
    /// Texts, each with the slot after it.
    pieces: Vec<(String, Slot)>,
    end: String,
    /// What the vendor says in headers besides the signature.
    pub headers: &'static [(&'static str, &'static str)],
}

/// The presets of which there is one.
pub fn known() -> impl Iterator<Item = &'static str> {
    RECIPES.iter().map(|recipe| recipe.preset)
}

impl Payload {
    /// A preset's sample; `None` if there is no recipe for it.
    pub fn of(preset: &str) -> Option<Self> {
        let recipe = RECIPES.iter().find(|recipe| recipe.preset == preset)?;
        let mut body: Value = serde_json::from_slice(sample(preset)?.body).ok()?;
        for (place, (pointer, _)) in recipe.slots.iter().enumerate() {
            *body.pointer_mut(pointer)? = Value::String(mark(place));
        }
        let text = body.to_string();
        let mut places = Vec::with_capacity(recipe.slots.len());
        for (place, (_, slot)) in recipe.slots.iter().enumerate() {
            let quoted = format!("\"{}\"", mark(place));
            let at = text.find(&quoted)?;
            places.push((at, at + quoted.len(), *slot));
        }
        places.sort_unstable_by_key(|(at, _, _)| *at);
        let mut pieces = Vec::with_capacity(places.len());
        let mut from = 0;
        for (at, after, slot) in places {
            pieces.push((text.get(from..at)?.to_owned(), slot));
            from = after;
        }
        Some(Self { pieces, end: text.get(from..)?.to_owned(), headers: recipe.headers })
    }

    /// Writes the body that tells these facts.
    pub fn write(&self, facts: &Facts, out: &mut Vec<u8>) {
        for (text, slot) in &self.pieces {
            out.extend_from_slice(text.as_bytes());
            // Writing to memory does not fail.
            let _ = slot.write(facts, out);
        }
        out.extend_from_slice(self.end.as_bytes());
    }
}

fn mark(place: usize) -> String {
    format!("@@{place:02}@@")
}

impl Slot {
    /// A JSON value; a name, a title or a number is left out now and then, so that one record takes its fields from several events.
    fn write(self, facts: &Facts, out: &mut Vec<u8>) -> std::io::Result<()> {
        let Facts { event, person, chance, .. } = *facts;
        let tag = facts.begun.millis();
        let first = FIRST_NAMES[chance as usize % FIRST_NAMES.len()];
        let left_out = |bit: u32| (chance >> (8 + 2 * bit)) & 3 == 0;
        match self {
            Self::EventId(prefix) => write!(out, "\"{prefix}{tag}e{event}\""),
            Self::PersonId(prefix) => write!(out, "\"{prefix}{tag}p{person}\""),
            Self::PersonNumber => write!(out, "{}", tag.rem_euclid(1_000_000_000) * 1_000_000 + i64::from(person)),
            Self::Email => write!(out, "\"p{person}@r{tag}.example.com\""),
            Self::Website => write!(out, "\"https://p{person}.r{tag}.example.com/\""),
            Self::FirstName if left_out(0) => write!(out, "null"),
            Self::Phone if left_out(1) => write!(out, "null"),
            Self::JobTitle if left_out(2) => write!(out, "null"),
            Self::FirstName => write!(out, "\"{first}\""),
            Self::Phone => {
                let area = AREAS[(person / 10_000) as usize % AREAS.len()];
                write!(out, "\"+1{area}555{:04}\"", person % 10_000)
            }
            Self::JobTitle => write!(out, "\"Title {event}\""),
            Self::LastName => write!(out, "\"Name{event}\""),
            Self::FullName => write!(out, "\"{first} Name{event}\""),
            Self::Company => write!(out, "\"Company {event}\""),
            Self::Moment => write!(out, "\"{}\"", facts.occurred_at),
            Self::Seconds => write!(out, "{}", facts.occurred_at.seconds()),
            Self::OwnMoment => write!(out, "\"{}\"", Time::from_seconds(facts.begun.seconds() - 3_600 - i64::from(event))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::Script;
    use super::*;

    #[test]
    fn a_payload_differs_from_its_sample_only_where_it_should() {
        let script = Script::new(1, Time::from_seconds(1_800_000_000), 100, 0.0, 10, 1);
        for recipe in &RECIPES {
            let payload = Payload::of(recipe.preset).unwrap_or_else(|| panic!("{} does not fit its sample", recipe.preset));
            let mut told: Value = serde_json::from_slice(sample(recipe.preset).unwrap().body).unwrap();
            let mut out = Vec::new();
            payload.write(&script.facts(17), &mut out);
            let mut written: Value = serde_json::from_slice(&out).unwrap();
            for (pointer, _) in recipe.slots {
                assert_ne!(told.pointer(pointer), written.pointer(pointer), "{} {pointer}", recipe.preset);
                *told.pointer_mut(pointer).unwrap() = Value::Null;
                *written.pointer_mut(pointer).unwrap() = Value::Null;
            }
            assert_eq!(told, written, "{}", recipe.preset);
        }
    }
}
