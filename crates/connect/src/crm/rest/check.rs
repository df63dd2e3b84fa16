//! Checks a described API piece by piece, and notes everything that is wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use model::source::Problem;
use model::time::parse_span;
use reqwest::Method;
use serde_json::{Value, json};

use super::definition::{Batch, Errors, Limits, Meaning, Object, ObjectNames, Operation, Read, Told};
use super::spelled::{self, Mark};
use super::template::{Allowed, Body, Place, Pointer, Template};

/// The most records in one call.
const BATCH_MAX: usize = 1_000;
/// As many keys as surely fit into a URL.
const KEYS_MAX: usize = 50;
/// The most headers, codes and statuses.
const ENTRIES_MAX: usize = 200;

/// Headers that are ours or the transport's to set.
const RESERVED: [&str; 8] =
    ["authorization", "host", "content-length", "content-type", "transfer-encoding", "connection", "cookie", "x-onceward-call"];

/// What an operation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Create,
    Update,
    Upsert,
    Delete,
}

/// What was found wrong so far.
#[derive(Default)]
pub(super) struct Checking {
    pub problems: Vec<Problem>,
}

impl Checking {
    pub fn wrong(&mut self, key: &str, message: impl Into<String>, remedy: &str) {
        self.problems.push(Problem::new(key, message, remedy));
    }

    pub fn few(&mut self, key: &str, entries: usize) {
        if entries > ENTRIES_MAX {
            self.wrong(key, format!("has {entries} entries; {ENTRIES_MAX} is the most"), "Keep those that matter.");
        }
    }

    pub fn header(&mut self, key: &str, name: &str) {
        let token =
            !name.is_empty() && name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if !token || RESERVED.contains(&name) {
            self.wrong(
                key,
                format!("`{name}` is no header to set here"),
                "Write letters, digits, `-` and `_`; `auth` sets the credentials' own.",
            );
        }
    }

    pub fn span(&mut self, key: &str, text: &str) -> Option<Duration> {
        match parse_span(text) {
            Ok(span) if span >= Duration::from_secs(1) => Some(span),
            Ok(_) => {
                self.wrong(key, format!("`{text}` is too short"), "Write 1s or more.");
                None
            }
            Err(message) => {
                self.wrong(key, message, "Write it like `24h`.");
                None
            }
        }
    }

    pub fn path(&mut self, key: &str, text: &str, allowed: Allowed<'_>) -> Option<Template> {
        let template = Template::parse_path(text, allowed);
        template.map_err(|message| self.wrong(key, message, "Write a path below `base_url`, such as `/v1/invoices/{key}`.")).ok()
    }

    fn pointer(&mut self, key: &str, text: &str) -> Option<Pointer> {
        Pointer::parse(text).map_err(|message| self.wrong(key, message, "Write where it is in the JSON, such as `/data/id`.")).ok()
    }

    fn maybe(&mut self, key: &str, text: Option<&String>) -> Option<Pointer> {
        text.and_then(|text| self.pointer(key, text))
    }

    fn told(&mut self, key: &str, mark: Option<&Mark>) -> Option<Told> {
        let mark = mark?;
        let at = self.pointer(&format!("{key}.at"), &mark.at)?;
        Some(Told { at, is: mark.is.clone() })
    }

    fn meaning(&mut self, key: &str, word: &str) -> Option<Meaning> {
        let found = Meaning::ALL.into_iter().find(|(known, _)| *known == word).map(|(_, meaning)| meaning);
        if found.is_none() {
            let known: Vec<String> = Meaning::ALL.iter().map(|(known, _)| format!("`{known}`")).collect();
            self.wrong(key, format!("`{word}` is no class; there are {}", known.join(", ")), "Use one of these words.");
        }
        found
    }

    pub fn errors(&mut self, errors: &spelled::Errors) -> Errors {
        self.few("rest.errors.codes", errors.codes.len());
        self.few("rest.errors.statuses", errors.statuses.len());
        let mut statuses = BTreeMap::new();
        for (status, word) in &errors.statuses {
            let key = format!("rest.errors.statuses.{status}");
            match status.parse::<u16>().ok().filter(|status| (400..600).contains(status)) {
                Some(number) => statuses.extend(self.meaning(&key, word).map(|meaning| (number, meaning))),
                None => self.wrong(&key, "is no HTTP status from 400 to 599", "Write for example `409 = \"exists\"`."),
            }
        }
        let code = self.maybe("rest.errors.code", errors.code.as_ref());
        if code.is_none() && !errors.codes.is_empty() {
            self.wrong(
                "rest.errors.code",
                "is missing, and `codes` says what codes mean",
                "Write where the code is, such as `/error/code`.",
            );
        }
        let codes = errors.codes.iter();
        let codes =
            codes.filter_map(|(code, word)| Some((code.clone(), self.meaning(&format!("rest.errors.codes.{code}"), word)?))).collect();
        Errors {
            code,
            message: self.maybe("rest.errors.message", errors.message.as_ref()),
            fields: self.maybe("rest.errors.fields", errors.fields.as_ref()),
            codes,
            statuses,
            ok: self.told("rest.errors.ok", errors.ok.as_ref()),
        }
    }

    pub fn limits(&mut self, limits: &spelled::QuotaHeaders) -> Option<Limits> {
        let per = match &limits.per {
            Some(text) => self.span("rest.limits.per", text)?,
            None => super::DAY,
        };
        let name = |name: &String| name.to_ascii_lowercase();
        Some(Limits { limit: name(&limits.limit), remaining: name(&limits.remaining), reset: limits.reset.as_ref().map(name), per })
    }

    pub fn object(&mut self, name: &str, names: &ObjectNames<'_>) -> Option<Object> {
        let at = format!("objects.{name}.rest");
        let Some(rest) = names.rest else {
            self.wrong(
                &at,
                "is missing: nothing says how this object is written",
                "Add it, with `create`, `update`, `upsert` or `delete`, and `read`.",
            );
            return None;
        };
        let fields: Vec<String> = names.fields.iter().cloned().chain([names.key_field.to_owned()]).collect();
        let id = self.maybe(&format!("{at}.id"), rest.id.as_ref());
        let mut operation = |purpose, word: &str, written: &Option<spelled::Operation>| {
            written
                .as_ref()
                .and_then(|written| self.operation(&format!("{at}.{word}"), purpose, written, &fields, names.key_field, id.as_ref()))
        };
        let create = operation(Purpose::Create, "create", &rest.create);
        let update = operation(Purpose::Update, "update", &rest.update);
        let upsert = operation(Purpose::Upsert, "upsert", &rest.upsert);
        let delete = operation(Purpose::Delete, "delete", &rest.delete);
        let read = rest.read.as_ref().and_then(|read| self.read(&format!("{at}.read"), read, &fields, id.as_ref()));
        if rest.create.is_none() && rest.update.is_none() && rest.upsert.is_none() && rest.delete.is_none() {
            self.wrong(&at, "says nothing of how a record is written", "Add `create`, `update`, `upsert` or `delete`.");
        }
        Some(Object { create, update, upsert, delete, read })
    }

    fn operation(
        &mut self,
        at: &str,
        purpose: Purpose,
        written: &spelled::Operation,
        fields: &[String],
        key_field: &str,
        id: Option<&Pointer>,
    ) -> Option<Operation> {
        let (places, method): (&[&str], Method) = match purpose {
            Purpose::Create => (&["key", "object", "destination", "revision"], Method::POST),
            Purpose::Update => (&["key", "id", "object", "destination", "revision"], Method::PATCH),
            Purpose::Upsert => (&["key", "object", "destination", "revision"], Method::PUT),
            Purpose::Delete => (&["key", "id", "object", "destination"], Method::DELETE),
        };
        let before = self.problems.len();
        let method = match written.method.as_deref() {
            None => method,
            Some("POST") => Method::POST,
            Some("PUT") => Method::PUT,
            Some("PATCH") => Method::PATCH,
            Some("DELETE") => Method::DELETE,
            Some(other) => {
                self.wrong(
                    &format!("{at}.method"),
                    format!("`{other}` is no method that writes"),
                    "Write `POST`, `PUT`, `PATCH` or `DELETE`.",
                );
                method
            }
        };
        let path = self.path(
            &format!("{at}.path"),
            &written.path,
            Allowed { places, fields: if purpose == Purpose::Create { fields } else { &[] } },
        );
        let body = self.body(&format!("{at}.body"), purpose, written, places, fields, key_field);
        let wrap = self.pointer(&format!("{at}.wrap"), written.wrap.as_deref().unwrap_or_default());
        if written.success.iter().any(|status| !(200..300).contains(status)) {
            self.wrong(
                &format!("{at}.success"),
                "lists a status that is no success",
                "Write statuses from 200 to 299; `errors` says what others mean.",
            );
        }
        let own = self.maybe(&format!("{at}.id"), written.id.as_ref());
        let created = self.told(&format!("{at}.created"), written.created.as_ref());
        let key = format!("{at}.idempotency");
        let idempotency = written.idempotency.as_deref().and_then(|text| self.idempotency(&key, text, purpose, places));
        let batch = written.batch.as_ref().and_then(|batch| self.batch(&format!("{at}.batch"), batch, written, path.as_ref()));
        let wrap = wrap?;
        let operation = Operation {
            method,
            path: path?,
            body,
            wrap,
            success: written.success.clone(),
            id: own.or_else(|| id.cloned()),
            created,
            idempotency,
            batch,
        };
        (self.problems.len() == before).then_some(operation)
    }

    fn body(
        &mut self,
        at: &str,
        purpose: Purpose,
        written: &spelled::Operation,
        places: &[&'static str],
        fields: &[String],
        key_field: &str,
    ) -> Option<Body> {
        let whole = match purpose {
            Purpose::Delete => None,
            Purpose::Create | Purpose::Upsert => Some(json!("{record}")),
            // The key is not changed, and the record is named by the path.
            Purpose::Update => {
                let members = fields.iter().filter(|field| *field != key_field);
                Some(Value::Object(members.map(|field| (field.clone(), json!(format!("{{fields.{field}}}")))).collect()))
            }
        };
        let template = match &written.body {
            None => whole,
            Some(Value::String(word)) if word == "record" => whole.or_else(|| Some(json!("{record}"))),
            Some(template) => Some(template.clone()),
        }?;
        let places: Vec<&'static str> = places.iter().copied().chain(["record"]).collect();
        let body = Body::parse(&template, Allowed { places: &places, fields });
        body.map_err(|message| self.wrong(at, message, "Write `record`, or a table with values such as `{key}` and `{fields.NAME}`.")).ok()
    }

    fn idempotency(&mut self, key: &str, text: &str, purpose: Purpose, places: &[&'static str]) -> Option<Template> {
        let template = Template::parse(text, Allowed { places, fields: &[] })
            .map_err(|message| self.wrong(key, message, "Write for example `{destination}:{object}:{key}:{revision}`."))
            .ok()?;
        if !template.has(&Place::Key) && !template.has(&Place::Id) {
            self.wrong(key, "is the same for every record", "Let `{key}` be part of it.");
        }
        // Two different changes of one record are two requests; under one key the second would be answered with the first's outcome.
        if purpose != Purpose::Create && purpose != Purpose::Delete && !template.has(&Place::Revision) {
            self.wrong(key, "is the same for every change of a record", "Let `{revision}` be part of it.");
        }
        Some(template)
    }

    fn batch(&mut self, at: &str, batch: &spelled::Batch, written: &spelled::Operation, path: Option<&Template>) -> Option<Batch> {
        if !(1..=BATCH_MAX).contains(&batch.size) {
            self.wrong(&format!("{at}.size"), format!("is {}", batch.size), "Write a number from 1 to 1,000.");
        }
        if path.is_some_and(|path| [Place::Key, Place::Id, Place::Revision].iter().any(|place| path.has(place))) {
            self.wrong(
                at,
                "has one path for several records, and the path names one",
                "Name the record in the body, or leave `batch` out.",
            );
        }
        if written.idempotency.is_some() {
            self.wrong(at, "is one request, and `idempotency` is one record's", "Leave one of them out.");
        }
        if batch.ok.is_none() && batch.status.is_none() && batch.error.is_none() {
            self.wrong(at, "says nothing that tells a refused record from a written one", "Add `ok`, `status` or `error`.");
        }
        Some(Batch {
            size: batch.size,
            items: self.pointer(&format!("{at}.items"), &batch.items)?,
            results: self.pointer(&format!("{at}.results"), &batch.results)?,
            key: self.maybe(&format!("{at}.key"), batch.key.as_ref()),
            ok: self.told(&format!("{at}.ok"), batch.ok.as_ref()),
            status: self.maybe(&format!("{at}.status"), batch.status.as_ref()),
            error: self.maybe(&format!("{at}.error"), batch.error.as_ref()),
        })
    }

    fn read(&mut self, at: &str, read: &spelled::Read, fields: &[String], id: Option<&Pointer>) -> Option<Read> {
        let before = self.problems.len();
        let path =
            self.path(&format!("{at}.path"), &read.path, Allowed { places: &["key", "keys", "object", "destination"], fields: &[] })?;
        let by_id = read
            .by_id
            .as_deref()
            .and_then(|text| self.path(&format!("{at}.by_id"), text, Allowed { places: &["id", "object", "destination"], fields: &[] }));
        let several = path.has(&Place::Keys);
        if path.has(&Place::Key) == several {
            self.wrong(&format!("{at}.path"), "must name the record: with `{key}`, or several with `{keys}`", "Write one of them.");
        }
        if by_id.as_ref().is_some_and(|path| !path.has(&Place::Id)) {
            self.wrong(&format!("{at}.by_id"), "does not name the record", "Write `{id}` where the id goes.");
        }
        if several && (read.items.is_none() || read.key.is_none()) {
            self.wrong(at, "asks for several records, and does not say whose is whose", "Add `items` and `key`.");
        }
        let keys = read.batch.unwrap_or(1);
        if (keys > 1 && !several) || !(1..=KEYS_MAX).contains(&keys) {
            self.wrong(
                &format!("{at}.batch"),
                format!("is {keys}"),
                "Write a number from 1 to 50, and `{keys}` in `path` for more than one.",
            );
        }
        let mut held = BTreeMap::new();
        for (field, text) in &read.fields {
            let key = format!("{at}.fields.{field}");
            if !fields.contains(field) {
                self.wrong(&key, "is none of the object's `fields`", "Remove it, or add the field.");
            }
            held.extend(self.pointer(&key, text).map(|pointer| (field.clone(), pointer)));
        }
        let items = self.maybe(&format!("{at}.items"), read.items.as_ref());
        let item = self.pointer(&format!("{at}.item"), &read.item)?;
        let key = self.maybe(&format!("{at}.key"), read.key.as_ref());
        let record = self.pointer(&format!("{at}.record"), &read.record)?;
        let modified_at = self.maybe(&format!("{at}.modified_at"), read.modified_at.as_ref());
        let own = self.maybe(&format!("{at}.id"), read.id.as_ref());
        if own.is_none() && id.is_some() {
            self.wrong(
                &format!("{at}.id"),
                "is missing, and a record has an id besides its key",
                "Write where a record has it, such as `/id`.",
            );
        }
        let id = own;
        (self.problems.len() == before).then_some(Read { path, by_id, items, item, id, key, record, fields: held, modified_at, keys })
    }
}
