//! What a worker counts. Labels are names of the configuration and closed lists, never an id.

use std::time::Duration;

use ::metrics::{counter, histogram};
use model::protocol::Found;
use model::{IdGenerator, Time};
use store::{Advanced, Finished, Kind};

/// A call has ended.
pub fn called(destination: &str, finished: &Finished) {
    let sent = !matches!(&finished.result, Ok(results) if results.iter().all(|result| matches!(result, Ok(Found::NotSent))));
    if !sent {
        return;
    }
    let status = finished.http_status.map_or_else(|| "none".to_owned(), |status| status.to_string());
    counter!("onceward_crm_calls_total", "destination" => destination.to_owned(), "status" => status).increment(1);
    histogram!("onceward_crm_call_duration_seconds", "destination" => destination.to_owned()).record(finished.duration.as_secs_f64());
    if matches!(finished.call.kind, Kind::Push | Kind::Fetch) {
        histogram!("onceward_crm_records_per_call", "destination" => destination.to_owned()).record(finished.call.entries.len() as f64);
    }
    let attempt = |class: &'static str, n: u64| {
        counter!("onceward_attempts_total", "destination" => destination.to_owned(), "class" => class).increment(n);
    };
    match &finished.result {
        Err(failure) => attempt(failure.class.as_str(), finished.call.entries.len() as u64),
        Ok(results) => {
            for result in results {
                match result {
                    Ok(Found::NotSent) => {}
                    Ok(Found::Wrote(_) | Found::Held(_) | Found::Fetched(_)) => attempt("success", 1),
                    Err(failure) => attempt(failure.class.as_str(), 1),
                }
            }
        }
    }
}

/// A transaction of the ledger has settled and claimed.
pub fn advanced(destination: &str, advanced: &Advanced, now: Time) {
    if advanced.retries > 0 {
        counter!("onceward_retries_total", "destination" => destination.to_owned()).increment(advanced.retries);
    }
    for (source, warning) in &advanced.warnings {
        let labels = [("source", source.clone()), ("kind", warning.kind.clone())];
        counter!("onceward_mapping_warnings_total", &labels).increment(1);
    }
    for ended in &advanced.ended {
        let labels = [("destination", destination.to_owned()), ("object", ended.object.clone()), ("outcome", ended.outcome.to_owned())];
        counter!("onceward_deliveries_total", &labels).increment(1);
        let age: Duration = now.since(IdGenerator::made_at(ended.delivery.0));
        histogram!("onceward_delivery_duration_seconds", "destination" => destination.to_owned()).record(age.as_secs_f64());
        if let Some(reason) = ended.dead {
            counter!("onceward_dead_letters_total", "destination" => destination.to_owned(), "reason" => reason.as_str()).increment(1);
        }
    }
}
