//! From what a body turned out to be, to what is to be committed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::destination::Policy;
use crate::event::{Audit, Mode, SCHEMA_VERSION, Warning};
use crate::fetch::{self, Fetch, OBJECT_ID, Said};
use crate::mapping::{ReadContext, Refused};
use crate::route::{OnDelete, Plan, Planned, Routes};
use crate::seal::HashKey;
use crate::source::Source;
use crate::{Event, EventId, Identifier, Identity, Reading, Reason, Received, Time};

/// Room for a common canonical event's JSON; a larger one grows.
const NORMALIZED_BYTES: usize = 1536;

/// One event of a request.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Made by the caller; kept only if the key is new.
    pub id: EventId,
    /// `lead.created`.
    pub event_type: String,
    /// The idempotency key, at most 255 bytes.
    pub key: String,
    /// When it happened.
    pub occurred_at: Time,
    /// 0 to 100, from configuration.
    pub trust: u8,
    /// Hash of the mapping's text.
    pub mapping_version: String,
    /// Tells "same key, same content" from "same key, other content".
    pub content_hash: [u8; 16],
    /// The canonical event as JSON text (`model::Event`); for what could not be mapped, what could be read of it.
    pub normalized: String,
    /// The key was made from identity and time.
    pub fallback_key: bool,
    /// What a person should know.
    pub warnings: Vec<Warning>,
    /// What is to be done with it.
    pub fate: Fate,
}

/// What is to be done with a new event.
#[derive(Clone, Debug)]
pub enum Fate {
    /// Listed as irrelevant: kept, counted, delivered nowhere.
    Ignored,
    /// It becomes a dead letter without a destination.
    DeadLetter {
        /// From the closed list.
        reason: Reason,
        /// What was found and expected.
        message: String,
        /// Who looks at it.
        owner: Option<String>,
    },
    /// At least one delivery.
    Deliveries(Vec<NewDelivery>),
}

impl Fate {
    /// Where it goes, if anywhere.
    pub fn deliveries(&self) -> &[NewDelivery] {
        match self {
            Self::Deliveries(deliveries) => deliveries,
            Self::Ignored | Self::DeadLetter { .. } => &[],
        }
    }
}

/// One event on its way to one destination's object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDelivery {
    /// The destination's name.
    pub destination: String,
    /// The CRM's object.
    pub object: String,
    /// How it may change the CRM.
    pub mode: Mode,
    /// Who looks at it if it fails.
    pub owner: Option<String>,
    /// The CRM key that a new record gets.
    pub key: String,
    /// How the record is found, in the order of the object's `match` list. Empty means `missing_identity`.
    pub identifiers: Vec<Identifier>,
    /// From this trust on, an event may add or change a record's identifiers (`identifier_trust`).
    pub identifier_trust: u8,
}

/// From what a request was read as, to what is to be committed: one [`NewEvent`] for each reading, its `routing` filled in.
///
/// `identifier_trust` is by destination; one that is not in it has the default. A route whose object the event does not identify becomes a delivery
/// without identifiers, so that it is a dead letter of its own and hides no other route.
pub fn prepare(
    source: &Source,
    request: &Received<'_>,
    readings: Vec<Reading>,
    routes: &Routes,
    identifier_trust: &BTreeMap<String, u8>,
    context: &mut ReadContext<'_>,
) -> Vec<NewEvent> {
    let mut work = Work { source, request, ways: Ways { routes, identifier_trust }, context };
    readings.into_iter().map(|reading| work.new_event(reading)).collect()
}

struct Work<'a, 'c> {
    source: &'a Source,
    request: &'a Received<'a>,
    ways: Ways<'a>,
    context: &'a mut ReadContext<'c>,
}

/// Where events go.
#[derive(Clone, Copy)]
struct Ways<'a> {
    routes: &'a Routes,
    identifier_trust: &'a BTreeMap<String, u8>,
}

fn body_hash(body: &[u8]) -> [u8; 16] {
    let mut hash = [0; 16];
    hash.copy_from_slice(&Sha256::digest(body)[..16]);
    hash
}

impl Work<'_, '_> {
    fn new_event(&mut self, reading: Reading) -> NewEvent {
        match reading {
            Reading::Event { mut event, trust, fallback_key, mut warnings } => {
                let fate = match event.fetch.clone() {
                    None => self.ways.route(&mut event, &mut warnings),
                    Some(fetch) => self.ways.route_to_source(&mut event, &fetch),
                };
                let content_hash = self.source.content_hash(&event);
                NewEvent { trust, fallback_key, ..self.finish(*event, content_hash, warnings, fate) }
            }
            Reading::Ignored { event_type, idempotency_key } => {
                let event = self.bare(event_type, idempotency_key);
                // Nobody will look at its content, so copies that differ are copies all the same.
                let content_hash = self.source.content_hash(&event);
                self.finish(event, content_hash, Vec::new(), Fate::Ignored)
            }
            Reading::DeadLetter { reason, message, event_type, idempotency_key, partial, entry } => {
                let fate = Fate::DeadLetter { reason, message, owner: None };
                match partial {
                    Some(event) => {
                        let content_hash = self.source.content_hash(&event);
                        self.finish(*event, content_hash, Vec::new(), fate)
                    }
                    None => {
                        // Nothing is known of its content but its bytes: other bytes under the same id are another thing to look at.
                        let content_hash = entry.map_or_else(|| body_hash(self.request.body), |entry| entry.content);
                        let mut event = self.bare(event_type, idempotency_key);
                        event.audit.entry = entry.map(|entry| entry.place);
                        self.finish(event, content_hash, Vec::new(), fate)
                    }
                }
            }
        }
    }

    /// What can be said of an event of which nothing but its type and key is known.
    fn bare(&mut self, event_type: String, idempotency_key: String) -> Event {
        let id = (self.context.event_id)();
        let tail = idempotency_key.splitn(3, '|').nth(2).unwrap_or_default();
        Event {
            schema_version: SCHEMA_VERSION.to_owned(),
            event_id: format!("{}:{tail}", self.source.name),
            event_type,
            source: self.source.name.clone(),
            occurred_at: self.context.received_at,
            idempotency_key,
            identity: Identity::default(),
            attributes: BTreeMap::new(),
            identities: BTreeMap::new(),
            routing: Vec::new(),
            fetch: None,
            fetched: None,
            mapping_version: self.source.mapping_version().to_owned(),
            audit: Audit {
                received_at: self.context.received_at,
                raw_event_ref: self.context.raw_event.to_string(),
                normalized_event_ref: id.to_string(),
                correlation_id: self.context.correlation_id.to_owned(),
                entry: None,
            },
        }
    }

    fn finish(&mut self, mut event: Event, content_hash: [u8; 16], warnings: Vec<Warning>, fate: Fate) -> NewEvent {
        let id = EventId::parse(&event.audit.normalized_event_ref).unwrap_or_else(|| {
            let id = (self.context.event_id)();
            event.audit.normalized_event_ref = id.to_string();
            id
        });
        let normalized = written(&event);
        NewEvent {
            id,
            event_type: event.event_type,
            key: event.idempotency_key,
            occurred_at: event.occurred_at,
            trust: self.source.trust,
            mapping_version: event.mapping_version,
            content_hash,
            normalized,
            fallback_key: false,
            warnings,
            fate,
        }
    }
}

/// An event as JSON. It is texts, numbers and lists of them under text names: there is nothing in it that JSON cannot say.
fn written(event: &Event) -> String {
    let mut normalized = Vec::with_capacity(NORMALIZED_BYTES);
    let written = serde_json::to_writer(&mut normalized, event);
    written.ok().and_then(|()| String::from_utf8(normalized).ok()).unwrap_or_default()
}

/// What an event has become, now that the object that it is about was fetched.
#[derive(Clone, Debug)]
pub struct Enriched {
    /// The canonical event as JSON text; `None`: it stays as it is.
    pub normalized: Option<String>,
    /// Hash of the mapping's text that read the object.
    pub mapping_version: String,
    /// What a person should know.
    pub warnings: Vec<Warning>,
    /// What is to be done with it. A dead letter is the fetch's own, so that its replay fetches anew.
    pub fate: Fate,
}

/// From a fetched object to what is to be committed: the whole event, and where it goes.
///
/// `held` is the event as the ledger has it, `at` when the object was fetched, `identifier_trust` as for [`prepare`]. A bug of ours in reading the object
/// makes a dead letter of the one event, or the loop that delivers would end with all the others.
pub fn enrich(
    source: &Source,
    held: &Event,
    object: &Value,
    at: Time,
    routes: &Routes,
    identifier_trust: &BTreeMap<String, u8>,
) -> Enriched {
    let ways = Ways { routes, identifier_trust };
    catch_unwind(AssertUnwindSafe(|| enriched(source, held, object, at, ways))).unwrap_or_else(|_panic| {
        let message =
            format!("Reading the fetched `{}` failed because of a bug of ours.", held.fetch.as_ref().map_or("", |fetch| &fetch.object));
        let fate = Fate::DeadLetter { reason: Reason::Poison, message, owner: None };
        Enriched { normalized: None, mapping_version: source.mapping_version().to_owned(), warnings: Vec::new(), fate }
    })
}

fn enriched(source: &Source, held: &Event, object: &Value, at: Time, ways: Ways<'_>) -> Enriched {
    let mapping_version = source.mapping_version().to_owned();
    match source.read_fetched(held, object, at) {
        Ok((mut event, mut warnings)) => {
            let fate = ways.route(&mut event, &mut warnings);
            let dead = matches!(fate, Fate::DeadLetter { .. });
            // What is to be fetched anew must still say what.
            let normalized = if dead { None } else { Some(written(&event)) };
            Enriched { normalized, mapping_version, warnings, fate }
        }
        Err(Refused { reason, message, partial }) => {
            // An event that was whole once stays whole: deliveries of it may be on their way.
            let normalized = partial.filter(|_| held.fetched.is_none()).map(|event| written(&event));
            Enriched { normalized, mapping_version, warnings: Vec::new(), fate: Fate::DeadLetter { reason, message, owner: None } }
        }
    }
}

/// The text of an event that is to be fetched again, by a replay: `held` is what the ledger has, `new` the push read again. One that was whole stays
/// so until the object has come, because deliveries of it may be on their way.
pub fn fetch_again(held: &Event, new: &Event) -> String {
    match (&held.fetched, &new.fetch) {
        (Some(_), Some(fetch)) => {
            let said = Said { identity: new.identity.clone(), identities: new.identities.clone(), attributes: new.attributes.clone() };
            written(&Event { fetch: Some(Fetch { said: Some(said), ..fetch.clone() }), ..held.clone() })
        }
        (Some(_) | None, _) => written(new),
    }
}

impl Ways<'_> {
    /// An event of which only the object's id is known goes to its own source first. Where it could never go on, that is said at once.
    fn route_to_source(self, event: &mut Event, fetch: &Fetch) -> Fate {
        match self.route(event, &mut Vec::new()) {
            Fate::Deliveries(deliveries) => {
                // Where it goes can only be told with the key of its record.
                event.routing.clear();
                let to_source = NewDelivery {
                    destination: fetch::destination(&event.source),
                    object: fetch.object.clone(),
                    mode: Mode::default(),
                    owner: deliveries.into_iter().find_map(|delivery| delivery.owner),
                    key: fetch.id.clone(),
                    identifiers: vec![Identifier { kind: OBJECT_ID.to_owned(), value: fetch.id.clone() }],
                    identifier_trust: 0,
                };
                Fate::Deliveries(vec![to_source])
            }
            fate @ (Fate::Ignored | Fate::DeadLetter { .. }) => fate,
        }
    }

    fn route(&self, event: &mut Event, warnings: &mut Vec<Warning>) -> Fate {
        let planned = match self.routes.plan(event) {
            Plan::Deliver(planned) => planned,
            Plan::Ignored => return Fate::Ignored,
            Plan::Unrouted => {
                let message = format!("No route takes `{}` events of the source `{}`.", event.event_type, event.source);
                return Fate::DeadLetter { reason: Reason::Unrouted, message, owner: None };
            }
        };
        if i64::try_from(planned.len()).is_ok_and(|count| count > EventId::DELIVERIES_MAX) {
            let message = format!("{} routes take this event; at most {} can.", planned.len(), EventId::DELIVERIES_MAX);
            return Fate::DeadLetter { reason: Reason::Limits, message, owner: None };
        }
        event.routing = planned.iter().map(Planned::routing).collect();
        let is_held = |planned: &Planned| planned.on_delete == Some(OnDelete::DeadLetter);
        if planned.iter().all(is_held) {
            let message = format!("`{}` tells of a deletion, and its routes leave that to a person.", event.event_type);
            return Fate::DeadLetter { reason: Reason::Unrouted, message, owner: planned.into_iter().find_map(|planned| planned.owner) };
        }
        Fate::Deliveries(planned.into_iter().map(|planned| self.delivery(planned, warnings)).collect())
    }

    fn delivery(&self, planned: Planned, warnings: &mut Vec<Warning>) -> NewDelivery {
        let Planned { destination, object, mode, owner, key, mut identifiers, on_delete, .. } = planned;
        if on_delete == Some(OnDelete::DeadLetter) {
            // Its neighbours go on; this one may reach no record, and without identifiers it does not.
            identifiers.clear();
            let message = format!("The route to {object} of {destination} leaves deletions to a person.");
            warnings.push(Warning { kind: "deletion_held".to_owned(), message });
        }
        let identifier_trust = self.identifier_trust.get(&destination).copied().unwrap_or_else(|| Policy::default().identifier_trust);
        NewDelivery { destination, object, mode, owner, key: key.unwrap_or_default(), identifiers, identifier_trust }
    }
}

/// An idempotency key as it may stand in a log: a keyed hash if it could hold an e-mail address or a phone number.
pub fn loggable_key<'a>(key: &'a str, hash_key: &HashKey) -> Cow<'a, str> {
    let is_phone = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count() >= 7;
    if key.contains('@') || key.split('+').skip(1).any(is_phone) {
        Cow::Owned(format!("hash:{}", hex::encode(&hash_key.hash(&[key.as_bytes()])[..8])))
    } else {
        Cow::Borrowed(key)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::RawEventId;
    use crate::route::{ObjectDef, ObjectPlan, RouteDef};
    use crate::seal::{SealingKey, SealingKeys};
    use crate::source::SourceDef;

    const SOURCE: &str = r#"
        trust = 60
        ignore = ["ping"]
        signature = { algorithm = "hmac-sha256", header = "x-signature", signed = "{body}" }
        [[events]]
        on = ["signup", "contact.deleted"]
        type = { from = "type" }
        id = "id"
        fields = { external_id = "person", email = { from = "email", as = "email" } }
    "#;

    fn routes(text: &str) -> Routes {
        let object = |text: &str| {
            let def: ObjectDef = toml::from_str(text).unwrap();
            ObjectPlan::compile("salesforce", "x", &def).unwrap()
        };
        let person = object("key = { field = 'Ext__c' }\nmatch = ['external_id', 'email']\nfields = { Email = 'email' }");
        let phone = object("key = { field = 'Phone__c', from = 'identity.phone_e164' }\nfields = {}");
        let crm = BTreeMap::from([("Lead".to_owned(), person.clone()), ("Contact".to_owned(), person), ("Call".to_owned(), phone)]);
        let defs: BTreeMap<String, Vec<RouteDef>> = toml::from_str(text).unwrap();
        Routes::compile(&defs["routes"], &BTreeSet::from(["demo".to_owned()]), BTreeMap::from([("crm".to_owned(), crm)])).unwrap()
    }

    fn prepared(routes: &Routes, body: &str) -> NewEvent {
        let def: SourceDef = toml::from_str(SOURCE).unwrap();
        let source = Source::compile("demo", &def).unwrap();
        let request = Received { method: "POST", target: "/webhooks/demo", headers: &[], body: body.as_bytes() };
        let mut last = 0;
        let mut event_id = || {
            last += 1;
            EventId(last << 20)
        };
        let keys = SealingKeys::new(vec![SealingKey::new(&[1; 32])]).unwrap();
        let mut context = ReadContext {
            received_at: Time::from_seconds(1_800_000_000),
            raw_event: RawEventId(9),
            correlation_id: "theirs",
            signed_headers: &[],
            hash_key: &keys.hash_key("identity"),
            event_id: &mut event_id,
        };
        let readings = source.read(&request, &mut context);
        let trust = BTreeMap::from([("crm".to_owned(), 70)]);
        let mut events = prepare(&source, &request, readings, routes, &trust, &mut context);
        assert_eq!(events.len(), 1);
        let event = events.remove(0);
        let normalized: Event = serde_json::from_str(&event.normalized).unwrap();
        assert_eq!(normalized.audit.normalized_event_ref, event.id.to_string());
        assert_eq!((normalized.idempotency_key.as_str(), normalized.audit.correlation_id.as_str()), (event.key.as_str(), "theirs"));
        event
    }

    fn deliveries(event: &NewEvent) -> Vec<(&str, usize, u8)> {
        let Fate::Deliveries(deliveries) = &event.fate else { panic!("{:?}", event.fate) };
        deliveries.iter().map(|delivery| (delivery.object.as_str(), delivery.identifiers.len(), delivery.identifier_trust)).collect()
    }

    fn reason(event: &NewEvent) -> Option<Reason> {
        match event.fate {
            Fate::DeadLetter { reason, .. } => Some(reason),
            Fate::Ignored | Fate::Deliveries(_) => None,
        }
    }

    #[test]
    fn a_route_without_identity_does_not_hide_the_other() {
        let routes = routes("routes = [{ to = 'crm', object = 'Call' }, { to = 'crm', object = 'Lead' }]");
        let event = prepared(&routes, r#"{"type":"signup","id":"1","email":"Ada@Example.com"}"#);
        assert_eq!(deliveries(&event), [("Call", 0, 70), ("Lead", 1, 70)]);
        assert_eq!((event.trust, event.fallback_key), (60, false));
        let normalized: Event = serde_json::from_str(&event.normalized).unwrap();
        assert_eq!(normalized.routing.iter().map(|routing| routing.upsert_key.as_str()).collect::<Vec<_>>(), ["Phone__c", "Ext__c"]);
    }

    #[test]
    fn what_cannot_be_delivered_says_why() {
        let routes = routes("routes = [{ event = 'other', to = 'crm', object = 'Lead' }]");
        assert_eq!(reason(&prepared(&routes, r#"{"type":"signup","id":"1","email":"a@b.example"}"#)), Some(Reason::Unrouted));
        assert_eq!(reason(&prepared(&routes, r#"{"type":"unheard-of"}"#)), Some(Reason::Unmapped));
        assert_eq!(reason(&prepared(&routes, "{")), Some(Reason::Unparseable));
        assert!(matches!(prepared(&routes, r#"{"type":"ping"}"#).fate, Fate::Ignored));
    }

    #[test]
    fn a_deletion_is_left_to_a_person_where_its_route_says_so_and_goes_on_elsewhere() {
        let body = r#"{"type":"contact.deleted","id":"1","person":"7"}"#;
        let one = routes("routes = [{ to = 'crm', object = 'Lead', on_delete = 'dead_letter', owner = 'ops' }]");
        let Fate::DeadLetter { owner, .. } = prepared(&one, body).fate else { panic!("no dead letter") };
        assert_eq!(owner.as_deref(), Some("ops"));
        let both = routes(
            "routes = [{ to = 'crm', object = 'Lead', on_delete = 'dead_letter' }, { to = 'crm', object = 'Contact', on_delete = { Gone = true } }]",
        );
        let event = prepared(&both, body);
        assert_eq!(deliveries(&event), [("Lead", 0, 70), ("Contact", 1, 70)]);
        assert_eq!(event.warnings.iter().map(|warning| warning.kind.as_str()).collect::<Vec<_>>(), ["deletion_held"]);
        assert!(matches!(prepared(&routes("routes = [{ to = 'crm', object = 'Lead' }]"), body).fate, Fate::Ignored));
    }

    #[test]
    fn the_same_content_hashes_the_same_and_other_content_does_not() {
        let routes = routes("routes = [{ to = 'crm', object = 'Lead' }]");
        let hash = |body: &str| prepared(&routes, body).content_hash;
        assert_eq!(
            hash(r#"{"type":"signup","id":"1","person":"7","attempt":1}"#),
            hash(r#"{"type":"signup","id":"1","person":"7","attempt":2}"#)
        );
        assert_ne!(hash(r#"{"type":"signup","id":"1","person":"7"}"#), hash(r#"{"type":"signup","id":"1","person":"8"}"#));
        assert_eq!(hash(r#"{"type":"ping","n":1}"#), hash(r#"{"type":"ping","n":2}"#));
        assert_ne!(hash(r#"{"type":"unheard-of","n":1}"#), hash(r#"{"type":"unheard-of","n":2}"#));
    }

    #[test]
    fn a_key_with_an_address_or_a_number_is_not_logged_as_it_is() {
        let keys = SealingKeys::new(vec![SealingKey::new(&[1; 32])]).unwrap();
        let hash_key = keys.hash_key("log");
        assert_eq!(loggable_key("demo|signup|evt_1+2", &hash_key), "demo|signup|evt_1+2");
        for key in ["demo|signup|ada@example.com", "demo|signup|+14155550100"] {
            let shown = loggable_key(key, &hash_key);
            assert!(shown.starts_with("hash:") && shown.len() == 21, "{shown}");
        }
    }
}
