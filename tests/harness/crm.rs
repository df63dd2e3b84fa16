use std::collections::BTreeMap;

use model::Time;
use serde_json::Value;

/// A sandbox, as its own surface shows it.
#[derive(Clone)]
pub struct Crm {
    pub base: String,
    pub http: reqwest::Client,
}

/// One record in the CRM.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub id: String,
    pub key: Option<String>,
    pub fields: BTreeMap<String, Value>,
    pub creates: u64,
    pub writes: u64,
}

impl Record {
    /// A field's text; empty where it has none.
    pub fn text(&self, field: &str) -> &str {
        self.fields.get(field).and_then(Value::as_str).unwrap_or_default()
    }
}

/// One call that reached the CRM.
#[derive(Clone, Debug)]
pub struct Call {
    pub seq: u64,
    /// When it came, by the CRM's clock.
    pub at: Time,
    pub method: String,
    pub path: String,
    pub status: Option<u64>,
    /// The records' keys and what became of each.
    pub records: Vec<(Option<String>, String)>,
}

impl Crm {
    async fn get(&self, path: &str) -> Value {
        let response = self.http.get(format!("{}/_sandbox{path}", self.base)).send().await.unwrap();
        assert!(response.status().is_success(), "{path}: {}", response.status());
        response.json().await.unwrap()
    }

    /// Every lead that is there.
    pub async fn leads(&self) -> Vec<Record> {
        self.records("salesforce", "Lead").await
    }

    /// Every HubSpot contact that is there.
    pub async fn contacts(&self) -> Vec<Record> {
        self.records("hubspot", "contacts").await
    }

    /// Every Salesforce contact that is there.
    pub async fn contacts_of_salesforce(&self) -> Vec<Record> {
        self.records("salesforce", "Contact").await
    }

    async fn records(&self, crm: &str, object: &str) -> Vec<Record> {
        let rows = self.get(&format!("/records?crm={crm}&object={object}")).await;
        let rows = rows.as_array().unwrap().iter().filter(|row| row["deleted"] == false);
        rows.map(|row| Record {
            id: row["id"].as_str().unwrap().to_owned(),
            key: row["key"].as_str().map(str::to_owned),
            fields: row["fields"].as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            creates: row["creates"].as_u64().unwrap(),
            writes: row["writes"].as_u64().unwrap(),
        })
        .collect()
    }

    /// The leads with this address.
    pub async fn with_email(&self, email: &str) -> Vec<Record> {
        self.leads().await.into_iter().filter(|lead| lead.text("Email") == email).collect()
    }

    /// Every call since, the first 10,000 of them.
    pub async fn calls(&self, after: u64) -> Vec<Call> {
        let rows = self.get(&format!("/calls?after={after}&limit=10000")).await;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let call = |row: &Value| Call {
            seq: row["seq"].as_u64().unwrap(),
            at: Time(row["at"].as_i64().unwrap()),
            method: text(&row["method"]).unwrap(),
            path: text(&row["path"]).unwrap(),
            status: row["status"].as_u64(),
            records: row["records"].as_array().unwrap().iter().map(|one| (text(&one["key"]), text(&one["result"]).unwrap())).collect(),
        };
        rows.as_array().unwrap().iter().map(call).collect()
    }

    /// Calls, creates and the like, counted.
    pub async fn stats(&self) -> Value {
        self.get("/stats").await
    }

    /// Lets it misbehave like this and no other way; `{}` ends it.
    pub async fn misbehave(&self, faults: Value) {
        let response = self.http.put(format!("{}/_sandbox/faults", self.base)).json(&faults).send().await.unwrap();
        let status = response.status();
        assert!(status.is_success(), "{status}: {}", response.text().await.unwrap());
    }
}
