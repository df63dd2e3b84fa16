/// The secrets of the configuration, by the names of their environment variables.
pub const ENVIRONMENT: [(&str, &str); 8] = [
    ("ONCEWARD_KEY", "b25jZXdhcmQtdGVzdHMtc2VhbGluZy1rZXktMzJieXQ="),
    ("FORMS_SECRET", "whsec_Y2FuYXJ5LWZvcm1zLXNlY3JldC0wMTIzNDU2Nzg5"),
    ("DESK_SECRET", "canary-desk-secret-4711"),
    ("HUB_SECRET", "canary-hub-secret-4712"),
    ("SF_SECRET", "canary-crm-secret-4713"),
    ("VIEWER_TOKEN", "canary-viewer-token-0123456789abcdef"),
    ("OPERATOR_TOKEN", "canary-operator-token-0123456789abcdef"),
    ("HUBSPOT_TOKEN", "pat-canary-hubspot-token-4714"),
];

/// What differs between the pipelines of the tests.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How the CRM misbehaves from the start on.
    pub faults: &'static str,
    /// How long the CRM takes for an answer, in milliseconds.
    pub latency_millis: u64,
    /// How long the CRM's tokens are good for, in milliseconds.
    pub token_life_millis: u64,
    /// How long one call may take.
    pub call_timeout: &'static str,
    /// How long a write may land after it was sent.
    pub late_window: &'static str,
    /// More settings of `[destinations.salesforce]`, as lines of TOML.
    pub destination: &'static str,
    /// Further sections, as lines of TOML; `{crm}` stands for the CRM's address.
    pub more: &'static str,
}

impl Default for Setup {
    /// A CRM in good order, a call timeout of 2 s and a late-write window of 1 s.
    fn default() -> Self {
        Self {
            faults: "",
            latency_millis: 5,
            token_life_millis: 3_600_000,
            call_timeout: "2s",
            late_window: "1s",
            destination: "",
            more: "",
        }
    }
}

impl Setup {
    /// Three sources (`forms`: Standard Webhooks, trust 50; `desk`: a scheme of its own, trust 70; `hub`: GitHub's scheme, whose id is
    /// not signed), all leads to one Salesforce.
    pub(crate) fn configuration(&self, ledger: &str, queue: &str, crm: &str) -> String {
        let Self { faults: _, latency_millis: _, token_life_millis: _, call_timeout, late_window, destination, more } = self;
        let more = more.replace("{crm}", crm);
        format!(
            r#"
[ledger]
url = "{ledger}"
[queue]
url = "{queue}"
[encryption]
keys = [{{ env = "ONCEWARD_KEY" }}]
# Each process is told its own; where none runs, nothing may answer in its place.
[listen]
public = "127.0.0.1:2"
admin  = "127.0.0.1:1"

[sources.forms]
preset  = "standard-webhooks"
secrets = [{{ env = "FORMS_SECRET" }}]
trust   = 50
shared  = true

[sources.desk]
secrets   = [{{ env = "DESK_SECRET" }}]
signature = {{ algorithm = "hmac-sha256", header = "x-desk-signature", encoding = "hex", prefix = "sha256=", signed = "{{body}}" }}
trust     = 70
shared    = true
ignore    = ["ping"]
[[sources.desk.events]]
when        = "type == 'lead'"
type        = "lead.created"
id          = "id"
occurred_at = "at"
[sources.desk.events.fields]
external_id = "person"
email       = {{ from = "email", as = "email" }}
phone_e164  = "phone"
first_name  = "first"
last_name   = "last"
company     = "company"
job_title   = {{ from = "title", clear = true }}

[sources.hub]
secrets     = [{{ env = "HUB_SECRET" }}]
signature   = {{ algorithm = "hmac-sha256", header = "x-hub-signature-256", encoding = "hex", prefix = "sha256=", signed = "{{body}}" }}
[[sources.hub.events]]
on     = ["lead"]
type   = "lead.created"
id     = {{ header = "x-hub-delivery" }}
fields = {{ email = "email", last_name = "last", company = "company" }}

[destinations.salesforce]
kind         = "salesforce"
base_url     = "{crm}"
auth         = {{ kind = "client_credentials", client_id = "onceward", client_secret = {{ env = "SF_SECRET" }} }}
call_timeout = "{call_timeout}"
late_window  = "{late_window}"
{destination}
[destinations.salesforce.objects.Lead]
key    = {{ field = "External_Lead_Id__c", from = "identity.external_id" }}
match  = ["external_id", "email"]
fields = {{ Email = "email", Phone = "phone_e164", FirstName = "first_name", LastName = "last_name", Company = "company", Title = "job_title" }}

[[routes]]
source = "*"
event  = "lead.*"
to     = "salesforce"
object = "Lead"
owner  = "sales-ops"
{more}
"#
        )
    }
}
