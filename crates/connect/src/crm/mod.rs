//! One file a CRM.

pub mod salesforce;

pub use salesforce::Salesforce;
