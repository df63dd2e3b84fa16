//! A source written into the text of a configuration: comments and order stay as they are.

use std::collections::BTreeMap;

use toml_edit::{ArrayOfTables, DocumentMut, InlineTable, Item, Table, Value, value};

use super::{Place, Wanted};

/// The text with the source, and the routes for its events.
///
/// # Errors
///
/// It is no TOML, says `sources` or `routes` in a form that cannot be added to, or has this source already.
pub fn with(text: &str, wanted: &Wanted) -> Result<String, String> {
    let mut document: DocumentMut = text.parse().map_err(|error| format!("{error}"))?;
    let sources = document.entry("sources").or_insert_with(implicit);
    let sources = sources.as_table_mut().ok_or("`sources` is written in one line: write it as `[sources.NAME]` to add one")?;
    if sources.contains_key(&wanted.name) {
        return Err(format!("there is a source `{}` already: name this one otherwise with `--name`", wanted.name));
    }
    sources.insert(&wanted.name, Item::Table(source(wanted)));
    if let Some((to, object, events)) = &wanted.route {
        let routes = document.entry("routes").or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
        let routes = routes.as_array_of_tables_mut().ok_or("`routes` is written in one line: write each as `[[routes]]` to add one")?;
        for event in events {
            let mut route = Table::new();
            for (key, text) in [("source", &wanted.name), ("event", event), ("to", to), ("object", object)] {
                route.insert(key, value(text.as_str()));
            }
            route.decor_mut().set_prefix("\n");
            routes.push(route);
        }
    }
    Ok(document.to_string())
}

fn implicit() -> Item {
    let mut table = Table::new();
    table.set_implicit(true);
    Item::Table(table)
}

fn source(wanted: &Wanted) -> Table {
    let mut table = Table::new();
    table.decor_mut().set_prefix("\n");
    table.insert("preset", value(wanted.preset.as_str()));
    let (key, place) = match &wanted.secret {
        Place::Env(variable) => ("env", variable.clone()),
        Place::File(file) => ("file", file.display().to_string()),
    };
    let secret: InlineTable = [(key, Value::from(place))].into_iter().collect();
    table.insert("secrets", value(Value::Array([Value::InlineTable(secret)].into_iter().collect())));
    if let Some(token) = &wanted.token {
        let place: InlineTable = [("env", Value::from(token.as_str()))].into_iter().collect();
        let fetch: InlineTable = [("token", Value::InlineTable(place))].into_iter().collect();
        table.insert("fetch", value(fetch));
    }
    if let Some(trust) = wanted.trust {
        table.insert("trust", value(i64::from(trust)));
    }
    table
}

/// The configured destinations and their objects. Nothing where the text cannot be read: that is said elsewhere.
pub fn destinations(text: &str) -> BTreeMap<String, Vec<String>> {
    let table: toml::Table = text.parse().unwrap_or_default();
    let destinations = table.get("destinations").and_then(toml::Value::as_table).cloned().unwrap_or_default();
    let objects = |held: &toml::Value| held.get("objects").and_then(toml::Value::as_table).map(|objects| objects.keys().cloned().collect());
    destinations.iter().map(|(name, held)| (name.clone(), objects(held).unwrap_or_default())).collect()
}

/// How vendors reach us, if the text says so.
pub fn public_url(text: &str) -> Option<String> {
    let table: toml::Table = text.parse().ok()?;
    let url = table.get("listen")?.get("public_url")?.as_str()?;
    Some(url.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# mine\n[encryption]\nkeys = [{ env = \"KEY\" }] # the key\n\n[sources.a]\npreset = \"stripe\"\n\n# leads\n[[sources.a.events]]\ntype = \"x.y\"\n\n\
                        # where to\n[destinations.crm]\nkind = \"salesforce\"\n\n[[routes]] # first\nsource = \"*\"\n# the end\n";

    fn wanted() -> Wanted {
        Wanted {
            preset: "typeform".into(),
            name: "forms".into(),
            secret: Place::File("/run/secrets/forms".into()),
            trust: Some(60),
            token: None,
            route: Some(("crm".into(), "Lead".into(), vec!["lead.*".into(), "deal.*".into()])),
        }
    }

    #[test]
    fn a_source_stands_behind_the_others_and_every_line_that_was_there_is_there() {
        let after = with(TEXT, &wanted()).unwrap();
        let lines: Vec<&str> = after.lines().collect();
        let mut rest = lines.iter();
        for line in TEXT.lines() {
            assert!(rest.any(|held| *held == line), "{line} is gone or elsewhere in\n{after}");
        }
        let at = |what: &str| lines.iter().position(|line| line.starts_with(what)).unwrap_or_else(|| panic!("{what} in\n{after}"));
        assert!(at("[[sources.a.events]]") < at("[sources.forms]") && at("[sources.forms]") < at("[destinations.crm]"), "{after}");
        assert!(after.contains("secrets = [{ file = \"/run/secrets/forms\" }]\ntrust = 60\n"), "{after}");
        assert_eq!(after.matches("[[routes]]").count(), 3, "{after}");
        assert!(after.contains("source = \"forms\"\nevent = \"deal.*\"\nto = \"crm\"\nobject = \"Lead\"\n"), "{after}");
    }

    #[test]
    fn what_cannot_be_added_to_is_said() {
        let again = with(&with(TEXT, &wanted()).unwrap(), &wanted()).unwrap_err();
        assert!(again.contains("already"), "{again}");
        assert!(with("sources = 1", &wanted()).is_err() && with("[sources", &wanted()).is_err());
        assert!(with("routes = []\n", &wanted()).unwrap_err().contains("[[routes]]"));
    }
}
