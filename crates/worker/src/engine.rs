//! One worker's steps: claim and settle by the ledger, and the call in between. Without loops and without a clock, so that the simulation
//! drives the same steps that production runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use connect::{Client, ReadBatch, Report, WriteBatch, WriteRecord};
use model::destination::Policy;
use model::protocol::{Found, Step};
use model::route::Routes;
use model::{Failure, Time};
use store::{Advanced, Call, Finished, Kind, Store, Work};

/// A CRM account that this worker delivers to.
pub struct Target {
    /// Its name.
    pub name: String,
    /// Its configuration.
    pub policy: Policy,
    /// Its client.
    pub client: Arc<Client>,
}

/// What a worker works with.
#[derive(Clone)]
pub struct Engine {
    /// The ledger.
    pub store: Store,
    /// Where events go, and as what.
    pub routes: Arc<Routes>,
    /// The CRM accounts by name.
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
        let limits = target.client.connector().limits();
        let work = Work {
            destination: &target.name,
            policy: &target.policy,
            routes: &self.routes,
            holder: &self.holder,
            group_limit: limits.write_batch.min(limits.read_batch),
            calls_max,
            equal: &|field, a, b| target.client.connector().equal(field, a, b),
        };
        self.store.advance(now, &work, finished, chance).await
    }

    /// Makes a claimed call, unless it could outlive its lease. `elapsed` is the time since the claim was begun.
    pub async fn perform(&self, target: &Target, call: Call, elapsed: Duration, now: Time) -> Finished {
        if !target.policy.may_send(elapsed) {
            return not_sent(call);
        }
        let Some(object) = self.routes.object(&target.name, &call.object) else { return not_sent(call) };
        let begun = Instant::now();
        let (http_status, mut result) = match call.kind {
            Kind::Push => {
                let batch = write_batch(&call, &object.key_field);
                let fits = target.client.connector().write_fits(&batch).clamp(1, batch.records.len());
                let batch = WriteBatch { records: batch.records.into_iter().take(fits).collect(), ..batch };
                taken(target.client.write(&batch, call.id, now).await, Found::Wrote)
            }
            Kind::Adopt | Kind::Verify => {
                let keys: Vec<String> = call.entries.iter().map(|entry| entry.key.clone()).collect();
                let fields = object.field_names().map(str::to_owned).collect();
                let batch = ReadBatch { object: call.object.clone(), key_field: object.key_field.clone(), keys, fields };
                let fits = target.client.connector().read_fits(&batch).clamp(1, batch.keys.len());
                let batch = ReadBatch { keys: batch.keys.into_iter().take(fits).collect(), ..batch };
                taken(target.client.read(&batch, call.id, now).await, Found::Held)
            }
        };
        if let Ok(results) = &mut result {
            // What did not fit into the request waits for the next one.
            results.resize_with(call.entries.len().max(results.len()), || Ok(Found::NotSent));
        }
        Finished { call, duration: begun.elapsed(), http_status, result }
    }
}

fn not_sent(call: Call) -> Finished {
    let result = Ok(call.entries.iter().map(|_| Ok(Found::NotSent)).collect());
    Finished { call, duration: Duration::ZERO, http_status: None, result }
}

type Taken = (Option<u16>, Result<Vec<Result<Found, Failure>>, Failure>);

fn taken<T>(report: Report<T>, found: impl Fn(T) -> Found) -> Taken {
    (report.status, report.result.map(|results| results.into_iter().map(|result| result.map(&found)).collect()))
}

fn write_batch(call: &Call, key_field: &str) -> WriteBatch {
    let records = call.entries.iter().map(|entry| WriteRecord {
        key: entry.key.clone(),
        crm_id: entry.crm_id.clone(),
        fields: match &entry.claim.step {
            Step::Push(push) => push.patch.clone(),
            Step::Adopt | Step::Verify => BTreeMap::new(),
        },
    });
    WriteBatch { object: call.object.clone(), key_field: key_field.to_owned(), mode: call.mode, records: records.collect() }
}
