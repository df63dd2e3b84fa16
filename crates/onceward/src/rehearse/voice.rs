//! A source as its vendor: composes requests, and knows what they mean.

use model::seal::HashKey;
use model::signature::Verifier;
use model::{Event, Reading, Received, Time};

use super::payload::{self, Payload};
use super::script::{Facts, Script};
use crate::command::{Refused, map};
use crate::configuration::SourceOf;
use crate::configuration::problem::listed;
use crate::sender::Sender;
use crate::shown::plain;

/// One source of a rehearsal.
#[derive(Clone)]
pub struct Voice {
    /// Its name in the configuration.
    pub name: String,
    held: SourceOf,
    payload: Payload,
    sender: Sender,
    hash_key: HashKey,
}

/// A request as it is sent.
pub struct Composed {
    /// Path and query.
    pub target: String,
    /// In the order they are written, in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The exact body.
    pub body: Vec<u8>,
}

impl Voice {
    /// A source that sends to this address.
    ///
    /// # Errors
    ///
    /// There is no sample for its preset, or the address is none.
    pub fn new(name: &str, held: &SourceOf, to: &str, hash_key: HashKey) -> Result<Self, Refused> {
        let payload = held.source.preset.as_deref().and_then(Payload::of).ok_or_else(|| {
            let what = match &held.source.preset {
                Some(preset) => format!("its preset `{preset}` brings nothing into a CRM by itself"),
                None => "it has no preset, so nothing is known of its payloads".to_owned(),
            };
            let known = listed(payload::known());
            Refused::because(format!("`{}` cannot be rehearsed: {what}; rehearse a source whose preset is one of {known}", plain(name)))
        })?;
        let sender = Sender::new(to, name, held.verifier.clone()).map_err(Refused::Usage)?;
        if sender.url().scheme() != "http" {
            return Err(Refused::Usage("a rehearsal is sent over plain http: name the listener itself with `--url`".to_owned()));
        }
        Ok(Self { name: name.to_owned(), held: held.clone(), payload, sender, hash_key })
    }

    /// Host and port that its requests go to.
    pub fn address(&self) -> String {
        let url = self.sender.url();
        format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(80))
    }

    /// Its signature scheme and secrets.
    pub fn verifier(&self) -> &Verifier {
        &self.held.verifier
    }

    /// Its mapping.
    pub fn source(&self) -> &std::sync::Arc<model::source::Source> {
        &self.held.source
    }

    /// One event's request, signed now.
    ///
    /// # Errors
    ///
    /// The source has no secret that is still valid.
    pub fn compose(&self, facts: &Facts, now: Time) -> Result<Composed, Refused> {
        let mut body = Vec::with_capacity(2_048);
        self.payload.write(facts, &mut body);
        let signed = self.sender.sign(&body, now).map_err(|error| Refused::because(error.to_string()))?;
        let length = signed.body.len().to_string();
        let own = [("host", self.address()), ("user-agent", "onceward-rehearsal".to_owned()), ("content-length", length)];
        let vendors = self.payload.headers.iter().map(|&(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        let headers = own.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes())).chain(vendors);
        let added = signed.headers.into_iter().map(|(name, value)| (name.to_lowercase(), value.into_bytes()));
        Ok(Composed { target: signed.target, headers: headers.chain(added).collect(), body: signed.body })
    }

    /// Writes one event's request as it goes over the wire.
    ///
    /// # Errors
    ///
    /// As [`Voice::compose`].
    pub fn write(&self, facts: &Facts, now: Time, out: &mut Vec<u8>) -> Result<(), Refused> {
        let Composed { target, headers, body } = self.compose(facts, now)?;
        out.extend_from_slice(format!("POST {target} HTTP/1.1\r\n").as_bytes());
        for (name, value) in headers {
            for part in [name.as_bytes(), b": ", &value, b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&body);
        Ok(())
    }

    /// What an event means by this source's mapping, and its trust.
    ///
    /// # Errors
    ///
    /// It cannot be signed, or by the mapping it is no event.
    pub fn meaning(&self, facts: &Facts, now: Time) -> Result<(Event, u8), Refused> {
        let Composed { target, headers, body } = self.compose(facts, now)?;
        let request = Received { method: "POST", target: &target, headers: &headers, body: &body };
        let verified = self.held.verifier.verify(&request, now).map_err(|rejection| Refused::because(rejection.sentence()))?;
        let readings = map::read(&self.held.source, &request, &verified.signed_headers, &self.hash_key, now);
        match readings.into_iter().next() {
            Some(Reading::Event { event, trust, .. }) => Ok((*event, trust)),
            Some(Reading::Ignored { event_type, .. }) => Err(self.useless(&format!("`{}` is listed as irrelevant", plain(&event_type)))),
            Some(Reading::DeadLetter { reason, message, .. }) => Err(self.useless(&format!("{}: {message}", reason.as_str()))),
            None => Err(self.useless("it holds nothing")),
        }
    }

    fn useless(&self, why: &str) -> Refused {
        let (name, why) = (plain(&self.name), plain(why));
        Refused::because(format!("the preset's sample becomes no event of `{name}`: {why}; see `onceward map --source {name} sample`"))
    }

    /// Checks that events of one person are of one person, and those of two of two: else no outcome could be told beforehand.
    ///
    /// # Errors
    ///
    /// The source's mapping reads them otherwise.
    pub fn check(&self, script: &Script) -> Result<Event, Refused> {
        let told = |event: u32, person: u32| Facts { event, person, chance: 1, ..script.facts(0) };
        let now = script.begun;
        let [(one, _), (same, _), (other, _)] =
            [self.meaning(&told(0, 0), now)?, self.meaning(&told(1, 0), now)?, self.meaning(&told(2, 1), now)?];
        let names = |event: &Event| {
            let identity = event.identity.clone();
            [identity.contact_external_id, identity.email, identity.phone_e164, identity.domain]
        };
        let meets = names(&one).iter().zip(&names(&other)).any(|(one, other)| one.is_some() && one == other);
        if one.identity != same.identity || meets || one.idempotency_key == same.idempotency_key {
            return Err(self.useless(
                "its mapping takes ids or addresses from elsewhere than the preset does, so the outcome cannot be told beforehand",
            ));
        }
        Ok(one)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::seal::{SealingKey, SealingKeys};
    use model::secret::Secret;
    use model::source::{Source, SourceDef};

    use super::*;

    fn voice(preset: Option<&str>, over: &str) -> Result<Voice, Refused> {
        let mut def: SourceDef = toml::from_str(over).unwrap();
        def.preset = preset.map(str::to_owned);
        let source = Source::compile("a-source", &def).unwrap();
        let verifier = source.scheme.compile(&[Secret::new("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=").unwrap()], None).unwrap();
        let keys = SealingKeys::new(vec![SealingKey::new(&[1; 32])]).unwrap();
        Voice::new(
            "a-source",
            &SourceOf { source: Arc::new(source), verifier, fetch: None, catch_up: None },
            "http://127.0.0.1:1",
            keys.hash_key("identity"),
        )
    }

    fn script() -> Script {
        Script::new(1, Time::from_seconds(1_800_000_000), 100, 0.3, 10, 1)
    }

    #[test]
    fn every_preset_that_can_be_rehearsed_tells_people_apart_and_keys_as_well() {
        for preset in payload::known() {
            let voice = voice(Some(preset), "").unwrap();
            voice.check(&script()).unwrap_or_else(|refused| panic!("{preset}: {refused}"));
            let keys: std::collections::BTreeSet<String> = (0..script().events)
                .map(|event| voice.meaning(&script().facts(event), script().begun).unwrap().0.idempotency_key)
                .collect();
            assert_eq!(keys.len(), script().events as usize, "{preset}");
        }
    }

    #[test]
    fn what_cannot_be_told_beforehand_is_refused() {
        let one_for_all = "[[events]]\ntype = { from = 'type' }\nfields = { email = { const = 'all@example.com' } }";
        assert!(voice(Some("standard-webhooks"), one_for_all).unwrap().check(&script()).is_err());
        assert!(voice(Some("standard-webhooks"), "ignore = ['lead.*']").unwrap().check(&script()).is_err());
        assert!(voice(Some("github"), "").is_err());
        let own = "signature = { algorithm = 'hmac-sha256', header = 'x-signature', signed = '{body}' }\n[[events]]\ntype = 'x'";
        assert!(voice(None, own).is_err());
    }
}
