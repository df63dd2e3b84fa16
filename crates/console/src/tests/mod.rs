//! The whole router, asked as a client asks it.

mod door;
mod ledger;
mod pages;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use model::Time;
use model::seal::{SealingKey, SealingKeys};
use queue::Queue;
use serde_json::Value;
use store::Store;
use tower::ServiceExt as _;

use crate::{Console, Role, Token, router};

/// A console with a token for each role, named like the role.
pub(crate) fn console(store: Store, clock: &Arc<AtomicI64>) -> Console {
    let keys = SealingKeys::new(vec![SealingKey::new(&[7; 32])]).unwrap();
    let time = Arc::clone(clock);
    Console {
        store,
        queue: Queue::embedded(),
        hash_key: keys.hash_key("identity"),
        keys: Arc::new(keys),
        sources: BTreeMap::new(),
        catches_up: std::collections::BTreeSet::from(["meta".to_owned()]),
        routes: Arc::default(),
        identifier_trust: BTreeMap::new(),
        recheck: None,
        tokens: Role::ALL.into_iter().map(|role| Token::new(role.as_str(), role, role.as_str())).collect(),
        now: Arc::new(move || Time(time.load(Ordering::Relaxed))),
        metrics: Arc::new(|| "onceward_build_info 1\n".to_owned()),
        version: "0.1.0".to_owned(),
    }
}

/// A console over a ledger, asked through its router.
pub(crate) struct Admin {
    pub(crate) router: Router,
    pub(crate) clock: Arc<AtomicI64>,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// The stable name of a problem.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.text);
        let body = self.json();
        assert_eq!(body["status"], self.status.as_u16());
        body["type"].as_str().unwrap_or_default().trim_start_matches("urn:onceward:problem:").to_owned()
    }
}

impl Admin {
    pub(crate) fn new(store: Store) -> Self {
        let clock = Arc::new(AtomicI64::new(1_795_370_640_000_000));
        Self { router: router(console(store, &clock)), clock }
    }

    pub(crate) async fn ask(&self, request: Request<Body>) -> Answer {
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
    }

    pub(crate) async fn get(&self, role: Role, target: &str) -> Answer {
        let request = Request::get(target).header("authorization", format!("Bearer {}", role.as_str()));
        self.ask(request.body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, role: Role, target: &str, body: impl Into<Body>) -> Answer {
        let request = Request::post(target).header("authorization", format!("Bearer {}", role.as_str()));
        self.ask(request.header("content-type", "application/json").body(body.into()).unwrap()).await
    }
}
