//! The dialects as the core sees them: what they have in common, and where each has words of its own.

use std::collections::VecDeque;
use std::time::Duration;

use model::Time;
use serde::{Deserialize, Serialize};

use super::Options;
use crate::dialects::{self, Dialect, Refused, Request};
use crate::http::HttpReply;
use crate::salesforce::Refusal;
use crate::{hubspot, salesforce, writes};

/// How long the budget of daily calls lasts.
const DAY: Duration = Duration::from_secs(86_400);
/// The largest body of a write that can be late in the other dialects; a larger one is applied at once, and still not answered.
const MAX_LATE_BYTES: usize = 1_048_576;
/// How long HubSpot's short budget lasts; it rolls.
const TEN_SECONDS: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
pub(super) enum Spoken {
    Salesforce,
    Hubspot,
    Other(&'static dyn Dialect),
}

impl Spoken {
    pub fn name(self) -> &'static str {
        match self {
            Self::Salesforce => salesforce::CRM,
            Self::Hubspot => hubspot::CRM,
            Self::Other(other) => other.name(),
        }
    }

    pub fn unavailable(self, now: Time) -> HttpReply {
        match self {
            Self::Salesforce => Refusal::unavailable().reply(),
            Self::Hubspot => hubspot::unavailable(),
            Self::Other(other) => other.refuse(Refused::Unavailable, now),
        }
    }

    pub fn broken(self, now: Time) -> HttpReply {
        match self {
            Self::Salesforce => Refusal::broken().reply(),
            Self::Hubspot => hubspot::broken(),
            Self::Other(other) => other.refuse(Refused::Broken, now),
        }
    }

    /// The token was good once.
    pub fn expired(self, now: Time) -> HttpReply {
        match self {
            Self::Salesforce => Refusal::expired().reply(),
            Self::Hubspot => hubspot::expired(),
            Self::Other(other) => other.refuse(Refused::ExpiredToken, now),
        }
    }

    /// The token is none of ours.
    pub fn unknown_token(self, now: Time) -> HttpReply {
        match self {
            Self::Salesforce => Refusal::expired().reply(),
            Self::Hubspot => hubspot::no_credentials().reply(),
            Self::Other(other) => other.refuse(Refused::UnknownToken, now),
        }
    }

    pub fn throttled(self, wait: Duration, now: Time) -> HttpReply {
        let reply = match self {
            // Salesforce itself never answers 429; a proxy before it does, in its own words.
            Self::Salesforce => HttpReply::text(429, "text/plain", "Too Many Requests\n"),
            Self::Hubspot => hubspot::limited("TEN_SECONDLY_ROLLING"),
            Self::Other(other) => return other.refuse(Refused::Throttled { wait }, now),
        };
        reply.with("retry-after", wait.as_millis().div_ceil(1_000))
    }

    /// A success with nothing in it, where the CRM is known to answer so to a write without having done it.
    pub fn nothing(self, write: &Write) -> Option<HttpReply> {
        match (self, write) {
            (Self::Hubspot, Write::Hubspot { hubspot }) if !hubspot.single => Some(hubspot::nothing()),
            (Self::Other(other), Write::Other(sent)) => other.nothing(&sent.request),
            (Self::Salesforce | Self::Hubspot | Self::Other(_), _) => None,
        }
    }

    /// Too many calls at this moment.
    pub fn crowded(self, now: Time) -> HttpReply {
        match self {
            Self::Salesforce => Refusal::too_many_at_once().reply(),
            Self::Hubspot => hubspot::limited("TEN_SECONDLY_ROLLING"),
            Self::Other(other) => other.refuse(Refused::Crowded, now),
        }
    }
}

/// The calls of one dialect as its quota counts them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Budget {
    pub day: Option<Time>,
    pub calls_today: u64,
    #[serde(skip)]
    recent: VecDeque<Time>,
}

impl Budget {
    /// Counts a call to Salesforce or HubSpot; what is answered if it is one too many.
    pub fn spend(&mut self, hubspot: bool, options: &Options, now: Time) -> Option<HttpReply> {
        if self.day.is_none_or(|start| now.since(start) >= DAY) {
            self.day = Some(now);
            self.calls_today = 0;
        }
        self.calls_today = self.calls_today.saturating_add(1).min(options.daily_calls.saturating_add(1));
        let over = self.calls_today > options.daily_calls;
        if !hubspot {
            return over.then(|| Refusal::too_many_requests().reply());
        }
        if over {
            return Some(hubspot::limited("DAILY"));
        }
        while self.recent.front().is_some_and(|first| now.since(*first) >= TEN_SECONDS) {
            self.recent.pop_front();
        }
        if self.recent.len() >= options.ten_secondly_calls {
            return Some(hubspot::limited("TEN_SECONDLY_ROLLING"));
        }
        self.recent.push_back(now);
        None
    }

    /// Tells what is left of a day, as Salesforce does.
    pub fn gauge_salesforce(&self, options: &Options, reply: HttpReply) -> HttpReply {
        let (used, of) = (self.calls_today.min(options.daily_calls), options.daily_calls);
        reply.with("sforce-limit-info", format!("api-usage={used}/{of}"))
    }

    /// Tells what is left, as HubSpot does.
    pub fn gauge_hubspot(&self, options: &Options, reply: HttpReply) -> HttpReply {
        let (used, of) = (self.calls_today.min(options.daily_calls), options.daily_calls);
        reply
            .with("x-hubspot-ratelimit-daily", of)
            .with("x-hubspot-ratelimit-daily-remaining", of - used)
            .with("x-hubspot-ratelimit-interval-milliseconds", TEN_SECONDS.as_millis())
            .with("x-hubspot-ratelimit-max", options.ten_secondly_calls)
            .with("x-hubspot-ratelimit-remaining", options.ten_secondly_calls.saturating_sub(self.recent.len()))
    }
}

/// What a call to an API proper is about.
pub(super) enum Work {
    Write(Write),
    Look(Look),
}

/// A write in any dialect.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Write {
    Salesforce { version: String, write: writes::Write },
    Hubspot { hubspot: hubspot::Write },
    Other(Sent),
}

/// A write as it was sent, in one of the dialects that share a frame.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Sent {
    #[serde(with = "by_name")]
    pub dialect: &'static dyn Dialect,
    pub request: Request,
    pub keys: Vec<Option<String>>,
    pub batch: bool,
}

mod by_name {
    use std::borrow::Cow;

    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::{Dialect, dialects};

    pub fn serialize<S: Serializer>(dialect: &&'static dyn Dialect, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(dialect.name())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<&'static dyn Dialect, D::Error> {
        let name = Cow::<str>::deserialize(from)?;
        dialects::named(&name).ok_or_else(|| D::Error::custom("expected the name of a dialect"))
    }
}

/// What changes nothing, in any dialect.
pub(super) enum Look {
    Salesforce { version: String, what: salesforce::What },
    Hubspot(hubspot::Look),
    Other(&'static dyn Dialect, Request),
}

impl Write {
    pub const fn dialect(&self) -> Spoken {
        match self {
            Self::Salesforce { .. } => Spoken::Salesforce,
            Self::Hubspot { .. } => Spoken::Hubspot,
            Self::Other(sent) => Spoken::Other(sent.dialect),
        }
    }

    /// How many records it names.
    pub fn len(&self) -> usize {
        match self {
            Self::Salesforce { write, .. } => write.records.len(),
            Self::Hubspot { hubspot } => hubspot.inputs.len(),
            Self::Other(sent) => sent.keys.len(),
        }
    }

    /// Whether the answer has a result for each record.
    pub fn is_batch(&self) -> bool {
        match self {
            Self::Salesforce { write, .. } => write.collection,
            Self::Hubspot { hubspot } => !hubspot.single,
            Self::Other(sent) => sent.batch,
        }
    }

    /// The keys of the records, as far as the request names them.
    pub fn keys(&self) -> Vec<Option<String>> {
        match self {
            Self::Salesforce { write, .. } => write.keys().collect(),
            Self::Hubspot { hubspot } => hubspot.keys().collect(),
            Self::Other(sent) => sent.keys.clone(),
        }
    }

    /// Whether it is small enough to be kept until it lands.
    pub fn keeps(&self) -> bool {
        match self {
            Self::Salesforce { .. } | Self::Hubspot { .. } => true,
            Self::Other(sent) => sent.request.body.len() <= MAX_LATE_BYTES,
        }
    }
}
