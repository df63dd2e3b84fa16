//! Meta's Graph API: leads of lead ads.
//!
//! A push names a lead; its answers, its form and where it came from are read here, from the lead itself
//! (developers.facebook.com/docs/marketing-api/guides/lead-ads/retrieving) and from its form, which alone knows the questions' texts. What this
//! puts into a lead: `form` (id, name, locale, questions), and to each entry of `field_data` its question's `label` and `type` and its `texts`
//! (chosen options by their text, everything else as it is).

use std::time::Duration;

use model::{Class, Failure, Scope, Time};
use reqwest::Method;
use ring::hmac;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::api::{Api, Beside, cursor, id_text, moment, plain, read_cursor};
use super::refusal::{Said, by_status, garbage, hidden, of_some};
use super::{Fetched, Listed, Page, Settings, Window};
use crate::wire::encode;
use crate::{Body, Reply, Request, Secret, SettingsError, Token};

const VERSION: &str = "v24.0";
/// Documented for `ids`.
const BATCH_MAX: usize = 50;
const LEADS_A_PAGE: usize = 100;
const FORMS_A_PAGE: usize = 50;
/// Everything that is documented of a lead and not of one trade only (vehicles, homes).
const LEAD_FIELDS: &str = "id,created_time,ad_id,ad_name,adset_id,adset_name,campaign_id,campaign_name,form_id,is_organic,platform,partner_name,retailer_item_id,field_data,custom_disclaimer_responses";
const FORM_FIELDS: &str = "id,name,locale,questions";
/// Where the usage header does not say when there is access again: most of Meta's limits are counted over an hour.
const LIMIT_PAUSE: Duration = Duration::from_secs(5 * 60);
/// The lead limit is counted over a day.
const PAUSE_MAX: Duration = Duration::from_secs(24 * 3_600);

#[cfg(test)]
mod tests;

/// The translator for the Graph API.
pub(super) struct Meta {
    version: String,
    app_secret: Option<Secret>,
    pages: Vec<String>,
}

/// Page by Page, form by form, page by page.
#[derive(Default, Serialize, Deserialize)]
struct Place {
    /// Which of the Pages.
    page: usize,
    /// Forms whose leads are still to be listed; the first one is being listed.
    forms: Vec<String>,
    /// Where the Page's further forms begin.
    more: Option<String>,
    /// Where the form's further leads begin.
    after: Option<String>,
}

impl Meta {
    pub(super) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let version = settings.version.clone().unwrap_or_else(|| VERSION.to_owned());
        let number = version.strip_prefix('v').and_then(|number| number.split_once('.'));
        let digits = |text: &str| (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        if !number.is_some_and(|(major, minor)| digits(major) && digits(minor)) {
            return Err(SettingsError::ApiVersion(format!("`{version}` is no version of the Graph API; one looks like `{VERSION}`")));
        }
        match settings.accounts.iter().find(|page| !is_number(page)) {
            Some(page) => Err(SettingsError::Accounts(format!("`{page}` is no Page id: one is all digits"))),
            None => Ok(Self { version, app_secret: settings.app_secret.clone(), pages: settings.accounts.clone() }),
        }
    }

    fn get(&self, path: &str, query: &[(&str, &str)]) -> Request {
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", encode(value).replace("%2C", ","))).collect();
        Request::new(Method::GET, format!("/{}/{path}?{}", self.version, query.join("&")), Body::None)
    }

    /// The cursor of what follows when the first form is done.
    fn onward(&self, mut place: Place) -> Result<Option<String>, Failure> {
        place.after = None;
        if !place.forms.is_empty() {
            place.forms.remove(0);
        }
        if place.forms.is_empty() && place.more.is_none() {
            place = Place { page: place.page + 1, ..Place::default() };
        }
        if place.page < self.pages.len() { cursor(&place).map(Some) } else { Ok(None) }
    }

    fn forms_listed(&self, place: Place, body: &Value, reply: &Reply) -> Result<Page, Failure> {
        let rows = body["data"].as_array().ok_or_else(|| garbage(reply))?;
        let forms: Vec<String> = rows.iter().filter_map(|row| id_text(&row["id"])).filter(|id| is_number(id)).take(FORMS_A_PAGE).collect();
        let place = Place { more: further(body), forms, ..place };
        let next = if place.forms.is_empty() { self.onward(place)? } else { Some(cursor(&place)?) };
        Ok(Page { objects: Vec::new(), next })
    }

    fn leads_listed(&self, place: Place, body: &Value, reply: &Reply) -> Result<Page, Failure> {
        let rows = body["data"].as_array().ok_or_else(|| garbage(reply))?;
        let page = self.pages.get(place.page).cloned().unwrap_or_default();
        let listed = rows.iter().map(|lead| listed(&page, place.forms.first(), lead));
        let objects = listed.collect::<Option<Vec<Listed>>>().ok_or_else(|| garbage(reply))?;
        let next = match further(body) {
            Some(after) => Some(cursor(&Place { after: Some(after), ..place })?),
            None => self.onward(place)?,
        };
        Ok(Page { objects, next })
    }
}

impl Api for Meta {
    fn batch(&self, object: &str) -> Option<usize> {
        (object == "lead").then_some(BATCH_MAX)
    }

    fn is_id(&self, _object: &str, id: &str) -> bool {
        is_number(id)
    }

    fn fetch(&self, _object: &str, ids: &[&str]) -> Request {
        match ids {
            [id] => self.get(id, &[("fields", LEAD_FIELDS)]),
            several => self.get("", &[("ids", &several.join(",")), ("fields", LEAD_FIELDS)]),
        }
    }

    fn fetched(&self, _object: &str, ids: &[&str], reply: &Reply) -> Result<Vec<Fetched>, Failure> {
        if reply.status != 200 {
            return of_some(ids, self.refused(reply));
        }
        let body = reply.json().filter(Value::is_object).ok_or_else(|| garbage(reply))?;
        // Graph has answered 200 with an error in it.
        if body["error"].is_object() {
            return of_some(ids, self.refused(reply));
        }
        let is_lead = |lead: &Value, id: &str| id_text(&lead["id"]).as_deref() == Some(id) && lead["field_data"].is_array();
        match ids {
            [id] if is_lead(&body, id) => Ok(vec![Fetched::Object(body)]),
            [_] => Err(garbage(reply)),
            several => Ok(several
                .iter()
                .map(|id| if is_lead(&body[*id], id) { Fetched::Object(body[*id].clone()) } else { not_in_it() })
                .collect()),
        }
    }

    fn beside(&self, _object: &str, document: &Value) -> Option<Beside> {
        let form = id_text(&document["form_id"]).filter(|form| is_number(form))?;
        Some(Beside { request: self.get(&form, &[("fields", FORM_FIELDS)]), key: format!("form {form}"), keep: true })
    }

    /// A lead without its questions' texts is a lead all the same: where the form is gone or not for us, it goes on without.
    fn read_beside(&self, reply: &Reply) -> Result<Value, Failure> {
        match reply.json().filter(|form| reply.status == 200 && form["id"].is_string()) {
            Some(form) => Ok(form),
            None => match self.refused(reply) {
                failure if matches!(failure.class, Class::Permanent | Class::Auth | Class::Conflict) => Ok(Value::Null),
                failure => Err(failure),
            },
        }
    }

    fn complete(&self, document: &mut Value, form: &Value) {
        complete(document, form);
    }

    fn list(&self, _what: &str, window: Window, cursor: Option<&str>) -> Result<Request, Failure> {
        let place: Place = read_cursor(cursor)?;
        let Some(page) = self.pages.get(place.page) else {
            let message = "to list leads, name the Pages they belong to: `accounts = [\"<Page id>\"]`";
            return Err(Failure::new(Class::Permanent, Scope::Destination, "accounts", message));
        };
        let Some(form) = place.forms.first() else {
            let (limit, more) = (FORMS_A_PAGE.to_string(), place.more.as_deref());
            let mut query = vec![("fields", "id"), ("limit", limit.as_str())];
            query.extend(more.map(|more| ("after", more)));
            return Ok(self.get(&format!("{page}/leadgen_forms"), &query));
        };
        if !is_number(form) {
            return Err(Failure::new(
                Class::Permanent,
                Scope::Call,
                "cursor",
                "the cursor is none that this client has given: begin again",
            ));
        }
        let filtering = json!([
            { "field": "time_created", "operator": "GREATER_THAN", "value": window.since.seconds() - 1 },
            { "field": "time_created", "operator": "LESS_THAN", "value": seconds_up(window.until) },
        ])
        .to_string();
        let limit = LEADS_A_PAGE.to_string();
        let mut query = vec![("fields", LEAD_FIELDS), ("filtering", filtering.as_str()), ("limit", limit.as_str())];
        query.extend(place.after.as_deref().map(|after| ("after", after)));
        Ok(self.get(&format!("{form}/leads"), &query))
    }

    fn listed(&self, _what: &str, window: Window, cursor: Option<&str>, reply: &Reply) -> Result<Page, Failure> {
        let body = reply.json().unwrap_or_default();
        if reply.status != 200 || body["error"].is_object() {
            return Err(self.refused(reply));
        }
        let place: Place = read_cursor(cursor)?;
        if place.forms.is_empty() {
            return self.forms_listed(place, &body, reply);
        }
        let mut page = self.leads_listed(place, &body, reply)?;
        // The filter is documented; that it was heeded is checked.
        page.objects.retain(|listed| {
            let at = listed.push["entry"][0]["time"].as_i64().map(Time::from_seconds);
            at.is_some_and(|at| at.seconds() >= window.since.seconds() && at < window.until)
        });
        Ok(page)
    }

    fn probe(&self) -> Request {
        self.get("me", &[("fields", "id")])
    }

    fn refused(&self, reply: &Reply) -> Failure {
        refused(reply)
    }

    /// The proof is `appsecret_proof` of developers.facebook.com/docs/graph-api/guides/secure-requests.
    fn authorize(&self, request: &mut Request, token: &Token) {
        let token = token.value.reveal();
        request.headers.push(("authorization".to_owned(), format!("Bearer {token}")));
        if let Some(secret) = &self.app_secret {
            let proof = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.reveal().as_bytes()), token.as_bytes());
            let hex: String = proof.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            request.path.push_str("&appsecret_proof=");
            request.path.push_str(&hex);
        }
    }

    fn retry_after_max(&self) -> Duration {
        PAUSE_MAX
    }
}

fn is_number(text: &str) -> bool {
    (1..=25).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The end of a window in whole seconds, never too early.
fn seconds_up(at: Time) -> i64 {
    Time(at.0.saturating_add(999_999)).seconds()
}

fn not_in_it() -> Fetched {
    Fetched::Refused(hidden(
        "no_result".to_owned(),
        "the answer has every lead but this one: it is gone, or belongs to a Page that the token is not for",
    ))
}

/// Where the next page begins; the cursor alone also comes with the last one.
fn further(body: &Value) -> Option<String> {
    let paging = &body["paging"];
    let after = paging["cursors"]["after"].as_str().filter(|after| plain(after, b"-_=+/.%", 1_024))?;
    paging["next"].is_string().then(|| after.to_owned())
}

/// The push that told of a lead (webhook-sources.md 7.2); `None` for what is no lead.
fn listed(page: &str, form: Option<&String>, lead: &Value) -> Option<Listed> {
    let id = id_text(&lead["id"]).filter(|id| is_number(id))?;
    let at = moment(lead["created_time"].as_str()?)?.seconds();
    let mut value = Map::new();
    value.insert("leadgen_id".to_owned(), json!(id));
    value.insert("page_id".to_owned(), json!(page));
    value.insert("form_id".to_owned(), json!(id_text(&lead["form_id"]).or_else(|| form.cloned())));
    if let Some(ad) = id_text(&lead["ad_id"]) {
        value.insert("ad_id".to_owned(), json!(ad));
        // The older word for the same; the set of ads is `adset_id`.
        value.insert("adgroup_id".to_owned(), json!(ad));
    }
    value.insert("created_time".to_owned(), json!(at));
    let push = json!({ "object": "page", "entry": [{ "id": page, "time": at, "changes": [{ "field": "leadgen", "value": value }] }] });
    Some(Listed { push, object: Some((id, lead.clone())) })
}

/// Puts what a form knows into one of its leads.
fn complete(lead: &mut Value, form: &Value) {
    let questions = form["questions"].as_array().map(Vec::as_slice).unwrap_or_default();
    for answer in lead["field_data"].as_array_mut().into_iter().flatten() {
        let question = questions.iter().find(|question| question["key"] == answer["name"]);
        let options = question.and_then(|question| question["options"].as_array()).map(Vec::as_slice).unwrap_or_default();
        let text = |value: &Value| {
            let option = options.iter().find(|option| option["key"] == *value);
            option.map(|option| option["value"].clone()).filter(Value::is_string).unwrap_or_else(|| value.clone())
        };
        let texts: Vec<Value> = answer["values"].as_array().into_iter().flatten().map(text).collect();
        let Some(answer) = answer.as_object_mut() else { continue };
        answer.insert("texts".to_owned(), Value::Array(texts));
        for (name, member) in [("label", "label"), ("type", "type")] {
            if let Some(known) = question.map(|question| &question[member]).filter(|known| known.is_string()) {
                answer.insert(name.to_owned(), known.clone());
            }
        }
    }
    if let Some(lead) = lead.as_object_mut() {
        lead.insert("form".to_owned(), form.clone());
    }
}

/// The table (developers.facebook.com/docs/graph-api/guides/error-handling and …/overview/rate-limiting): the code counts, the status is 400 for
/// nearly everything, limits included.
fn refused(reply: &Reply) -> Failure {
    let body = reply.json().unwrap_or_default();
    let error = &body["error"];
    let Some(code) = error["code"].as_i64() else { return by_status(reply, None) };
    let subcode = error["error_subcode"].as_i64();
    let message = error["message"].as_str().unwrap_or_default().to_owned();
    let shown = subcode.map_or_else(|| code.to_string(), |subcode| format!("{code}/{subcode}"));
    let told = |class, scope| Failure::new(class, scope, shown.clone(), message.clone());
    match code {
        4 | 17 | 32 | 341 | 613 | 80_000..=80_014 => {
            let pause = regain(reply).unwrap_or(LIMIT_PAUSE).min(PAUSE_MAX);
            Failure { retry_after: Some(pause), ..told(Class::Throttled, Scope::Destination) }
        }
        // Sessions and tokens; permissions; an account that was stopped.
        102 | 190 | 463 | 467 | 3 | 10 | 200..=299 | 368 => told(Class::Auth, Scope::Destination),
        1 if message.contains("reduce the amount of data") => told(Class::Conflict, Scope::Call),
        1 | 2 => told(Class::Retryable, Scope::Destination),
        _ if error["is_transient"] == true => told(Class::Retryable, Scope::Destination),
        100 if subcode == Some(33) => hidden(shown, UNREADABLE),
        803 => hidden(shown, UNREADABLE),
        _ => by_status(reply, Said::new(Some(shown), Some(message))),
    }
}

const UNREADABLE: &str = "Meta shows no such lead to this token: it was deleted or is older than 90 days, its Page is another one than the token's, or the token lacks `leads_retrieval` or access in the Leads Access Manager";

/// The longest of the waits that `X-Business-Use-Case-Usage` tells, in minutes there.
fn regain(reply: &Reply) -> Option<Duration> {
    let usage: Value = serde_json::from_str(reply.header("x-business-use-case-usage")?).ok()?;
    let uses = usage.as_object()?.values().filter_map(Value::as_array).flatten();
    let minutes = uses.filter_map(|one| one["estimated_time_to_regain_access"].as_u64()).max().filter(|minutes| *minutes > 0)?;
    Some(Duration::from_secs(minutes.saturating_mul(60)))
}
