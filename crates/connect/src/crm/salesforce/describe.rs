//! What an org says that its objects have: `/sobjects/NAME/describe` (REST API Developer Guide, "sObject Describe").

use std::collections::BTreeMap;

use model::Failure;
use serde_json::Value;

use super::refusal::{Call, refused};
use crate::connector::last;
use crate::crm::refusal::garbage;
use crate::{Description, FieldDescription, FieldKind, Reply};

/// Reads a describe's answer.
pub(super) fn described(replies: &[Reply]) -> Result<Description, Failure> {
    let reply = last(replies)?;
    if reply.status != 200 {
        return Err(refused(reply, Call::Read));
    }
    let body = reply.json().ok_or_else(|| garbage(reply))?;
    let rows = body["fields"].as_array().ok_or_else(|| garbage(reply))?;
    let mut fields = BTreeMap::new();
    for row in rows {
        let name = row["name"].as_str().ok_or_else(|| garbage(reply))?;
        fields.insert(name.to_owned(), field(row));
    }
    Ok(Description { fields })
}

fn field(row: &Value) -> FieldDescription {
    let is = |name: &str| row[name].as_bool().unwrap_or(false);
    let word = row["type"].as_str().unwrap_or_default();
    let choice = |several: bool| FieldKind::Choice {
        options: row["picklistValues"].as_array().into_iter().flatten().filter_map(active).collect(),
        several,
        open: !is("restrictedPicklist"),
    };
    let kind = match word {
        "string" | "textarea" | "email" | "phone" | "url" | "encryptedstring" => FieldKind::Text,
        "double" | "currency" | "percent" => FieldKind::Number,
        "int" | "long" => FieldKind::Integer,
        "boolean" => FieldKind::Boolean,
        "date" => FieldKind::Date,
        "datetime" => FieldKind::DateTime,
        "picklist" | "combobox" => choice(false),
        "multipicklist" => choice(true),
        "reference" | "id" => FieldKind::Reference,
        other => FieldKind::Other(other.to_owned()),
    };
    let length = row["length"].as_u64().and_then(|length| u32::try_from(length).ok());
    FieldDescription {
        length_max: length.filter(|length| *length > 0 && kind == FieldKind::Text),
        kind,
        creatable: is("createable"),
        updatable: is("updateable"),
        // A flag is never null and always has a default.
        required: is("createable") && !is("nillable") && !is("defaultedOnCreate") && word != "boolean",
        unique: is("unique") && (is("externalId") || is("idLookup")),
    }
}

fn active(option: &Value) -> Option<String> {
    let active = option["active"].as_bool().unwrap_or(true);
    option["value"].as_str().filter(|_| active).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reply(status: u16, body: &Value) -> Reply {
        Reply { status, headers: Vec::new(), body: body.to_string().into_bytes() }
    }

    #[test]
    fn each_type_of_a_field_is_told() {
        // As https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_sobject_describe.htm shows a field, with what matters here.
        let base = json!({ "createable": true, "updateable": true, "nillable": true, "defaultedOnCreate": false, "externalId": false, "unique": false,
            "idLookup": false, "length": 0, "restrictedPicklist": false, "picklistValues": [] });
        let with = |over: Value| {
            let mut row = base.clone();
            row.as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
            row
        };
        let fields = json!([
            with(json!({ "name": "LastName", "type": "string", "length": 80, "nillable": false })),
            with(json!({ "name": "Email", "type": "email", "length": 80, "idLookup": true })),
            with(
                json!({ "name": "External_Lead_Id__c", "type": "string", "length": 255, "externalId": true, "unique": true, "idLookup": true })
            ),
            with(json!({ "name": "Loose__c", "type": "string", "length": 255, "externalId": true, "idLookup": true })),
            with(json!({ "name": "AnnualRevenue", "type": "currency" })),
            with(json!({ "name": "NumberOfEmployees", "type": "int" })),
            with(json!({ "name": "DoNotCall", "type": "boolean", "nillable": false, "defaultedOnCreate": true })),
            with(json!({ "name": "OwnerId", "type": "reference", "length": 18, "nillable": false, "defaultedOnCreate": true })),
            with(json!({ "name": "Status", "type": "picklist", "restrictedPicklist": true,
                "picklistValues": [{ "value": "Open", "active": true }, { "value": "Old", "active": false }] })),
            with(json!({ "name": "Interests__c", "type": "multipicklist", "picklistValues": [{ "value": "A" }] })),
            with(json!({ "name": "Name", "type": "string", "length": 121, "createable": false, "updateable": false })),
            with(json!({ "name": "Address", "type": "address", "createable": false, "updateable": false })),
        ]);
        let told = described(&[reply(200, &json!({ "name": "Lead", "fields": fields }))]).unwrap().fields;
        assert_eq!(
            told["LastName"],
            FieldDescription {
                kind: FieldKind::Text,
                length_max: Some(80),
                creatable: true,
                updatable: true,
                required: true,
                unique: false
            }
        );
        assert_eq!((told["Email"].unique, told["External_Lead_Id__c"].unique, told["Loose__c"].unique), (false, true, false));
        assert_eq!((&told["AnnualRevenue"].kind, &told["NumberOfEmployees"].kind), (&FieldKind::Number, &FieldKind::Integer));
        assert_eq!((told["DoNotCall"].required, told["OwnerId"].required), (false, false));
        assert_eq!((&told["OwnerId"].kind, told["OwnerId"].length_max), (&FieldKind::Reference, None));
        assert_eq!(told["Status"].kind, FieldKind::Choice { options: vec!["Open".into()], several: false, open: false });
        assert_eq!(told["Interests__c"].kind, FieldKind::Choice { options: vec!["A".into()], several: true, open: true });
        assert!(!told["Name"].creatable && !told["Name"].updatable);
        assert_eq!(told["Address"].kind, FieldKind::Other("address".into()));
    }

    #[test]
    fn an_object_that_is_not_there_and_an_answer_that_is_none_are_told() {
        let missing = json!([{ "errorCode": "NOT_FOUND", "message": "The requested resource does not exist" }]);
        assert_eq!(described(&[reply(404, &missing)]).unwrap_err().code, "NOT_FOUND");
        assert!(described(&[reply(200, &json!({ "fields": 5 }))]).is_err() && described(&[]).is_err());
    }
}
