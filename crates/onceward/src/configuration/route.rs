//! Objects and routes: what is written where.

use std::collections::{BTreeMap, BTreeSet};

use model::destination::Adopt;
use model::route::{ObjectDef, ObjectPlan, Objects, RouteDef, Routes};

use super::compile::{Compiler, key};
use super::problem::Finding;
use super::tree::{Step, Value};
use super::{Destination, SourceOf, Warning, read};

/// The objects of a destination; `None` if something was wrong with one.
pub fn objects(to: &mut Compiler<'_>, path: &[Step], connector: &str, adopt: Adopt) -> Option<Objects> {
    let path = [path, &[key("objects")]].concat();
    let names = to.names(&path);
    let count = names.len();
    let mut objects = Objects::new();
    for name in names {
        if let Some(object) = object(to, &path, &name, connector, adopt) {
            objects.insert(name, object);
        }
    }
    (objects.len() == count).then_some(objects)
}

fn object(to: &mut Compiler<'_>, path: &[Step], name: &str, connector: &str, adopt: Adopt) -> Option<ObjectPlan> {
    let path = [path, &[key(name)]].concat();
    let node = to.root.at(&path)?.clone();
    for (at, name) in names(&node.value, name) {
        if !connect::valid_name(&name) {
            let expected = "a letter, then letters, digits and `_`, at most 80 in all";
            let finding =
                Finding::new(format!("the name `{name}`"), expected, "use the CRM's API name of the object or field, not its label");
            to.wrong(&[path.as_slice(), &at].concat(), finding);
        }
    }
    let before = to.problems.len();
    let mut def: ObjectDef = read::section(&node, &path, &[], to.problems)?;
    if to.problems.len() > before {
        return None;
    }
    if node.at(&[key("adopt")]).is_none() {
        def.adopt = adopt;
    }
    ObjectPlan::compile(connector, name, &def).map_err(|problems| to.models(&path, problems)).ok()
}

/// Every name that goes into a request to the CRM, and where it is written below the object.
fn names(object: &Value, name: &str) -> Vec<(Vec<Step>, String)> {
    let mut names = vec![(Vec::new(), name.to_owned())];
    let Value::Table(table) = object else { return names };
    if let Some(Value::Table(fields)) = table.get("fields").map(|node| &node.value) {
        names.extend(fields.keys().map(|field| (vec![key("fields"), key(field)], field.clone())));
    }
    let field = table.get("key").and_then(|node| node.at(&[key("field")]));
    if let Some(Value::Text(field)) = field.map(|node| &node.value) {
        names.push((vec![key("key"), key("field")], field.clone()));
    }
    names
}

/// Every route as written; `None` if something was wrong with one.
pub fn definitions(to: &mut Compiler<'_>) -> Option<Vec<RouteDef>> {
    let path = [key("routes")];
    let count = match to.root.at(&path).map(|node| (node.kind(), &node.value)) {
        None => return Some(Vec::new()),
        Some((_, Value::Array(routes))) => routes.len(),
        Some((kind, _)) => {
            to.wrong(&path, Finding::new(kind, "a list of routes", "begin each route with a line `[[routes]]`"));
            return None;
        }
    };
    let mut definitions = Vec::new();
    for index in 0..count {
        let path = [key("routes"), Step::Index(index)];
        let node = to.root.at(&path)?.clone();
        definitions.extend(read::section::<RouteDef>(&node, &path, &[], to.problems));
    }
    (definitions.len() == count).then_some(definitions)
}

/// Checks the routes against what there is. A source, destination or object that is there and wrong was told already.
pub fn compile(to: &mut Compiler<'_>, definitions: &[RouteDef], destinations: &BTreeMap<String, Option<Destination>>) -> Option<Routes> {
    let sources: BTreeSet<String> = to.names(&[key("sources")]).into_iter().collect();
    let objects = destinations.iter().filter_map(|(name, held)| Some((name.clone(), held.as_ref()?.objects.clone()))).collect();
    let mut problems = match Routes::compile(definitions, &sources, objects) {
        Ok(routes) => return Some(routes),
        Err(problems) => problems,
    };
    let there = |path: &[&str]| {
        let path: Vec<Step> = path.iter().copied().map(key).collect();
        to.root.at(&path).is_some()
    };
    problems.retain(|problem| {
        let mut parts = problem.key.split('.').skip(1);
        let route = parts.next().and_then(|index| definitions.get(index.parse::<usize>().ok()?));
        match (route, parts.next()) {
            (Some(route), Some("to")) => !there(&["destinations", &route.to]),
            (Some(route), Some("object")) => !there(&["destinations", &route.to, "objects", &route.object]),
            (Some(_) | None, _) => true,
        }
    });
    to.models(&[], problems);
    for (index, route) in definitions.iter().enumerate().filter(|(_, route)| matches!(destinations.get(&route.to), Some(None))) {
        let object: Vec<Step> = ["destinations", &route.to, "objects", &route.object].into_iter().map(key).collect();
        if to.root.at(&object).is_none() {
            let found = format!("the destination `{}` has no object `{}`", route.to, route.object);
            let finding = Finding::new(found, "", "add it under the destination's `objects`, with its key");
            to.wrong(&[key("routes"), Step::Index(index), key("object")], finding);
        }
    }
    None
}

/// What is not wrong and perhaps not meant.
pub fn warnings(
    sources: &BTreeMap<String, Option<SourceOf>>,
    destinations: &BTreeMap<String, Option<Destination>>,
    routes: &[RouteDef],
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (name, source) in sources {
        let retired = source.as_ref().is_some_and(|source| source.source.retired);
        if !retired && !routes.iter().any(|route| takes(route, name)) {
            warnings.push(Warning {
                key: format!("sources.{name}"),
                message: "no route takes events of this source; each would become a dead letter `unrouted`".to_owned(),
                remedy: format!("add a route with `source = \"{name}\"`, or remove the source"),
            });
        }
    }
    for name in destinations.keys().filter(|name| !routes.iter().any(|route| route.to == **name)) {
        warnings.push(Warning {
            key: format!("destinations.{name}"),
            message: "no route leads to this destination".to_owned(),
            remedy: format!("add a route with `to = \"{name}\"`, or remove the destination"),
        });
    }
    for (name, destination) in destinations.iter().filter_map(|(name, destination)| Some((name, destination.as_ref()?))) {
        for (object, plan) in &destination.objects {
            warnings.extend(weak_key(destination.settings.kind, object, &plan.key_field).map(|message| Warning {
                key: format!("destinations.{name}.objects.{object}.key"),
                message,
                remedy: "create a text property with \"unique value\" in HubSpot, such as `crm_ext_id`, and name it here".to_owned(),
            }));
        }
    }
    if sources.is_empty() {
        let message = "no source is configured, so every webhook is answered with 404".to_owned();
        warnings.push(Warning { key: "sources".to_owned(), message, remedy: "add one, such as `[sources.typeform]`".to_owned() });
    }
    warnings
}

/// Why a field of a standard object is a bad key, where that is known without asking the CRM.
fn weak_key(kind: connect::Kind, object: &str, field: &str) -> Option<String> {
    match (kind.as_str(), object, field) {
        ("hubspot", _, "email") => {
            Some("HubSpot supports no partial upserts by `email`, and whoever changes their address becomes somebody else".to_owned())
        }
        ("hubspot", "companies", "domain" | "name") | ("hubspot", "deals", "dealname") => {
            Some(format!("`{field}` is not unique in HubSpot, which refuses every write by it"))
        }
        _ => None,
    }
}

/// Whether a route takes events of a source: the model's own notion, asked with this source as the only one there is.
fn takes(route: &RouteDef, source: &str) -> bool {
    match Routes::compile(std::slice::from_ref(route), &BTreeSet::from([source.to_owned()]), BTreeMap::new()) {
        Ok(_) => true,
        Err(problems) => problems.iter().all(|problem| problem.key != "routes.0.source"),
    }
}
