//! Addresses, queries by key, and rows as they are shown.

use serde_json::{Map, Value, json};

use super::tables::{self, Table};
use super::{By, ROOT, Refusal, id_of, known};
use crate::dialects::{Request, World};
use crate::http::{HttpReply, decode, pair, split};

/// What an address is about.
pub(super) enum Place {
    WhoAmI,
    Set(String),
    Row(String, By),
    Definitions,
    /// The choice columns of a kind, of a table.
    Choices(String, String),
    Columns(String),
    Keys(String),
}

/// With one of these in a key, no address works (define-alternate-keys-entity).
const UNADDRESSABLE: &str = "/#<>*%&:\\?+";
const NAVIGATION: &str = "Microsoft.Dynamics.CRM.associatednavigationproperty";

/// Reads an address under the API's root.
pub(super) fn place(request: &Request) -> Result<Place, Refusal> {
    let nothing = |segment: &str| Refusal::new(404, "0x80060888", format!("Resource not found for the segment '{segment}'."));
    let (path, _) = split(&request.target);
    let rest = path.strip_prefix(ROOT).and_then(|rest| rest.split_once('/')).map(|(_, rest)| rest).ok_or_else(|| nothing(path))?;
    // Within a quoted key a slash is encoded, so that it parts nothing here.
    let segments: Vec<&str> = rest.split('/').collect();
    match segments.as_slice() {
        ["WhoAmI"] => Ok(Place::WhoAmI),
        ["EntityDefinitions"] => Ok(Place::Definitions),
        [table, "Attributes"] => Ok(Place::Columns(logical(table).ok_or_else(|| nothing(table))?)),
        [table, "Keys"] => Ok(Place::Keys(logical(table).ok_or_else(|| nothing(table))?)),
        [table, "Attributes", kind] => {
            let kind = kind.strip_prefix("Microsoft.Dynamics.CRM.").and_then(|kind| kind.strip_suffix("AttributeMetadata"));
            let kind = kind.ok_or_else(|| nothing("Attributes"))?;
            Ok(Place::Choices(logical(table).ok_or_else(|| nothing(table))?, kind.to_owned()))
        }
        [one] if one.contains('(') => address(one).map(|(set, by)| Place::Row(set, by)),
        [set] => Ok(Place::Set((*set).to_owned())),
        [..] => Err(nothing(rest)),
    }
}

fn logical(segment: &str) -> Option<String> {
    let name = segment.strip_prefix("EntityDefinitions(LogicalName='")?.strip_suffix("')")?;
    decode(name, false)
}

/// `contacts(onceward_key='O%27%27Brien')` or `contacts(00000000-0000-0000-0000-000000000001)`.
pub(super) fn address(text: &str) -> Result<(String, By), Refusal> {
    let syntax = || Refusal::new(400, "0x80060888", "Bad Request - Error in query syntax.");
    let (set, inner) = text.split_once('(').ok_or_else(syntax)?;
    let inner = decode(inner.strip_suffix(')').ok_or_else(syntax)?, false).ok_or_else(syntax)?;
    let Some((column, value)) = inner.split_once('=') else {
        let groups: Vec<usize> = inner.split('-').map(str::len).collect();
        let hex = inner.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        return if hex && groups == [8, 4, 4, 4, 12] { Ok((set.to_owned(), By::Id(inner.to_ascii_lowercase()))) } else { Err(syntax()) };
    };
    let value = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')).ok_or_else(syntax)?;
    if value.chars().any(|char| UNADDRESSABLE.contains(char)) || value.replace("''", "").contains('\'') {
        return Err(syntax());
    }
    Ok((set.to_owned(), By::Key { column: column.to_owned(), value: value.replace("''", "'") }))
}

/// `key eq 'a' or key eq 'b'`: the column and the values; anything else is not understood here.
fn terms(filter: &str) -> Option<(String, Vec<String>)> {
    let mut column: Option<String> = None;
    let mut values = Vec::new();
    let mut rest = filter.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once(" eq '")?;
        if column.get_or_insert_with(|| name.to_owned()) != name {
            return None;
        }
        let mut value = String::new();
        let mut chars = after.char_indices().peekable();
        let end = loop {
            match chars.next()? {
                (_, '\'') if chars.next_if(|(_, next)| *next == '\'').is_some() => value.push('\''),
                (at, '\'') => break at,
                (_, char) => value.push(char),
            }
        };
        values.push(value);
        rest = after.get(end + 1..)?;
        rest = match rest.strip_prefix(" or ") {
            Some(next) => next,
            None if rest.is_empty() => rest,
            None => return None,
        };
    }
    Some((column?, values))
}

/// Answers a query of an entity set by one column.
pub(super) fn listed(request: &Request, set: &str, world: &mut World<'_>) -> Result<HttpReply, Refusal> {
    let table = known(world, set)?;
    let wrong = || Refusal::new(400, "0x80060888", "Bad Request - Error in query syntax.");
    let filter = pair(request.query(), "$filter").ok_or_else(wrong)?;
    let (column, values) = terms(&filter).ok_or_else(wrong)?;
    selected(request, &table)?;
    if table.column(&column).is_none() {
        return Err(unknown(&table, &column));
    }
    let mut numbers: Vec<u64> = values.iter().flat_map(|value| table.rows(world).find(&column, value)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let rows: Vec<Value> = numbers.into_iter().map(|number| shown(request, world, &table, number)).collect::<Result<_, _>>()?;
    let body = json!({ "@odata.context": format!("https://sandbox.crm.dynamics.com/api/data/v9.2/$metadata#{set}"), "value": rows });
    Ok(HttpReply::json(200, &body).with("odata-version", "4.0"))
}

fn unknown(table: &Table, name: &str) -> Refusal {
    let message = format!("Could not find a property named '{name}' on type 'Microsoft.Dynamics.CRM.{}'.", table.name);
    Refusal::new(400, "0x80060888", message)
}

/// The columns that are asked for; `None` for all of them. A lookup is asked for as `_x_value`, and not as it is written.
fn selected(request: &Request, table: &Table) -> Result<Option<Vec<String>>, Refusal> {
    let Some(select) = pair(request.query(), "$select") else { return Ok(None) };
    let names: Vec<String> = select.split(',').map(|name| name.trim().to_owned()).collect();
    let held = |name: &str| {
        let lookup = name.strip_prefix('_').and_then(|name| name.strip_suffix("_value"));
        let lookup = lookup.is_some_and(|column| table.lookups.iter().any(|(_, held, _)| *held == column));
        lookup || table.column(name).is_some() || [table.id_column().as_str(), "modifiedon", "createdon"].contains(&name)
    };
    match names.iter().find(|name| !held(name)) {
        Some(name) => Err(unknown(table, name)),
        None => Ok(Some(names)),
    }
}

/// A row as it is shown: what was selected and its id, which is always there.
pub(super) fn shown(request: &Request, world: &mut World<'_>, table: &Table, number: u64) -> Result<Value, Refusal> {
    let names = selected(request, table)?;
    let annotated = request.header("prefer").is_some_and(|prefer| prefer.contains(NAVIGATION) || prefer.contains("annotations=\"*\""));
    let id = id_of(world, table, number);
    let Some(row) = table.rows(world).row(number).cloned() else { return Ok(Value::Null) };
    let lookups: Vec<String> = table.lookups.iter().map(|(_, column, _)| format!("_{column}_value")).collect();
    let moment = |at: model::Time| {
        let text = model::Time::from_seconds(at.seconds()).to_string();
        format!("{}Z", text.split(['.', 'Z']).next().unwrap_or_default())
    };
    let all =
        table.columns.iter().map(|column| column.name.clone()).chain(lookups).chain(["modifiedon".to_owned(), "createdon".to_owned()]);
    let mut members = Map::from_iter([("@odata.etag".to_owned(), json!(format!("W/\"{}{}\"", number, row.writes)))]);
    for name in names.unwrap_or_else(|| all.collect()) {
        let value = match name.as_str() {
            "modifiedon" => json!(moment(row.modified)),
            "createdon" => json!(moment(row.created)),
            name => row.fields.get(name).cloned().unwrap_or_default(),
        };
        if annotated && let Some(navigation) = navigation(world, table, &name, &value) {
            members.insert(format!("{name}@{NAVIGATION}"), json!(navigation));
        }
        members.insert(name, value);
    }
    members.insert(table.id_column(), json!(id));
    Ok(Value::Object(members))
}

/// The navigation property through which a lookup holds what it holds.
fn navigation(world: &mut World<'_>, table: &Table, name: &str, value: &Value) -> Option<&'static str> {
    let column = name.strip_prefix('_')?.strip_suffix("_value")?;
    let id = value.as_str()?;
    let held = table.lookups.iter().filter(|(_, held, _)| *held == column);
    for (navigation, _, set) in held {
        let target = tables::table(world, set)?;
        if super::by_id(world, &target, id).is_some() {
            return Some(navigation);
        }
    }
    None
}
