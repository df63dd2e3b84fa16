//! One file a CRM.

pub mod hubspot;
pub mod salesforce;

pub use hubspot::Hubspot;
pub use salesforce::Salesforce;
