//! One worker's steps: claim and settle by the ledger, and the call in between. Without loops and without a clock, so that the simulation
//! drives the same steps that production runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use connect::vendor::{Answer, Fetched, Vendor};
use connect::{Client, Level, ReadBatch, Report, Sought, WriteBatch, WriteRecord};
use model::destination::Policy;
use model::protocol::{Found, Repeat, Step, gone};
use model::quota::Usage;
use model::route::{ObjectPlan, Routes};
use model::source::Source;
use model::{Failure, Time};
use serde_json::Value;
use store::{Advanced, Call, Enriching, Finished, Kind, Store, Work};

/// What this worker makes calls to.
pub struct Target {
    /// The destination's name, or `source:NAME`.
    pub name: String,
    /// How it may be asked.
    pub policy: Policy,
    /// Who is asked.
    pub to: To,
}

/// Who is asked, and for what.
pub enum To {
    /// A CRM account, which is delivered to.
    Crm(Arc<Client>),
    /// The vendor behind a source, whose objects are fetched for events that came as nothing but an id.
    Source {
        /// The source, with the mapping that reads its objects.
        source: Arc<Source>,
        /// Its client.
        vendor: Arc<Vendor>,
    },
}

impl To {
    /// What the CRM's connector can promise; nothing is written to a source.
    pub(crate) fn level(&self) -> Option<Level> {
        match self {
            Self::Crm(client) => Some(client.connector().level()),
            Self::Source { .. } => None,
        }
    }

    /// The most records that a look may ask for.
    pub(crate) fn read_batch(&self) -> usize {
        match self {
            Self::Crm(client) => client.connector().limits().read_batch,
            Self::Source { .. } => 1,
        }
    }

    /// Whether the CRM considers two values of a field equal.
    pub(crate) fn equal(&self, field: &str, a: &Value, b: &Value) -> bool {
        match self {
            Self::Crm(client) => client.connector().equal(field, a, b),
            // Nothing is written there, so nothing is ever compared.
            Self::Source { .. } => a == b,
        }
    }

    /// The most records that a call may carry.
    fn group_limit(&self) -> usize {
        match self {
            Self::Crm(client) => {
                let limits = client.connector().limits();
                limits.write_batch.min(limits.read_batch)
            }
            Self::Source { source, vendor } => source.fetches().filter_map(|object| vendor.batch(object)).max().unwrap_or(1),
        }
    }
}

/// What a worker works with.
#[derive(Clone)]
pub struct Engine {
    /// The ledger.
    pub store: Store,
    /// Where events go, and as what.
    pub routes: Arc<Routes>,
    /// The CRM accounts, and the sources that are asked for objects, by name.
    pub targets: Arc<BTreeMap<String, Arc<Target>>>,
    /// This worker's name in leases.
    pub holder: String,
}

impl Engine {
    /// Settles finished calls and claims up to `calls_max` new ones, in one transaction of the ledger.
    ///
    /// # Errors
    ///
    /// The ledger's: nothing was settled then, or that is not known; the same call is right again.
    pub async fn advance(
        &self,
        target: &Target,
        finished: &[Finished],
        calls_max: u32,
        now: Time,
        chance: &mut (dyn FnMut() -> f64 + Send),
    ) -> Result<Advanced, store::Error> {
        let identifier_trust: BTreeMap<String, u8>;
        let enriching = match &target.to {
            To::Crm(_) => None,
            To::Source { source, .. } => {
                identifier_trust = self.targets.iter().map(|(name, held)| (name.clone(), held.policy.identifier_trust)).collect();
                Some(Enriching { source, identifier_trust: &identifier_trust })
            }
        };
        let work = Work {
            destination: &target.name,
            policy: &target.policy,
            routes: &self.routes,
            holder: &self.holder,
            group_limit: target.to.group_limit(),
            calls_max,
            equal: &|field, a, b| target.to.equal(field, a, b),
            repeat: &|object, mode| match &target.to {
                To::Crm(client) => client.connector().repeat(object, mode),
                To::Source { .. } => Repeat::Keyed,
            },
            reads: &|object| match &target.to {
                To::Crm(client) => client.connector().reads(object),
                To::Source { .. } => true,
            },
            enriching,
        };
        self.store.advance(now, &work, finished, chance).await
    }

    /// Makes a claimed call, unless it could outlive its lease. `elapsed` is the time since the claim was begun.
    pub async fn perform(&self, target: &Target, call: Call, elapsed: Duration, now: Time) -> Finished {
        if !target.policy.may_send(elapsed) {
            return not_sent(call);
        }
        let begun = Instant::now();
        let Taken { http_status, requests, usage, mut result } = match &target.to {
            To::Crm(client) => {
                let Some(object) = self.routes.object(&target.name, &call.object) else { return not_sent(call) };
                ask_crm(client, object, &call, now).await
            }
            To::Source { vendor, .. } => ask_vendor(vendor, &call, now).await,
        };
        if let Ok(results) = &mut result {
            // What did not fit into the request waits for the next one.
            results.resize_with(call.entries.len().max(results.len()), || Ok(Found::NotSent));
        }
        Finished { call, duration: begun.elapsed(), http_status, requests, usage, result }
    }
}

async fn ask_crm(client: &Client, object: &ObjectPlan, call: &Call, now: Time) -> Taken {
    match call.kind {
        Kind::Push => {
            let batch = write_batch(call, &object.key_field);
            let fits = client.connector().write_fits(&batch).clamp(1, batch.records.len());
            let batch = WriteBatch { records: batch.records.into_iter().take(fits).collect(), ..batch };
            taken(client.write(&batch, call.id, now).await, Found::Wrote)
        }
        Kind::Adopt | Kind::Verify | Kind::Reconcile => {
            let sought = |entry: &store::Entry| Sought { key: entry.key.clone(), crm_id: entry.crm_id.clone() };
            let records = call.entries.iter().map(sought).collect();
            let fields = object.field_names().map(str::to_owned).collect();
            let batch = ReadBatch { object: call.object.clone(), key_field: object.key_field.clone(), records, fields };
            let fits = client.connector().read_fits(&batch).clamp(1, batch.records.len());
            let batch = ReadBatch { records: batch.records.into_iter().take(fits).collect(), ..batch };
            taken(client.read(&batch, call.id, now).await, Found::Held)
        }
        // Only a source's objects are fetched.
        Kind::Fetch => Taken { http_status: None, requests: 0, usage: Vec::new(), result: Ok(Vec::new()) },
    }
}

async fn ask_vendor(vendor: &Vendor, call: &Call, now: Time) -> Taken {
    let fits = vendor.batch(&call.object).unwrap_or(1);
    let ids: Vec<String> = call.entries.iter().take(fits).map(|entry| entry.key.clone()).collect();
    let nothing = BTreeMap::new();
    let with = match call.entries.first().map(|entry| &entry.claim.step) {
        Some(Step::Fetch(look)) => &look.with,
        Some(Step::Adopt | Step::Verify | Step::Push(_)) | None => &nothing,
    };
    let Answer { status, result } = vendor.fetch(&call.object, &ids, with, now).await;
    let found = |fetched| match fetched {
        Fetched::Object(object) => Ok(Found::Fetched(object)),
        Fetched::Gone => gone(&call.object),
        Fetched::Refused(failure) => Err(failure),
    };
    let result = result.map(|each| each.into_iter().map(|(_, fetched)| found(fetched)).collect());
    Taken { http_status: status, requests: 1, usage: Vec::new(), result }
}

fn not_sent(call: Call) -> Finished {
    let result = Ok(call.entries.iter().map(|_| Ok(Found::NotSent)).collect());
    Finished { call, duration: Duration::ZERO, http_status: None, requests: 0, usage: Vec::new(), result }
}

/// What came of a call, however it was made.
struct Taken {
    http_status: Option<u16>,
    requests: u32,
    usage: Vec<Usage>,
    result: Result<Vec<Result<Found, Failure>>, Failure>,
}

fn taken<T>(report: Report<T>, found: impl Fn(T) -> Found) -> Taken {
    let result = report.result.map(|results| results.into_iter().map(|result| result.map(&found)).collect());
    Taken { http_status: report.status, requests: report.calls, usage: report.usage, result }
}

fn write_batch(call: &Call, key_field: &str) -> WriteBatch {
    let records = call.entries.iter().map(|entry| {
        let (revision, fields) = match &entry.claim.step {
            Step::Push(push) => (push.revision, push.patch.clone()),
            Step::Adopt | Step::Verify | Step::Fetch(_) => (0, BTreeMap::new()),
        };
        WriteRecord { key: entry.key.clone(), crm_id: entry.crm_id.clone(), revision, fields }
    });
    WriteBatch { object: call.object.clone(), key_field: key_field.to_owned(), mode: call.mode, records: records.collect() }
}
