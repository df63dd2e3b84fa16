//! What names a record in a URL: its alternate key, its id, or an id that follows from its key.

use model::event::Mode;
use model::{Class, Failure, Scope};
use ring::digest;

use super::refuse;
use crate::wire::encode;
use crate::{WriteBatch, WriteRecord};

/// With one of these in a key, neither reading nor writing by it works (define-alternate-keys-entity; the maker's page adds `#`).
const UNADDRESSABLE: &str = "/#<>*%&:\\?+";

/// Where a record is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// Under its alternate key.
    Key(String),
    /// Under the id that Dataverse gave it.
    Id(String),
    /// Under an id that follows from its key.
    Derived(String),
}

impl Address {
    /// What stands between the parentheses.
    pub(super) fn spelled(&self, key_field: &str) -> String {
        match self {
            Self::Key(key) => by_key(key_field, key),
            Self::Id(id) | Self::Derived(id) => id.clone(),
        }
    }

    /// What must be the case for the write to be done (perform-conditional-operations-using-web-api).
    pub(super) fn condition(&self, mode: Mode) -> Option<(&'static str, &'static str)> {
        match (mode, self) {
            (Mode::UpdateOnly, _) | (Mode::Upsert, Self::Id(_)) => Some(("if-match", "*")),
            (Mode::CreateOnly, _) => Some(("if-none-match", "*")),
            (Mode::Upsert, Self::Key(_) | Self::Derived(_)) | (Mode::Delete, _) => None,
        }
    }
}

/// Where a write finds its record.
///
/// # Errors
///
/// Nothing names it.
pub(super) fn of(batch: &WriteBatch, record: &WriteRecord) -> Result<Address, Failure> {
    let derived = || derived(&batch.object, &batch.key_field, &record.key);
    match (batch.mode, &record.crm_id) {
        (Mode::Delete | Mode::UpdateOnly, Some(id)) => Ok(Address::Id(id.clone())),
        (Mode::Delete, None) => {
            Err(refuse(Class::Permanent, Scope::Call, "no_id", "only a record with an id is deleted; this is a bug of ours"))
        }
        (Mode::Upsert | Mode::UpdateOnly | Mode::CreateOnly, _) if addressable(&record.key) => Ok(Address::Key(record.key.clone())),
        (Mode::Upsert, Some(id)) if !id.eq_ignore_ascii_case(&derived()) => Ok(Address::Id(id.clone())),
        (Mode::Upsert | Mode::CreateOnly, _) => Ok(Address::Derived(derived())),
        (Mode::UpdateOnly, None) => {
            let message = format!(
                "with one of `{UNADDRESSABLE}` in its key, a record can only be updated by its id: set `adopt = \"read\"`, so that it is looked up"
            );
            let scope = if batch.records.len() == 1 { Scope::Record } else { Scope::Call };
            Err(refuse(Class::Permanent, scope, "key_not_addressable", &message))
        }
    }
}

/// Whether Dataverse finds a record by this key in a URL.
pub(super) fn addressable(key: &str) -> bool {
    !key.chars().any(|char| UNADDRESSABLE.contains(char) || char.is_control())
}

/// `key='O%27%27Brien'`: a quote is doubled, then everything is percent-encoded.
pub(super) fn by_key(key_field: &str, key: &str) -> String {
    format!("{key_field}='{}'", encode(&key.replace('\'', "''")))
}

/// A UUID of version 8 (RFC 9562, section 5.8) that is the same for every key which Dataverse would consider the same.
pub(super) fn derived(object: &str, key_field: &str, key: &str) -> String {
    let named = format!("onceward\n{object}\n{key_field}\n{}", key.trim().to_lowercase());
    let hash = digest::digest(&digest::SHA256, named.as_bytes());
    let hex: String = hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let variant = match hex.as_bytes().get(16).map(|digit| digit % 4) {
        Some(0) => '8',
        Some(1) => '9',
        Some(2) => 'a',
        Some(_) | None => 'b',
    };
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-8{}-{variant}{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}
