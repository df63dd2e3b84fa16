//! An object as the CRM describes it, and what can be done where its key's field is missing.

use std::collections::BTreeMap;

use crate::Request;

/// The fields that an object has, by the CRM's own account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// By the CRM's name for them.
    pub fields: BTreeMap<String, FieldDescription>,
}

/// What a field takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldDescription {
    /// What kind of value.
    pub kind: FieldKind,
    /// The longest text, in characters.
    pub length_max: Option<u32>,
    /// Whether it can be set when a record is created.
    pub creatable: bool,
    /// Whether it can be changed afterwards.
    pub updatable: bool,
    /// Whether no record can be created without it.
    pub required: bool,
    /// Whether two records cannot have the same value, and one can be found by it.
    pub unique: bool,
}

/// What kind of value a field takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Any text.
    Text,
    /// A number.
    Number,
    /// A whole number.
    Integer,
    /// Yes or no.
    Boolean,
    /// A day.
    Date,
    /// A moment.
    DateTime,
    /// One or several of a list.
    Choice {
        /// Their internal values.
        options: Vec<String>,
        /// More than one may be chosen.
        several: bool,
        /// Others are taken too.
        open: bool,
    },
    /// Another record.
    Reference,
    /// Something else, by the CRM's word for it.
    Other(String),
}

/// How a missing key field comes to be.
#[derive(Clone, Debug)]
pub enum Setup {
    /// By these calls, in this order.
    Calls(Vec<Request>),
    /// By a person: what to click.
    Instructions(String),
}

/// What came of one of the calls of [`Setup::Calls`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// It was made; with its name, where the CRM chooses that itself.
    Yes(Option<String>),
    /// It was there already.
    There,
    /// The CRM refused.
    No,
}

/// What a connector promises beyond its level and its limits, in words for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    /// What tells a record that was created from one that was updated.
    pub created_from_updated: &'static str,
    /// What it cannot promise.
    pub cannot: &'static str,
}
