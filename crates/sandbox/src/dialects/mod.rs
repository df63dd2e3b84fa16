//! The dialects that share one frame: tables, faults, budgets, the log and the journal are the core's; a dialect is its words.
//!
//! # Adding one
//!
//! 1. A file `dialects/NAME.rs` with a unit struct that implements [`Dialect`], and one line in [`DIALECTS`]. Nothing else knows its name:
//!    faults (`NAME.429=0.05`), budgets, `/_sandbox/*` and the journal follow from the line.
//! 2. [`Dialect::owns`] takes the paths of its API and of its token endpoint, and no other dialect's.
//! 3. [`Dialect::kind`] says what a request is before anything is looked at: for a token, a look, or a write with the keys of its records
//!    as far as they are named. A write that does not read is a look: it is refused by [`Dialect::answer`], and no fault of writes meets it.
//! 4. [`Dialect::answer`] does what is asked, on the [`World`]: [`World::table`] opens an object's rows (index what is unique each time, it
//!    costs nothing), [`World::locked`] tells that a record of the call meets a lock, [`World::missing`] that the answer has to lack its
//!    last result, [`World::full`] that no record may be created any more. What is all or nothing goes between [`World::begin`] and
//!    [`World::end`]. The answer names every record that was meant with what became of it: `created`, `updated`, `deleted`,
//!    `unchanged`, or the CRM's own code of refusal.
//! 5. A late write is the request itself, applied once more when it lands. So `answer` decides by nothing but the request and the world,
//!    and every header that it reads is listed in [`Dialect::headers`]. Credentials are never kept.
//! 6. What a dialect has to remember beside records (answers under an idempotency key, external ids) are rows too, of an object whose name
//!    begins with `_`: they outlive a restart, and are neither shown nor counted.
//! 7. Be strict: refuse what the real one refuses, in its words, and give [`Dialect::meters`] its documented budgets.
//! 8. Tests in `tests/sandbox/NAME.rs`: every request as the vendor documents it, every refusal, the faults, and a restart.

use std::fmt;
use std::time::Duration;

use model::Time;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::core::{Options, Touched};
use crate::http::{HttpReply, HttpRequest, split};

mod agiled;
mod attio;
mod dataverse;
mod meters;
mod oauth;
mod odoo;
mod pipedrive;
mod rest_demo;
mod shelf;
mod twenty;
mod zoho;

pub(crate) use meters::{Meter, Meters, Reading};
pub(crate) use oauth::Tokens;
pub(crate) use shelf::{Shelf, World};

/// Every dialect of this frame. A request goes to the first that owns its path.
pub(crate) static DIALECTS: &[&dyn Dialect] = &[
    &attio::Attio,
    &dataverse::Dataverse,
    &zoho::Zoho,
    &twenty::Twenty,
    &odoo::Odoo,
    &pipedrive::Pipedrive,
    &agiled::Agiled,
    &rest_demo::RestDemo,
];

/// How one CRM speaks.
pub(crate) trait Dialect: fmt::Debug + Sync {
    /// `attio`: in faults, records, calls and the journal.
    fn name(&self) -> &'static str;

    /// Whether a path is this CRM's.
    fn owns(&self, path: &str) -> bool;

    /// The headers that [`Dialect::kind`] and [`Dialect::answer`] read, in lower case; `content-type` is always there.
    fn headers(&self) -> &'static [&'static str] {
        &[]
    }

    /// The token that a request carries, or `user:password`.
    fn credential(&self, request: &HttpRequest<'_>) -> Option<String> {
        bearer(request, "bearer")
    }

    /// What a request is about.
    fn kind(&self, request: &Request) -> Kind;

    /// Answers at the token endpoint.
    fn grant(&self, _request: &Request, _tokens: &mut Tokens<'_>) -> HttpReply {
        HttpReply::json(404, &json!({}))
    }

    /// How the CRM says no before it looks at what is asked.
    fn refuse(&self, refused: Refused, now: Time) -> HttpReply;

    /// A success with nothing in it, for CRMs that are known to answer so without having done anything.
    fn nothing(&self, _request: &Request) -> Option<HttpReply> {
        None
    }

    /// The budgets that a request draws on.
    fn meters(&self, request: &Request, kind: &Kind, options: &Options) -> Vec<Meter>;

    /// Tells what is left, as the CRM does.
    fn gauge(&self, _readings: &[Reading], reply: HttpReply) -> HttpReply {
        reply
    }

    /// Does what is asked.
    fn answer(&self, request: &Request, world: &mut World<'_>) -> Answer;

    /// The CRM's id of a row.
    fn record_id(&self, object: &str, number: u64) -> String;
}

/// The dialect of this name.
pub(crate) fn named(name: &str) -> Option<&'static dyn Dialect> {
    DIALECTS.iter().copied().find(|dialect| dialect.name() == name)
}

/// The dialect that owns a target.
pub(crate) fn owner(target: &str) -> Option<&'static dyn Dialect> {
    let (path, _) = split(target);
    DIALECTS.iter().copied().find(|dialect| dialect.owns(path))
}

/// A request as it is kept: what an answer follows from, without the credentials.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Request {
    pub method: String,
    /// Path and query, still percent-encoded.
    pub target: String,
    /// Those that the dialect lists, names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// For the token endpoint, and never written down.
    #[serde(skip)]
    pub authorization: Option<String>,
}

impl fmt::Debug for Request {
    /// The method only: the rest holds people's data, in some dialects the target as well.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("method", &self.method).finish_non_exhaustive()
    }
}

impl Request {
    /// What a dialect keeps of a request. A body that is not UTF-8 does not read as anything afterwards either.
    pub fn kept(dialect: &dyn Dialect, request: &HttpRequest<'_>) -> Self {
        let matters = |name: &&str| Some(((*name).to_owned(), request.header(name)?.to_owned()));
        Self {
            method: request.method.to_owned(),
            target: request.target.to_owned(),
            headers: ["content-type"].iter().chain(dialect.headers()).filter_map(matters).collect(),
            body: String::from_utf8_lossy(request.body).into_owned(),
            authorization: request.header("authorization").map(str::to_owned),
        }
    }

    /// A header by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| held == name).map(|(_, value)| value.as_str())
    }

    /// The path's decoded segments, without the query; `None` if they do not decode.
    pub fn segments(&self) -> Option<Vec<String>> {
        let (path, _) = split(&self.target);
        path.trim_start_matches('/').split('/').map(|segment| crate::http::decode(segment, false)).collect()
    }

    /// The query, still encoded.
    pub fn query(&self) -> &str {
        split(&self.target).1
    }
}

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It asks for a token.
    Token,
    /// It changes nothing, or does not read.
    Look,
    /// It changes records.
    Write {
        /// The key or id of each record that it names, in the order of the request.
        keys: Vec<Option<String>>,
        /// Whether the answer has a result for each of them.
        batch: bool,
    },
}

/// Why a request is refused without a look at what it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The CRM is down.
    Unavailable,
    /// An error of its own, before or after the work was done.
    Broken,
    /// The token was good once.
    ExpiredToken,
    /// There is no token, or it is none of ours.
    UnknownToken,
    /// Too many calls; come back after so long.
    Throttled { wait: Duration },
    /// The same at the token endpoint.
    ThrottledToken { wait: Duration },
    /// Too many calls at this moment.
    Crowded,
    /// A budget is used up until so long from now.
    Spent { meter: &'static str, wait: Duration },
}

/// What comes of a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub reply: HttpReply,
    /// The records of a write in the order of the request; none if it was refused as a whole.
    pub records: Vec<Touched>,
}

impl Answer {
    /// An answer that tells of no record.
    pub fn plain(reply: HttpReply) -> Self {
        Self { reply, records: Vec::new() }
    }

    /// The answer to a write of one record.
    pub fn one(reply: HttpReply, key: Option<String>, result: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self { reply, records: vec![Touched { key, result: result.into() }] }
    }
}

/// The entries of a list, or a value on its own; null is nothing.
pub(crate) fn entries(value: &Value) -> &[Value] {
    match value {
        Value::Null => &[],
        Value::Array(entries) => entries,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => std::slice::from_ref(value),
    }
}

/// The token after a scheme's name in `Authorization`, whose case does not matter.
pub(crate) fn bearer(request: &HttpRequest<'_>, scheme: &str) -> Option<String> {
    let (named, token) = request.header("authorization")?.split_once(' ')?;
    (named.eq_ignore_ascii_case(scheme) && !token.trim().is_empty()).then(|| token.trim().to_owned())
}

/// A UUID of version 4's shape that stands for a row; `space` tells objects apart.
pub(crate) fn uuid(space: u16, number: u64) -> String {
    format!("b0{:06x}-{space:04x}-4a00-8000-{number:012x}", 0x9e_37_79u32)
}

/// The row that a UUID of [`uuid`] stands for.
pub(crate) fn parse_uuid(space: u16, text: &str) -> Option<u64> {
    let number = u64::from_str_radix(text.rsplit_once('-')?.1, 16).ok()?;
    uuid(space, number).eq_ignore_ascii_case(text).then_some(number)
}
