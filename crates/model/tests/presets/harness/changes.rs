//! Where a scheme finds things in a request, and the same request with one of them changed.

use model::signature::{Algorithm, Scheme};
use serde_json::Value;

use super::Row;
use super::oracle::member;

/// Where something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carrier {
    Header(String),
    Query(String),
    Form(String),
    /// From the document's root; in the first entry of `each` where that is what it is relative to.
    Json(String),
}

/// Everything that a scheme reads besides the whole body, that the row has.
pub fn carriers(scheme: &Scheme, row: &Row) -> Vec<Carrier> {
    let mut found = Vec::new();
    let first = scheme.each.as_ref().map(|each| each.replace("[]", ".0")).unwrap_or_default();
    let item = |path: &str| Carrier::Json(if first.is_empty() { path.to_owned() } else { format!("{first}.{path}") });
    let bare = scheme.header.is_none() && scheme.query.is_none() && scheme.json.is_none() && scheme.form.is_none();
    if bare && matches!(scheme.algorithm, Algorithm::Basic | Algorithm::Jwt) {
        found.push(Carrier::Header("authorization".to_owned()));
    }
    for name in scheme.header.iter().chain(&scheme.also) {
        found.extend((1..=16).map(|n| Carrier::Header(name.replace("{n}", &n.to_string()))).take(if name.contains("{n}") {
            16
        } else {
            1
        }));
    }
    found.extend(scheme.query.clone().map(Carrier::Query));
    found.extend(scheme.json.as_deref().map(item));
    found.extend(scheme.form.clone().map(Carrier::Form));
    if let Some(timestamp) = &scheme.timestamp {
        found.extend(timestamp.header.clone().map(Carrier::Header));
        found.extend(timestamp.query.clone().map(Carrier::Query));
        found.extend(timestamp.json.clone().map(Carrier::Json));
        found.extend(timestamp.form.clone().map(Carrier::Form));
    }
    found.extend(scheme.body_hash.as_ref().map(|hash| Carrier::Query(hash.query.clone())));
    for part in scheme.signed.as_deref().unwrap_or_default().split('{').skip(1) {
        let Some((word, name)) = part.split_once('}').and_then(|(inside, _)| inside.split_once(':')) else { continue };
        match word.trim_end_matches('?') {
            "header" => found.push(Carrier::Header(name.to_owned())),
            "query" | "query-lower" => found.push(Carrier::Query(name.to_owned())),
            "form" => found.push(Carrier::Form(name.to_owned())),
            "json" => found.push(Carrier::Json(name.to_owned())),
            "item" => found.push(item(name)),
            _ => {}
        }
    }
    found.retain(|carrier| carrier.get(row).is_some_and(|text| !text.is_empty()));
    found.dedup();
    found
}

impl Carrier {
    pub fn get(&self, row: &Row) -> Option<String> {
        match self {
            Self::Header(name) => row.headers.iter().find(|(held, _)| held.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone()),
            Self::Query(name) => value_of(row.target.split_once('?').map_or("", |(_, query)| query), name),
            Self::Form(name) => value_of(std::str::from_utf8(&row.body).ok()?, name),
            Self::Json(path) => {
                let body: Value = serde_json::from_slice(&row.body).ok()?;
                let value = member_at(&body, path)?;
                Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            }
        }
    }

    /// The row with another value here; `None`: with nothing.
    pub fn set(&self, row: &Row, value: Option<&str>) -> Row {
        let mut changed = row.clone();
        match self {
            Self::Header(name) => {
                changed.headers.retain(|(held, _)| !held.eq_ignore_ascii_case(name));
                changed.headers.extend(value.map(|value| (name.clone(), value.to_owned())));
            }
            Self::Query(name) => {
                let (path, query) = row.target.split_once('?').unwrap();
                changed.target = format!("{path}?{}", with(query, name, value));
            }
            Self::Form(name) => changed.body = with(std::str::from_utf8(&row.body).unwrap(), name, value).into_bytes(),
            Self::Json(path) => {
                let mut body: Value = serde_json::from_slice(&row.body).unwrap();
                let (outer, last) = path.rsplit_once('.').unwrap_or(("", path));
                let held = outer.split('.').filter(|name| !name.is_empty()).fold(&mut body, |held, name| match name.parse::<usize>() {
                    Ok(at) if held.is_array() => &mut held[at],
                    _ => &mut held[name],
                });
                match value {
                    Some(value) => held[last] = value.into(),
                    None => drop(held.as_object_mut().unwrap().remove(last)),
                }
                changed.body = body.to_string().into_bytes();
            }
        }
        changed
    }

    /// The row with this twice, the second time with the given value.
    pub fn twice(&self, row: &Row, second: &str) -> Row {
        let mut changed = row.clone();
        match self {
            Self::Header(name) => changed.headers.push((name.clone(), second.to_owned())),
            Self::Query(name) => changed.target = format!("{}&{name}={second}", row.target),
            Self::Form(name) => changed.body.extend(format!("&{name}={second}").bytes()),
            Self::Json(path) => {
                let last = path.rsplit('.').next().unwrap();
                let text = String::from_utf8(row.body.clone()).unwrap();
                let name = format!("\"{last}\"");
                assert!(text.contains(&name), "{}: {name}", row.preset);
                changed.body = text.replacen(&name, &format!("{name}:{},{name}", Value::from(second)), 1).into_bytes();
            }
        }
        changed
    }

    pub fn is_in_body(&self) -> bool {
        matches!(self, Self::Form(_) | Self::Json(_))
    }
}

fn member_at<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |held, name| match name.parse::<usize>() {
        Ok(at) if held.is_array() => held.get(at),
        _ => member(held, name),
    })
}

fn value_of(pairs: &str, name: &str) -> Option<String> {
    super::oracle::pairs(pairs).into_iter().find(|(held, _)| held == name).map(|(_, value)| value)
}

fn with(pairs: &str, name: &str, value: Option<&str>) -> String {
    let others = pairs.split('&').filter(|pair| super::oracle::decoded(pair.split('=').next().unwrap()) != name).map(str::to_owned);
    others.chain(value.map(|value| format!("{name}={value}"))).collect::<Vec<_>>().join("&")
}
