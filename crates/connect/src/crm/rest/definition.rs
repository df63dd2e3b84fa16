//! The description of a REST API, checked.

use std::collections::BTreeMap;
use std::time::Duration;

use model::event::Mode;
use model::protocol::Repeat;
use model::source::Problem;
use reqwest::Method;
use serde_json::Value;

use super::check::Checking;
use super::spelled;
use super::template::{Allowed, Body, Place, Pointer, Template};

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Retryable,
    Throttled,
    Auth,
    Conflict,
    Permanent,
    Unknown,
    /// The record that was to be created is there.
    Exists,
    /// The record is not there.
    Missing,
}

impl Meaning {
    pub const ALL: [(&'static str, Self); 8] = [
        ("retryable", Self::Retryable),
        ("throttled", Self::Throttled),
        ("auth", Self::Auth),
        ("conflict", Self::Conflict),
        ("permanent", Self::Permanent),
        ("unknown", Self::Unknown),
        ("exists", Self::Exists),
        ("missing", Self::Missing),
    ];
}

/// A REST API that was described in the configuration, certain to hold together.
#[derive(Clone, Debug)]
pub struct Definition {
    pub(super) destination: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) api_key_header: String,
    pub(super) idempotency_header: String,
    idempotency_life: Option<Duration>,
    pub(super) probe: String,
    pub(super) errors: Errors,
    pub(super) limits: Option<Limits>,
    pub(super) objects: BTreeMap<String, Object>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Errors {
    pub code: Option<Pointer>,
    pub message: Option<Pointer>,
    pub fields: Option<Pointer>,
    pub codes: BTreeMap<String, Meaning>,
    pub statuses: BTreeMap<u16, Meaning>,
    pub ok: Option<Told>,
}

/// A value at a place.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub at: Pointer,
    pub is: Value,
}

impl Told {
    pub fn by(&self, body: &Value) -> bool {
        self.at.get(body) == Some(&self.is)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub limit: String,
    pub remaining: String,
    pub reset: Option<String>,
    /// How long the window is.
    pub per: Duration,
}

#[derive(Clone, Debug)]
pub(super) struct Object {
    pub create: Option<Operation>,
    pub update: Option<Operation>,
    pub upsert: Option<Operation>,
    pub delete: Option<Operation>,
    pub read: Option<Read>,
}

#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub method: Method,
    pub path: Template,
    pub body: Option<Body>,
    pub wrap: Pointer,
    pub success: Vec<u16>,
    pub id: Option<Pointer>,
    pub created: Option<Told>,
    pub idempotency: Option<Template>,
    pub batch: Option<Batch>,
}

#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub size: usize,
    pub items: Pointer,
    pub results: Pointer,
    pub key: Option<Pointer>,
    pub ok: Option<Told>,
    pub status: Option<Pointer>,
    pub error: Option<Pointer>,
}

#[derive(Clone, Debug)]
pub(super) struct Read {
    pub path: Template,
    pub by_id: Option<Template>,
    pub items: Option<Pointer>,
    pub item: Pointer,
    pub id: Option<Pointer>,
    pub key: Option<Pointer>,
    pub record: Pointer,
    pub fields: BTreeMap<String, Pointer>,
    pub modified_at: Option<Pointer>,
    /// Keys in one look-up.
    pub keys: usize,
}

/// One object as the configuration has it beside its `rest`.
#[derive(Clone, Debug)]
pub struct ObjectNames<'a> {
    /// The object's `rest`; `None` where it is missing.
    pub rest: Option<&'a spelled::Object>,
    /// The field that carries the key.
    pub key_field: &'a str,
    /// Every other field that some event can set.
    pub fields: Vec<String>,
}

impl Definition {
    /// Checks the description of a destination and of its objects.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, with keys below the destination.
    pub fn compile(destination: &str, target: &spelled::Target, objects: &BTreeMap<String, ObjectNames<'_>>) -> Result<Self, Vec<Problem>> {
        let mut to = Checking::default();
        let header = |to: &mut Checking, key: &str, name: Option<&String>, otherwise: &str| {
            let name = name.map_or_else(|| otherwise.to_owned(), |name| name.to_ascii_lowercase());
            to.header(key, &name);
            name
        };
        let mut headers = Vec::new();
        to.few("rest.headers", target.headers.len());
        for (name, value) in &target.headers {
            let key = format!("rest.headers.{name}");
            to.header(&key, &name.to_ascii_lowercase());
            if value.len() > 1_024 || value.bytes().any(|byte| !(byte.is_ascii_graphic() || byte == b' ')) {
                to.wrong(
                    &key,
                    "is no header value: one is up to 1,024 visible ASCII characters",
                    "Correct it; secrets belong into `auth`.",
                );
            }
            headers.push((name.to_ascii_lowercase(), value.clone()));
        }
        let api_key_header = header(&mut to, "rest.api_key_header", target.api_key_header.as_ref(), "x-api-key");
        let idempotency_header = header(&mut to, "rest.idempotency_header", target.idempotency_header.as_ref(), "idempotency-key");
        let idempotency_life = target.idempotency_life.as_deref().and_then(|text| to.span("rest.idempotency_life", text));
        let probe = to.path("rest.probe", &target.probe, Allowed { places: &[], fields: &[] });
        let errors = to.errors(&target.errors);
        let limits = target.limits.as_ref().and_then(|limits| to.limits(limits));
        let objects = objects.iter().filter_map(|(name, names)| Some((name.clone(), to.object(name, names)?))).collect();
        match probe {
            Some(_) if to.problems.is_empty() => Ok(Self {
                destination: destination.to_owned(),
                headers,
                api_key_header,
                idempotency_header,
                idempotency_life,
                probe: target.probe.clone(),
                errors,
                limits,
                objects,
            }),
            Some(_) | None => Err(to.problems),
        }
    }

    /// Whether an object can be looked up. Where it cannot, there is nothing to read before the first write.
    pub fn reads(&self, object: &str) -> bool {
        self.objects.get(object).is_some_and(|object| object.read.is_some())
    }

    /// What is missing for a route of this mode; `None`: nothing.
    pub fn lacks(&self, object: &str, mode: Mode) -> Option<&'static str> {
        let object = self.objects.get(object)?;
        match mode {
            Mode::Upsert if object.upsert.is_some() || (object.create.is_some() && object.update.is_some()) => None,
            Mode::Upsert => Some("`upsert`, or `create` and `update`"),
            Mode::CreateOnly => object.create.is_none().then_some("`create`"),
            Mode::UpdateOnly => object.update.is_none().then_some("`update`"),
            Mode::Delete => object.delete.is_none().then_some("`delete`"),
        }
    }

    /// What is not wrong and perhaps not meant, with keys below the destination: message and remedy. `schedule` is how long a delivery is
    /// tried at most, as far as the waits between attempts say.
    pub fn doubts(&self, schedule: Duration) -> Vec<Problem> {
        let mut doubts = Vec::new();
        for (name, object) in &self.objects {
            let Some(create) = &object.create else { continue };
            let at = format!("objects.{name}.rest.create");
            match (object.repeat_create(), self.idempotency_life) {
                (Repeat::Same, None) => doubts.push(Problem::new(
                    &at,
                    "has an idempotency key, and nothing says how long the API remembers one",
                    "look it up in the API's documentation and set `rest.idempotency_life`",
                )),
                (Repeat::Same, Some(life)) if life < schedule => doubts.push(Problem::new(
                    "rest.idempotency_life",
                    format!(
                        "is {life:?}, and a delivery may be tried for {schedule:?}: after that a repeated create could be a second one"
                    ),
                    "shorten the destination's `schedule`, or describe a `read` and leave `idempotency` out",
                )),
                (Repeat::Person, _) => doubts.push(Problem::new(
                    &at,
                    format!(
                        "{} cannot be repeated: each unknown outcome becomes a dead letter `unknown_outcome` for a person",
                        create.method
                    ),
                    "describe a `read` by the key, or `idempotency` if the API takes such keys",
                )),
                (Repeat::Same | Repeat::Keyed | Repeat::Look, _) => {}
            }
        }
        doubts
    }
}

impl Object {
    /// What may follow when it is not known whether a record was created by `create`.
    pub fn repeat_create(&self) -> Repeat {
        match &self.create {
            Some(create) if create.method == Method::PUT && create.path.has(&Place::Key) => Repeat::Keyed,
            Some(create) if create.idempotency.is_some() => Repeat::Same,
            Some(_) if self.read.is_some() => Repeat::Look,
            Some(_) | None => Repeat::Person,
        }
    }

    /// Records that the worker may take together: no more than can be written, nor than can be read before.
    pub fn group(&self) -> usize {
        let written = [&self.create, &self.update, &self.upsert, &self.delete].into_iter().flatten();
        let written = written.map(|operation| operation.batch.as_ref().map_or(1, |batch| batch.size)).max().unwrap_or(1);
        written.min(self.read.as_ref().map_or(usize::MAX, |read| read.keys))
    }
}
