//! The description of a REST API as it is written in the configuration.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// `[destinations.NAME.rest]`: what holds for every call.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Target {
    /// A path that answers a GET with 2xx to whoever is let in.
    pub probe: String,
    /// Headers that go with every call. No secret belongs here.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The header that carries the token of `auth.kind = "api_key"`; default `x-api-key`.
    #[serde(default)]
    pub api_key_header: Option<String>,
    /// The header that carries an operation's `idempotency`; default `idempotency-key`.
    #[serde(default)]
    pub idempotency_header: Option<String>,
    /// How long the API remembers such a key: `24h`.
    #[serde(default)]
    pub idempotency_life: Option<String>,
    /// How refusals are read.
    #[serde(default)]
    pub errors: Errors,
    /// Where it says how much of the quota is left.
    #[serde(default)]
    pub limits: Option<QuotaHeaders>,
}

/// `[destinations.NAME.rest.errors]`: pointers into the body of a refusal, and what its words mean.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Errors {
    /// Where the API's own code is.
    #[serde(default)]
    pub code: Option<String>,
    /// Where its sentence is.
    #[serde(default)]
    pub message: Option<String>,
    /// Where the names of fields are; `*` stands for each entry of a list.
    #[serde(default)]
    pub fields: Option<String>,
    /// Code to class.
    #[serde(default)]
    pub codes: BTreeMap<String, String>,
    /// HTTP status to class, where the code says nothing.
    #[serde(default)]
    pub statuses: BTreeMap<String, String>,
    /// What a body of status 2xx must say to be believed, for APIs that answer errors with 200.
    #[serde(default)]
    pub ok: Option<Mark>,
}

/// `{ at = "/success", is = true }`: a value at a place.
#[derive(Clone, Debug, Deserialize)]
pub struct Mark {
    /// A pointer.
    pub at: String,
    /// What is there; default `true`.
    #[serde(default = "yes")]
    pub is: Value,
}

fn yes() -> Value {
    Value::Bool(true)
}

/// `[destinations.NAME.rest.limits]`: the names of headers.
#[derive(Clone, Debug, Deserialize)]
pub struct QuotaHeaders {
    /// Calls allowed in the window.
    pub limit: String,
    /// Calls left in it.
    pub remaining: String,
    /// Seconds until it begins anew, which is waited for when a call is throttled without `Retry-After`.
    #[serde(default)]
    pub reset: Option<String>,
    /// How long the window is; default a day.
    #[serde(default)]
    pub per: Option<String>,
}

/// `[destinations.NAME.objects.OBJECT.rest]`: how one object is written and looked up.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Object {
    /// Where the record's id is in an answer; without it, the record's key is its id.
    #[serde(default)]
    pub id: Option<String>,
    /// Creates a record; POST by default.
    #[serde(default)]
    pub create: Option<Operation>,
    /// Changes a record; PATCH by default.
    #[serde(default)]
    pub update: Option<Operation>,
    /// Creates a record or changes the one that has its key; PUT by default.
    #[serde(default)]
    pub upsert: Option<Operation>,
    /// Takes a record out; DELETE by default.
    #[serde(default)]
    pub delete: Option<Operation>,
    /// Looks a record up.
    #[serde(default)]
    pub read: Option<Read>,
}

/// One way to write.
#[derive(Clone, Debug, Deserialize)]
pub struct Operation {
    /// `POST`, `PUT`, `PATCH` or `DELETE`.
    #[serde(default)]
    pub method: Option<String>,
    /// `/v1/invoices/{key}`; each value is percent-encoded.
    pub path: String,
    /// `record` (the default): the fields by their names, the key's among them unless a record is changed; or a template.
    #[serde(default)]
    pub body: Option<Value>,
    /// Where the body goes in the document that is sent: `/data`.
    #[serde(default)]
    pub wrap: Option<String>,
    /// The statuses that mean that it is done; default: every 2xx but 202.
    #[serde(default)]
    pub success: Vec<u16>,
    /// Where the id is in this answer, if not where the object's `id` says.
    #[serde(default)]
    pub id: Option<String>,
    /// What tells that an upsert has created; default: status 201.
    #[serde(default)]
    pub created: Option<Mark>,
    /// The idempotency key: `{object}:{key}:{revision}`.
    #[serde(default)]
    pub idempotency: Option<String>,
    /// Several records in one call.
    #[serde(default)]
    pub batch: Option<Batch>,
}

/// Several records in one call.
#[derive(Clone, Debug, Deserialize)]
pub struct Batch {
    /// How many at most.
    pub size: usize,
    /// Where their list goes in the document that is sent; empty: it is the document.
    #[serde(default)]
    pub items: String,
    /// Where the list of results is in the answer; empty: it is the answer.
    #[serde(default)]
    pub results: String,
    /// Where a result shows the record's key; without it, results are in the order of the records.
    #[serde(default)]
    pub key: Option<String>,
    /// What tells of a result that its record was written.
    #[serde(default)]
    pub ok: Option<Mark>,
    /// Where a result has its own HTTP status.
    #[serde(default)]
    pub status: Option<String>,
    /// Where a result has its error: anything there but null, false or an empty list is one.
    #[serde(default)]
    pub error: Option<String>,
}

/// How a record is looked up.
#[derive(Clone, Debug, Deserialize)]
pub struct Read {
    /// `/v1/invoices?number={key}`, or with `{keys}` for several at once.
    pub path: String,
    /// `/v1/invoices/{id}`, where that is surer and the id is known.
    #[serde(default)]
    pub by_id: Option<String>,
    /// Where the list of records is, if the answer has one.
    #[serde(default)]
    pub items: Option<String>,
    /// Where the record is, if the answer has one only.
    #[serde(default)]
    pub item: String,
    /// Where a record has its id; needed where the object's `id` says that it is not the key.
    #[serde(default)]
    pub id: Option<String>,
    /// Where a record shows its key; those with another one are passed over.
    #[serde(default)]
    pub key: Option<String>,
    /// Where a record has its fields.
    #[serde(default)]
    pub record: String,
    /// Where single fields are in a record, if not in `record` under their names.
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
    /// Where a record says when it was changed.
    #[serde(default)]
    pub modified_at: Option<String>,
    /// How many keys fit into `{keys}`.
    #[serde(default)]
    pub batch: Option<usize>,
}
