use std::collections::BTreeMap;
use std::sync::LazyLock;

use model::secret::Secret;
use model::signature::{Scheme, Verifier};
use model::source::{Source as Compiled, SourceDef};
use model::{Received, Time};
use serde_json::{Value, json};

use crate::Answer;
use crate::setup::ENVIRONMENT;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Standard Webhooks; its id and time of signing are signed.
    Forms,
    /// A scheme of its own over the body alone.
    Desk,
    /// As GitHub signs: the id is a header that nobody signed.
    Hub,
}

/// A person, as a lead form knows them.
#[derive(Clone, Debug)]
pub struct Lead {
    /// The vendor's id of the event.
    pub id: String,
    pub at: Time,
    pub person: Option<String>,
    pub email: String,
    pub phone: Option<String>,
    pub first: Option<String>,
    pub last: String,
    pub company: String,
    /// `Some(None)` says that there is no title any more.
    pub title: Option<Option<String>>,
}

impl Lead {
    /// A person of this number, with what a CRM asks for and nothing else.
    pub fn new(number: u64) -> Self {
        Self {
            id: format!("evt-{number}"),
            at: crate::now(),
            person: Some(format!("person-{number}")),
            email: format!("person-{number}@example.com"),
            phone: None,
            first: None,
            last: format!("Person{number}"),
            company: "Example Ltd".to_owned(),
            title: None,
        }
    }

    /// As this source writes it.
    pub fn body(&self, source: Source) -> Vec<u8> {
        let at = self.at.to_string();
        let mut members = match source {
            Source::Forms => json!({ "id": self.person, "email": self.email, "phone": self.phone, "first_name": self.first,
                "last_name": self.last, "company": self.company }),
            Source::Desk => {
                json!({ "type": "lead", "id": self.id, "at": at, "person": self.person, "email": self.email, "phone": self.phone,
                "first": self.first, "last": self.last, "company": self.company })
            }
            Source::Hub => json!({ "event": "lead", "email": self.email, "last": self.last, "company": self.company }),
        };
        let members = members.as_object_mut().unwrap();
        members.retain(|_, value| !value.is_null());
        if let Some(title) = &self.title {
            members.insert(if source == Source::Forms { "job_title" } else { "title" }.to_owned(), json!(title));
        }
        match source {
            Source::Forms => json!({ "type": "lead.created", "timestamp": at, "data": members }).to_string().into_bytes(),
            Source::Desk | Source::Hub => Value::Object(members.clone()).to_string().into_bytes(),
        }
    }

    /// Signed and ready.
    pub fn sent_by(&self, source: Source) -> Sent {
        Sent { source, id: self.id.clone(), body: self.body(source) }
    }
}

/// One webhook, which may be sent many times: each time signed anew, as vendors do.
#[derive(Clone, Debug)]
pub struct Sent {
    pub source: Source,
    /// The vendor's id of it.
    pub id: String,
    pub body: Vec<u8>,
}

impl Source {
    /// As the configuration names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forms => "forms",
            Self::Desk => "desk",
            Self::Hub => "hub",
        }
    }

    /// What the configuration says of its word.
    pub const fn trust(self) -> u8 {
        match self {
            Self::Forms | Self::Hub => 50,
            Self::Desk => 70,
        }
    }

    fn scheme(self) -> Scheme {
        let header = match self {
            Self::Forms => {
                let definition: SourceDef = toml::from_str(r#"preset = "standard-webhooks""#).unwrap();
                return Compiled::compile(self.name(), &definition).unwrap().scheme;
            }
            Self::Desk => "x-desk-signature",
            Self::Hub => "x-hub-signature-256",
        };
        let text = format!("algorithm = 'hmac-sha256'\nheader = '{header}'\nencoding = 'hex'\nprefix = 'sha256='\nsigned = '{{body}}'");
        toml::from_str(&text).unwrap()
    }

    fn secret(self) -> &'static str {
        let variable = format!("{}_SECRET", self.name().to_uppercase());
        ENVIRONMENT.iter().find(|(name, _)| *name == variable).unwrap().1
    }
}

/// What each of them signs with.
static VERIFIERS: LazyLock<BTreeMap<Source, Verifier>> = LazyLock::new(|| {
    let verifier = |source: Source| source.scheme().compile(&[Secret::new(source.secret()).unwrap()], None).unwrap();
    [Source::Forms, Source::Desk, Source::Hub].into_iter().map(|source| (source, verifier(source))).collect()
});

/// The headers that the vendor sends with this webhook at this moment.
pub fn headers(sent: &Sent, now: Time) -> Vec<(String, String)> {
    let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    match sent.source {
        Source::Forms => headers.push(("webhook-id".to_owned(), sent.id.clone())),
        Source::Hub => headers.push(("x-hub-delivery".to_owned(), sent.id.clone())),
        Source::Desk => {}
    }
    let bytes: Vec<(String, Vec<u8>)> = headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect();
    let target = format!("/webhooks/{}", sent.source.name());
    let request = Received { method: "POST", target: &target, headers: &bytes, body: &sent.body };
    headers.extend(VERIFIERS[&sent.source].sign(&request, now).unwrap().headers);
    headers
}

/// Posts a body with headers to a source's address.
pub async fn post(
    http: &reqwest::Client,
    public: &str,
    source: Source,
    headers: &[(String, String)],
    body: Vec<u8>,
) -> reqwest::Result<Answer> {
    let mut request = http.post(format!("{public}/webhooks/{}", source.name())).body(body);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    Answer::of(request.send().await?).await
}
