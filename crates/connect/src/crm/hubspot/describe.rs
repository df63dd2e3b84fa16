//! What an account says that its objects have: `GET /crm/v3/properties/NAME` (developers.hubspot.com, "Properties").

use std::collections::BTreeMap;

use model::Failure;
use serde_json::Value;

use super::refusal::{Call, refused};
use crate::connector::last;
use crate::crm::refusal::garbage;
use crate::{Description, FieldDescription, FieldKind, Reply};

/// The longest value of a property that is text.
const TEXT_MAX: u32 = 65_536;
/// What a record of these cannot be created without.
const REQUIRED: &[(&str, &[&str])] = &[("deals", &["dealname", "dealstage"])];

/// Reads the list of an object's properties.
pub(super) fn described(object: &str, replies: &[Reply]) -> Result<Description, Failure> {
    let reply = last(replies)?;
    if reply.status != 200 {
        return Err(refused(reply, Call::Read));
    }
    let body = reply.json().ok_or_else(|| garbage(reply))?;
    let rows = body["results"].as_array().ok_or_else(|| garbage(reply))?;
    let mut fields = BTreeMap::new();
    for row in rows.iter().filter(|row| row["archived"] != true) {
        let name = row["name"].as_str().ok_or_else(|| garbage(reply))?;
        fields.insert(name.to_owned(), field(object, name, row));
    }
    Ok(Description { fields })
}

fn field(object: &str, name: &str, row: &Value) -> FieldDescription {
    let option = |option: &Value| option["value"].as_str().map(str::to_owned);
    let kind = match row["type"].as_str().unwrap_or_default() {
        "string" | "phone_number" => FieldKind::Text,
        "number" => FieldKind::Number,
        "bool" => FieldKind::Boolean,
        "date" => FieldKind::Date,
        "datetime" => FieldKind::DateTime,
        "enumeration" => FieldKind::Choice {
            options: row["options"].as_array().into_iter().flatten().filter_map(option).collect(),
            several: row["fieldType"] == "checkbox",
            // Owners and the like: its values are kept elsewhere.
            open: row["externalOptions"] == true,
        },
        other => FieldKind::Other(other.to_owned()),
    };
    let writable = row["modificationMetadata"]["readOnlyValue"] != true && row["calculated"] != true;
    FieldDescription {
        length_max: (kind == FieldKind::Text).then_some(TEXT_MAX),
        kind,
        creatable: writable,
        updatable: writable,
        required: REQUIRED.iter().any(|(held, names)| *held == object && names.contains(&name)),
        // Addresses of contacts and domains of companies: only the first are kept unique by HubSpot itself.
        unique: row["hasUniqueValue"] == true || (object == "contacts" && name == super::EMAIL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reply(status: u16, body: &Value) -> Reply {
        Reply { status, headers: Vec::new(), body: body.to_string().into_bytes() }
    }

    #[test]
    fn each_type_of_a_property_is_told() {
        // As https://developers.hubspot.com/docs/api-reference/crm-properties-v3/core/get-crm-v3-properties-objectType shows them.
        let row = |name: &str, kind: &str, field: &str| {
            json!({ "name": name, "label": name, "type": kind, "fieldType": field, "options": [], "calculated": false, "externalOptions": false,
                "hasUniqueValue": false, "archived": false, "modificationMetadata": { "archivable": true, "readOnlyDefinition": false, "readOnlyValue": false } })
        };
        let mut rows = vec![
            row("email", "string", "text"),
            row("crm_ext_id", "string", "text"),
            row("annualrevenue", "number", "number"),
            row("closedate", "datetime", "date"),
            row("hs_lead_status", "enumeration", "radio"),
            row("interests", "enumeration", "checkbox"),
            row("hubspot_owner_id", "enumeration", "select"),
            row("createdate", "datetime", "date"),
            row("gone", "string", "text"),
            row("hs_thing", "object_coordinates", "text"),
        ];
        rows[1]["hasUniqueValue"] = json!(true);
        rows[4]["options"] = json!([{ "label": "New", "value": "NEW", "displayOrder": 0, "hidden": false }]);
        rows[6]["externalOptions"] = json!(true);
        rows[7]["modificationMetadata"]["readOnlyValue"] = json!(true);
        rows[8]["archived"] = json!(true);
        let told = described("contacts", &[reply(200, &json!({ "results": rows }))]).unwrap().fields;
        assert_eq!(
            told["crm_ext_id"],
            FieldDescription {
                kind: FieldKind::Text,
                length_max: Some(65_536),
                creatable: true,
                updatable: true,
                required: false,
                unique: true
            }
        );
        assert!(told["email"].unique && !told["annualrevenue"].unique && !told.contains_key("gone"));
        assert_eq!((&told["annualrevenue"].kind, &told["closedate"].kind), (&FieldKind::Number, &FieldKind::DateTime));
        assert_eq!(told["hs_lead_status"].kind, FieldKind::Choice { options: vec!["NEW".into()], several: false, open: false });
        assert_eq!(told["interests"].kind, FieldKind::Choice { options: vec![], several: true, open: false });
        assert_eq!(told["hubspot_owner_id"].kind, FieldKind::Choice { options: vec![], several: false, open: true });
        assert!(!told["createdate"].creatable && !told["createdate"].updatable);
        assert_eq!(told["hs_thing"].kind, FieldKind::Other("object_coordinates".into()));
        let deals = described("deals", &[reply(200, &json!({ "results": [row("dealname", "string", "text")] }))]).unwrap();
        assert!(deals.fields["dealname"].required);
    }

    #[test]
    fn an_account_that_refuses_and_an_answer_that_is_none_are_told() {
        let refusal =
            json!({ "status": "error", "message": "This app hasn't been granted all required scopes", "category": "MISSING_SCOPES" });
        assert_eq!(described("contacts", &[reply(403, &refusal)]).unwrap_err().code, "MISSING_SCOPES");
        assert!(described("contacts", &[reply(200, &json!({}))]).is_err());
    }
}
