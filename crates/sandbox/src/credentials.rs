//! Who may talk to the sandbox, and the tokens it has handed out.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::time::Duration;

use model::Time;
use thiserror::Error;

use crate::faults::Dice;

/// Tokens remembered at once; the one that ends first is forgotten beyond that.
const MAX_TOKENS: usize = 10_000;

/// The client ids, secrets and tokens that are accepted; with none named, all are.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    clients: BTreeMap<String, String>,
    tokens: BTreeSet<String>,
}

/// A credentials list that does not read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("entry {0} of the credentials is empty; write `client-id:secret` or a token, separated by commas")]
pub struct WrongCredentials(usize);

impl FromStr for Credentials {
    type Err = WrongCredentials;

    /// Reads `client-id:secret,…,token,…`; an entry without a colon is a token.
    fn from_str(list: &str) -> Result<Self, WrongCredentials> {
        let mut read = Self::default();
        for (place, entry) in list.split(',').map(str::trim).enumerate() {
            match entry.split_once(':') {
                Some((id, secret)) if !id.is_empty() && !secret.is_empty() => {
                    read.clients.insert(id.into(), secret.into());
                }
                None if !entry.is_empty() => {
                    read.tokens.insert(entry.into());
                }
                Some(_) | None => return Err(WrongCredentials(place + 1)),
            }
        }
        Ok(read)
    }
}

impl Credentials {
    fn open(&self) -> bool {
        self.clients.is_empty() && self.tokens.is_empty()
    }

    pub(crate) fn knows_client(&self, id: &str) -> bool {
        !id.is_empty() && (self.open() || self.clients.contains_key(id))
    }

    pub(crate) fn accepts(&self, id: &str, secret: &str) -> bool {
        self.open() || self.clients.get(id).is_some_and(|held| held == secret)
    }
}

/// The tokens that were handed out, each with the moment it ends.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    ends: BTreeMap<String, Time>,
}

impl Sessions {
    pub(crate) fn issue(&mut self, dice: &mut Dice, now: Time, life: Duration) -> String {
        let token = format!("00DHs0000000001!AQ{:016x}{:016x}{:016x}", dice.next(), dice.next(), dice.next());
        self.ends.retain(|_, end| *end > now - life);
        if self.ends.len() >= MAX_TOKENS
            && let Some(first) = self.ends.iter().min_by_key(|(_, end)| **end).map(|(token, _)| token.clone())
        {
            self.ends.remove(&first);
        }
        self.ends.insert(token.clone(), now + life);
        token
    }

    pub(crate) fn accepts(&self, credentials: &Credentials, token: &str, now: Time) -> bool {
        match self.ends.get(token) {
            Some(end) => now < *end,
            None => credentials.open() || credentials.tokens.contains(token),
        }
    }

    /// Ends a token that was handed out. One that was not (a fixed token) cannot be renewed, so it lives on.
    pub(crate) fn end(&mut self, token: &str, now: Time) {
        if let Some(end) = self.ends.get_mut(token) {
            *end = now;
        }
    }
}
