//! `onceward destinations check`: every field of the configuration against the CRM's own description of its object.

use std::collections::{BTreeMap, BTreeSet};

use connect::{Client, Description, FieldDescription, FieldKind};
use model::mapping::{Yielded, Yields};
use model::route::{Filled, ObjectPlan};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Context, Refused, chosen};
use crate::clock;
use crate::configuration::Configuration;
use crate::configuration::problem::closest;
use crate::installation::Installation;
use crate::shown::plain;

/// Keys that are shorter than this fit most senders' ids; a field that holds less will refuse some.
const KEY_MIN: u32 = 64;
/// The longest number in E.164, with its sign.
const PHONE_MAX: usize = 16;
/// A moment as we write it, to the microsecond.
const MOMENT_MAX: usize = 27;

/// One thing that the CRM will not take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Misfit {
    /// Where it is configured.
    pub key: String,
    /// What was found.
    pub found: String,
    /// What to do.
    pub remedy: String,
}

/// What is known of an object on our side.
pub struct Ours<'a> {
    /// Where the object is configured.
    pub at: String,
    /// Its key and fields.
    pub plan: &'a ObjectPlan,
    /// Some route creates records of it.
    pub creates: bool,
    /// The CRM has unique fields, so that the key's must be one.
    pub unique: bool,
    /// What sources that lead there give to attributes.
    pub yields: BTreeMap<String, Yields>,
}

/// Checks the objects of a destination; refused where something does not fit.
pub async fn run(context: &Context, name: &str, object: Option<&str>) -> Result<(), Refused> {
    let installation = Installation::find(context)?;
    let configuration = &installation.configuration;
    let (client, objects) = chosen(configuration, name, object)?;
    let mut misfits = Vec::new();
    let mut checked = 0;
    for object in &objects {
        let Some(plan) = configuration.routes.object(name, object) else { continue };
        let unique = client.connector().level() != connect::Level::C;
        let ours = Ours { unique, ..ours(configuration, name, object, plan) };
        checked += plan.field_names().count() + 1;
        match described(&client, object).await {
            Ok(description) => misfits.extend(compare(&ours, &description)),
            Err(found) => {
                let remedy = "check the object's name and the permissions of our user there".to_owned();
                misfits.push(Misfit { key: ours.at, found, remedy });
            }
        }
    }
    let shown: Vec<String> = misfits
        .iter()
        .map(|misfit| format!("{}\n  found:    {}\n  remedy:   {}\n", misfit.key, plain(&misfit.found), misfit.remedy))
        .collect();
    let well = format!("{name} takes all {checked} fields of {}.", objects.join(", "));
    let text = if misfits.is_empty() { well } else { format!("{}\n{} of {checked} fields do not fit.", shown.join("\n"), misfits.len()) };
    context.say(&json!({ "name": name, "objects": objects, "fields": checked, "findings": misfits }), &text);
    if misfits.is_empty() { Ok(()) } else { Err(Refused::Told) }
}

/// What the CRM says of an object, or what it said instead.
pub async fn described(client: &Client, object: &str) -> Result<Description, String> {
    client
        .describe(object, clock::now())
        .await
        .map_err(|failure| format!("the CRM's description of `{object}` cannot be had: {}: {}", failure.code, failure.message))
}

fn ours<'a>(configuration: &Configuration, name: &str, object: &str, plan: &'a ObjectPlan) -> Ours<'a> {
    let mut yields: BTreeMap<String, Yields> = BTreeMap::new();
    for (_, held) in configuration.sources.iter().filter(|(source, _)| configuration.routes.leads(source, name, object)) {
        for (attribute, found) in held.source.yields() {
            let first = !yields.contains_key(&attribute);
            let all = yields.entry(attribute).or_default();
            all.kinds.extend(found.kinds);
            all.longest = if first { found.longest } else { all.longest.zip(found.longest).map(|(a, b)| a.max(b)) };
        }
    }
    Ours {
        at: format!("destinations.{name}.objects.{object}"),
        plan,
        creates: configuration.routes.creates(name, object),
        unique: true,
        yields,
    }
}

/// Everything of an object that its CRM will not take.
pub fn compare(ours: &Ours<'_>, description: &Description) -> Vec<Misfit> {
    let mut misfits = Vec::new();
    let mut tell = |key: String, found: String, remedy: &str| misfits.push(Misfit { key, found, remedy: remedy.to_owned() });
    key_field(ours, description, &mut tell);
    let mut filled = BTreeSet::from([ours.plan.key_field.as_str()]);
    for (name, filling) in ours.plan.fillings() {
        filled.insert(name);
        let at = format!("{}.fields.{name}", ours.at);
        let Some(field) = find(description, name) else {
            let (found, remedy) = nowhere(description, name);
            tell(at, found, &remedy);
            continue;
        };
        if !field.updatable {
            let found = if field.creatable { "can be set when a record is created, and not changed" } else { "cannot be written" };
            tell(at, format!("`{name}` {found}"), "remove it, or give our user the permission to write it");
            continue;
        }
        if let Some(found) = unfit(name, &filling, field, &ours.yields) {
            tell(at, found, "map another field, or another kind of value (`as` in the source's mapping)");
        } else if let Some(found) = narrow(name, &filling, field, &ours.yields) {
            tell(at, found, "shorten it in the source's mapping (`truncate`), or make the CRM's field longer");
        }
    }
    if ours.creates {
        for (name, _) in description.fields.iter().filter(|(name, field)| field.required && !filled.contains(name.as_str())) {
            let found = format!("the CRM creates no record without `{name}`, and nothing fills it");
            tell(format!("{}.fields", ours.at), found, "map it, or give it a value of its own: `{ const = \"…\" }`");
        }
    }
    misfits
}

fn find<'d>(description: &'d Description, name: &str) -> Option<&'d FieldDescription> {
    description.fields.get(name)
}

fn nowhere(description: &Description, name: &str) -> (String, String) {
    let remedy = match closest(name, description.fields.keys().map(String::as_str)) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "create it in the CRM, or remove it here; if it is there, our user may not see it".to_owned(),
    };
    (format!("the CRM has no field `{name}`"), remedy)
}

fn key_field(ours: &Ours<'_>, description: &Description, tell: &mut impl FnMut(String, String, &str)) {
    let (at, name) = (format!("{}.key.field", ours.at), &ours.plan.key_field);
    let Some(field) = find(description, name) else {
        let (found, meant) = nowhere(description, name);
        let remedy =
            if meant.starts_with("did you mean") { meant } else { "create it: `onceward destinations setup` says or does how".to_owned() };
        return tell(at, found, &remedy);
    };
    if !matches!(field.kind, FieldKind::Text) {
        tell(at, format!("the key's field `{name}` takes {}", word(&field.kind)), "key by a text field");
    } else if !field.unique && ours.unique {
        let found = format!("`{name}` is not unique, so that two records can have one key, or records are not found by it");
        tell(
            at,
            found,
            "make it unique and an external ID; where the CRM cannot change that, let `onceward destinations setup` make another field",
        );
    } else if !field.creatable {
        tell(at, format!("`{name}` cannot be written"), "give our user the permission to write it");
    } else if field.length_max.is_some_and(|most| most < KEY_MIN) {
        let found = format!("`{name}` holds {} characters, and senders' ids may be longer", field.length_max.unwrap_or_default());
        tell(at, found, "make it longer: 255 characters are enough for all of them");
    }
}

/// Why a value of ours is of no kind that the field takes.
fn unfit(name: &str, filling: &Filled<'_>, field: &FieldDescription, yields: &BTreeMap<String, Yields>) -> Option<String> {
    if *filling == Filled::Parent {
        let fits = matches!(field.kind, FieldKind::Reference | FieldKind::Other(_));
        return (!fits).then(|| format!("`{name}` takes {}, and is given the record that this one belongs to", word(&field.kind)));
    }
    if let (Filled::Constant(value), FieldKind::Choice { options, open: false, .. }) = (filling, &field.kind) {
        return unlisted(name, value, options);
    }
    let kinds: BTreeSet<Yielded> = match filling {
        Filled::Parent => BTreeSet::new(),
        Filled::Identity(_) | Filled::Word => [Yielded::Text].into(),
        Filled::Moment => [Yielded::Moment].into(),
        Filled::Constant(Value::Bool(_)) => [Yielded::Boolean].into(),
        Filled::Constant(Value::Number(_)) => [Yielded::Number].into(),
        Filled::Constant(Value::String(text)) if text.trim().parse::<f64>().is_ok() => [Yielded::Decimal].into(),
        Filled::Constant(Value::String(_) | Value::Null | Value::Array(_) | Value::Object(_)) => [Yielded::Text].into(),
        Filled::Attribute(attribute) => yields.get(*attribute).map(|yields| yields.kinds.clone()).unwrap_or_default(),
    };
    let wrong = kinds.into_iter().find(|kind| !takes(&field.kind, *kind))?;
    Some(format!("`{name}` takes {}, and is given {}", word(&field.kind), given(wrong)))
}

fn unlisted(name: &str, value: &Value, options: &[String]) -> Option<String> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if options.contains(&text) {
        return None;
    }
    let meant = closest(&text, options.iter().map(String::as_str)).map(|meant| format!("; `{meant}` is one of them")).unwrap_or_default();
    Some(format!("`{text}` is none of the values of `{name}`{meant}"))
}

fn takes(kind: &FieldKind, given: Yielded) -> bool {
    match (kind, given) {
        (_, Yielded::Anything) | (FieldKind::Other(_), _) => true,
        (FieldKind::Text, _) => true,
        (FieldKind::Number, Yielded::Number | Yielded::Decimal) | (FieldKind::Integer, Yielded::Number) => true,
        (FieldKind::Boolean, Yielded::Boolean) => true,
        (FieldKind::Date, Yielded::Date) | (FieldKind::DateTime, Yielded::Moment | Yielded::Date) => true,
        // Which of its values a text is, nobody knows before it comes.
        (FieldKind::Choice { .. }, Yielded::Text) => true,
        (FieldKind::Choice { several, .. }, Yielded::List) => *several,
        (FieldKind::Choice { options, .. }, Yielded::Boolean) => options.iter().any(|option| option == "true"),
        (FieldKind::Choice { .. }, Yielded::Number | Yielded::Decimal | Yielded::Date | Yielded::Moment) => false,
        (FieldKind::Number | FieldKind::Integer, Yielded::Text | Yielded::Boolean | Yielded::Date | Yielded::Moment | Yielded::List) => {
            false
        }
        (FieldKind::Integer, Yielded::Decimal) => false,
        (FieldKind::Boolean, Yielded::Text | Yielded::Number | Yielded::Decimal | Yielded::Date | Yielded::Moment | Yielded::List) => false,
        (FieldKind::Date, Yielded::Text | Yielded::Number | Yielded::Decimal | Yielded::Boolean | Yielded::Moment | Yielded::List) => false,
        (FieldKind::DateTime, Yielded::Text | Yielded::Number | Yielded::Decimal | Yielded::Boolean | Yielded::List) => false,
        (
            FieldKind::Reference,
            Yielded::Text | Yielded::Number | Yielded::Decimal | Yielded::Boolean | Yielded::Date | Yielded::Moment | Yielded::List,
        ) => false,
    }
}

/// Why a text of ours can be longer than the field holds, where it is known how long ours can be.
fn narrow(name: &str, filling: &Filled<'_>, field: &FieldDescription, yields: &BTreeMap<String, Yields>) -> Option<String> {
    let most = usize::try_from(field.length_max?).unwrap_or(usize::MAX);
    let longest = match filling {
        Filled::Constant(Value::String(text)) => text.chars().count(),
        Filled::Identity("phone_e164") => PHONE_MAX,
        Filled::Moment => MOMENT_MAX,
        Filled::Attribute(attribute) => yields.get(*attribute)?.longest?,
        Filled::Constant(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_))
        | Filled::Identity(_)
        | Filled::Parent
        | Filled::Word => return None,
    };
    (longest > most).then(|| format!("`{name}` holds {most} characters, and may be given {longest}"))
}

fn word(kind: &FieldKind) -> String {
    match kind {
        FieldKind::Text => "text".into(),
        FieldKind::Number => "a number".into(),
        FieldKind::Integer => "a whole number".into(),
        FieldKind::Boolean => "yes or no".into(),
        FieldKind::Date => "a day".into(),
        FieldKind::DateTime => "a moment".into(),
        FieldKind::Choice { several: false, .. } => "one of its values".into(),
        FieldKind::Choice { several: true, .. } => "some of its values".into(),
        FieldKind::Reference => "the id of another record".into(),
        FieldKind::Other(word) => format!("what the CRM calls `{word}`"),
    }
}

const fn given(kind: Yielded) -> &'static str {
    match kind {
        Yielded::Text => "text",
        Yielded::Number => "a number",
        Yielded::Decimal => "a decimal number",
        Yielded::Boolean => "yes or no",
        Yielded::Date => "a day",
        Yielded::Moment => "a moment",
        Yielded::List => "a list",
        Yielded::Anything => "anything",
    }
}

#[cfg(test)]
mod tests;
