//! The dialects: what they have in common, and where each has words of its own.

use std::collections::VecDeque;
use std::time::Duration;

use model::Time;
use serde::{Deserialize, Serialize};

use super::Options;
use crate::http::HttpReply;
use crate::salesforce::Refusal;
use crate::{hubspot, salesforce, writes};

/// How long the budget of daily calls lasts.
const DAY: Duration = Duration::from_secs(86_400);
/// How long HubSpot's short budget lasts; it rolls.
const TEN_SECONDS: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Salesforce,
    Hubspot,
}

impl Dialect {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Salesforce => salesforce::CRM,
            Self::Hubspot => hubspot::CRM,
        }
    }

    pub fn unavailable(self) -> HttpReply {
        match self {
            Self::Salesforce => Refusal::unavailable().reply(),
            Self::Hubspot => hubspot::unavailable(),
        }
    }

    pub fn broken(self) -> HttpReply {
        match self {
            Self::Salesforce => Refusal::broken().reply(),
            Self::Hubspot => hubspot::broken(),
        }
    }

    /// The token was good once.
    pub fn expired(self) -> HttpReply {
        match self {
            Self::Salesforce => Refusal::expired().reply(),
            Self::Hubspot => hubspot::expired(),
        }
    }

    /// The token is none of ours.
    pub fn unknown_token(self) -> HttpReply {
        match self {
            Self::Salesforce => Refusal::expired().reply(),
            Self::Hubspot => hubspot::no_credentials().reply(),
        }
    }

    pub fn throttled(self, span: Duration) -> HttpReply {
        let reply = match self {
            // Salesforce itself never answers 429; a proxy before it does, in its own words.
            Self::Salesforce => HttpReply::text(429, "text/plain", "Too Many Requests\n"),
            Self::Hubspot => hubspot::limited("TEN_SECONDLY_ROLLING"),
        };
        reply.with("retry-after", span.as_millis().div_ceil(1_000))
    }

    /// Too many calls at this moment.
    pub fn crowded(self) -> HttpReply {
        match self {
            Self::Salesforce => Refusal::too_many_at_once().reply(),
            Self::Hubspot => hubspot::limited("TEN_SECONDLY_ROLLING"),
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
    /// Counts a call; what is answered if it is one too many.
    pub fn spend(&mut self, dialect: Dialect, options: &Options, now: Time) -> Option<HttpReply> {
        if self.day.is_none_or(|start| now.since(start) >= DAY) {
            self.day = Some(now);
            self.calls_today = 0;
        }
        self.calls_today = self.calls_today.saturating_add(1).min(options.daily_calls.saturating_add(1));
        let over = self.calls_today > options.daily_calls;
        match dialect {
            Dialect::Salesforce => over.then(|| Refusal::too_many_requests().reply()),
            Dialect::Hubspot if over => Some(hubspot::limited("DAILY")),
            Dialect::Hubspot => {
                while self.recent.front().is_some_and(|first| now.since(*first) >= TEN_SECONDS) {
                    self.recent.pop_front();
                }
                if self.recent.len() >= options.ten_secondly_calls {
                    return Some(hubspot::limited("TEN_SECONDLY_ROLLING"));
                }
                self.recent.push_back(now);
                None
            }
        }
    }

    /// Tells what is left, as the dialect does.
    pub fn gauge(&self, dialect: Dialect, options: &Options, reply: HttpReply) -> HttpReply {
        let (used, of) = (self.calls_today.min(options.daily_calls), options.daily_calls);
        match dialect {
            Dialect::Salesforce => reply.with("sforce-limit-info", format!("api-usage={used}/{of}")),
            Dialect::Hubspot => reply
                .with("x-hubspot-ratelimit-daily", of)
                .with("x-hubspot-ratelimit-daily-remaining", of - used)
                .with("x-hubspot-ratelimit-interval-milliseconds", TEN_SECONDS.as_millis())
                .with("x-hubspot-ratelimit-max", options.ten_secondly_calls)
                .with("x-hubspot-ratelimit-remaining", options.ten_secondly_calls.saturating_sub(self.recent.len())),
        }
    }
}

/// What a call to an API proper is about.
pub(super) enum Work {
    Write(Write),
    Look(Look),
}

/// A write in either dialect.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Write {
    Salesforce { version: String, write: writes::Write },
    Hubspot { hubspot: hubspot::Write },
}

/// What changes nothing, in either dialect.
pub(super) enum Look {
    Salesforce { version: String, what: salesforce::What },
    Hubspot(hubspot::Look),
}

impl Write {
    pub const fn dialect(&self) -> Dialect {
        match self {
            Self::Salesforce { .. } => Dialect::Salesforce,
            Self::Hubspot { .. } => Dialect::Hubspot,
        }
    }

    /// How many records it names.
    pub fn len(&self) -> usize {
        match self {
            Self::Salesforce { write, .. } => write.records.len(),
            Self::Hubspot { hubspot } => hubspot.inputs.len(),
        }
    }

    /// Whether the answer has a result for each record.
    pub fn is_batch(&self) -> bool {
        match self {
            Self::Salesforce { write, .. } => write.collection,
            Self::Hubspot { hubspot } => !hubspot.single,
        }
    }

    /// The keys of the records, as far as the request names them.
    pub fn keys(&self) -> Vec<Option<String>> {
        match self {
            Self::Salesforce { write, .. } => write.keys().collect(),
            Self::Hubspot { hubspot } => hubspot.keys().collect(),
        }
    }
}
