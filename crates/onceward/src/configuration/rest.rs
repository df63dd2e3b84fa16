//! Destinations whose API the configuration describes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use connect::Kind;
use connect::crm::rest::{Definition, ObjectDefinition, ObjectNames, Target};
use model::destination::Policy;
use model::event::Mode;
use model::route::{Objects, OnDelete, RouteDef};

use super::compile::{Compiler, key};
use super::problem::Finding;
use super::tree::Step;
use super::{Destination, Warning, read};

/// The description of a destination, with what each of its objects says. `None`: it is wrong, which is told; `Some(None)`: the destination
/// is of another kind and has none.
pub fn definition(
    to: &mut Compiler<'_>,
    path: &[Step],
    name: &str,
    kind: Option<Kind>,
    target: Option<&Target>,
    objects: &Objects,
) -> Option<Option<Arc<Definition>>> {
    let described = described(to, path, objects);
    match (kind, target) {
        (Some(Kind::Rest), Some(target)) => compiled(to, path, name, target, described?, objects).map(Some),
        (Some(Kind::Rest), None) => {
            // What is there and could not be read was told already.
            if to.root.at(&[path, &[key("rest")]].concat()).is_none() {
                let finding =
                    Finding::new("nothing", "the section `rest`, which describes the API", "add it; docs/crms/rest.md has an example");
                to.wrong(&[path, &[key("rest")]].concat(), finding);
            }
            None
        }
        (None, _) => None,
        (Some(_), target) => {
            let mut odd: Vec<Vec<Step>> = target.map(|_| vec![key("rest")]).into_iter().collect();
            odd.extend(described?.into_keys().map(|object| vec![key("objects"), key(object), key("rest")]));
            for below in &odd {
                let finding = Finding::new("`rest`", "only keys of this kind of destination", "remove it, or write `kind = \"rest\"`");
                to.wrong(&[path, below.as_slice()].concat(), finding);
            }
            odd.is_empty().then_some(None)
        }
    }
}

/// Every object's `rest`, where it has one.
fn described(to: &mut Compiler<'_>, path: &[Step], objects: &Objects) -> Option<BTreeMap<String, ObjectDefinition>> {
    let mut whole = true;
    let mut described = BTreeMap::new();
    for object in objects.keys() {
        let at = [path, &[key("objects"), key(object), key("rest")]].concat();
        let Some(node) = to.root.at(&at).cloned() else { continue };
        match read::section::<ObjectDefinition>(&node, &at, &[], to.problems) {
            Some(definition) => described.extend([(object.clone(), definition)]),
            None => whole = false,
        }
    }
    whole.then_some(described)
}

fn compiled(
    to: &mut Compiler<'_>,
    path: &[Step],
    name: &str,
    target: &Target,
    described: BTreeMap<String, ObjectDefinition>,
    objects: &Objects,
) -> Option<Arc<Definition>> {
    let names = objects.iter().map(|(object, plan)| {
        let fields = plan.field_names().map(str::to_owned).collect();
        (object.clone(), ObjectNames { rest: described.get(object), key_field: &plan.key_field, fields })
    });
    match Definition::compile(name, target, &names.collect()) {
        Ok(definition) => Some(Arc::new(definition)),
        Err(problems) => {
            to.models(path, problems);
            None
        }
    }
}

/// Routes that ask for what nothing describes.
pub fn routes(to: &mut Compiler<'_>, routes: &[RouteDef], destinations: &BTreeMap<String, Option<Destination>>) {
    for (index, route) in routes.iter().enumerate() {
        let held = destinations.get(&route.to).and_then(Option::as_ref).and_then(|held| held.settings.rest.as_ref());
        let deletes = (route.on_delete == OnDelete::Delete).then_some(("on_delete", Mode::Delete));
        for (at, mode) in [("mode", route.mode)].into_iter().chain(deletes) {
            let Some(lacking) = held.and_then(|definition| definition.lacks(&route.object, mode)) else { continue };
            let found = format!("`{}`, which `{}` of `{}` cannot do", mode.as_str(), route.object, route.to);
            let remedy =
                format!("describe {lacking} under `destinations.{}.objects.{}.rest`, or write something else", route.to, route.object);
            to.wrong(&[key("routes"), Step::Index(index), key(at)], Finding::new(found, "", remedy));
        }
    }
}

/// What is not wrong and perhaps not meant.
pub fn warnings(destinations: &BTreeMap<String, Option<Destination>>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (name, held) in destinations.iter().filter_map(|(name, held)| Some((name, held.as_ref()?))) {
        let Some(definition) = &held.settings.rest else { continue };
        for doubt in definition.doubts(longest(&held.policy)) {
            warnings.push(Warning { key: format!("destinations.{name}.{}", doubt.key), message: doubt.message, remedy: doubt.remedy });
        }
    }
    warnings
}

/// How long a delivery is tried at most while its destination is well.
fn longest(policy: &Policy) -> Duration {
    let waits: Duration = (1..=policy.schedule.attempts()).map(|attempt| policy.schedule.wait_before(attempt, 1.0)).sum();
    waits + policy.call_timeout * policy.schedule.attempts()
}
