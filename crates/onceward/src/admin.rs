//! The admin API, as commands use it; with nothing listening, the same API over the ledger, opened for reading.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use clap::Args;
use reqwest::{Method, Url};
use serde_json::Value;
use tower::ServiceExt as _;

use crate::command::{Context, Refused};
use crate::installation::Installation;
use crate::sender::{client, innermost};
use crate::shown::plain;

const TIMEOUT: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Where to ask, and as whom.
#[derive(Args, Clone)]
pub struct Ask {
    /// The admin listener. Default: where the process of this configuration or data folder listens.
    #[arg(long, value_name = "URL", global = true)]
    admin: Option<String>,
    /// A token for it. Default: the generated one in the data folder, or one that is configured.
    #[arg(long, env = "ONCEWARD_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
}

/// An admin API to ask.
pub enum Admin {
    /// A listening process.
    Listening { client: reqwest::Client, base: Url, token: String },
    /// Nothing listens: the ledger itself, for reading.
    Ledger {
        router: Router,
        token: String,
        /// Where nothing listened.
        silent: String,
    },
}

impl Admin {
    /// Finds whom to ask.
    ///
    /// # Errors
    ///
    /// Nothing listens and the ledger cannot be read, or there is no token.
    pub async fn find(context: &Context, ask: &Ask) -> Result<Self, Refused> {
        // With both given, no configuration is needed: another machine is asked.
        let installation = match (&ask.admin, &ask.token) {
            (Some(_), Some(_)) => None,
            _ => Some(Installation::find(context)?),
        };
        let here = || installation.as_ref().map(Installation::admin).unwrap_or_default();
        let base = ask.admin.clone().unwrap_or_else(here);
        let url = Url::parse(&base).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url = url.ok_or_else(|| Refused::Usage(format!("`--admin {}` is no http or https URL", plain(&base))))?;
        let client = client(&url).map_err(Refused::Because)?;
        let healthz = url.join("/healthz").map_err(|error| Refused::Usage(error.to_string()))?;
        let alive = client.get(healthz).timeout(Duration::from_secs(5)).send().await;
        match (alive, installation) {
            (Ok(_), installation) => {
                let token = ask.token.clone().or_else(|| installation.as_ref().and_then(Installation::token));
                let token = token.ok_or_else(|| {
                    Refused::because("there is no token for the admin API: name one with `--token` or ONCEWARD_TOKEN; the process prints the one it generated when it starts")
                })?;
                Ok(Self::Listening { client, base: url, token })
            }
            (Err(_), Some(installation)) if ask.admin.is_none() => Self::ledger(installation, base).await,
            (Err(error), _) => {
                Err(Refused::because(format!("{base} does not answer: {}; is `onceward` running there?", innermost(&error))))
            }
        }
    }

    async fn ledger(installation: Installation, silent: String) -> Result<Self, Refused> {
        let ledger = &installation.configuration.ledger;
        if let Some(file) = ledger.file().filter(|file| !file.exists()) {
            let shown = file.display();
            return Err(Refused::because(format!(
                "nothing listens on {silent}, and there is no ledger in `{shown}` yet: start `onceward`"
            )));
        }
        let (router, token) = crate::command::ledger::read_only(&installation).await?;
        eprintln!("Nothing listens on {silent}, so this is read from the ledger itself, `{ledger}`.\n");
        Ok(Self::Ledger { router, token, silent })
    }

    /// Reads something.
    ///
    /// # Errors
    ///
    /// What the API refused, in its words.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, Refused> {
        self.ask(Method::GET, path, query, None).await
    }

    /// Changes something. Only a listening process does.
    ///
    /// # Errors
    ///
    /// Nothing listens, or what the API refused, in its words.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Refused> {
        if let Self::Ledger { silent, .. } = self {
            return Err(Refused::because(format!("nothing listens on {silent}: start `onceward` to change anything")));
        }
        self.ask(Method::POST, path, &[], Some(body)).await
    }

    async fn ask(&self, method: Method, path: &str, query: &[(&str, &str)], body: Option<&Value>) -> Result<Value, Refused> {
        let (status, bytes) = match self {
            Self::Listening { client, base, token } => {
                let url = base.join(path).map_err(|error| Refused::Usage(error.to_string()))?;
                let mut request = client.request(method, url).timeout(TIMEOUT).bearer_auth(token).query(query);
                if let Some(body) = body {
                    request = request.json(body);
                }
                let failed = |error: reqwest::Error| Refused::because(format!("{base} does not answer: {}", innermost(&error)));
                let mut response = request.send().await.map_err(failed)?;
                let status = response.status().as_u16();
                let mut bytes = Vec::new();
                while let Some(chunk) = response.chunk().await.map_err(failed)? {
                    if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                        return Err(Refused::because("the answer is too long: ask for less"));
                    }
                    bytes.extend_from_slice(&chunk);
                }
                (status, bytes)
            }
            Self::Ledger { router, token, .. } => {
                let mut url = Url::parse("http://ledger").map_err(|error| Refused::because(error.to_string()))?;
                url.set_path(path);
                url.query_pairs_mut().extend_pairs(query);
                let target = url.as_str().to_owned();
                let request = Request::builder().method(method).uri(target).header("authorization", format!("Bearer {token}"));
                let request = request.body(Body::empty()).map_err(|error| Refused::because(error.to_string()))?;
                let answered = router.clone().oneshot(request).await;
                let response = match answered {
                    Ok(response) => response,
                    Err(never) => match never {},
                };
                let status = response.status().as_u16();
                let bytes = axum::body::to_bytes(response.into_body(), ANSWER_BYTES_MAX).await;
                (status, bytes.map_err(|_| Refused::because("the answer is too long: ask for less"))?.to_vec())
            }
        };
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        if (200..300).contains(&status) { Ok(answer) } else { Err(refusal(status, &answer)) }
    }
}

/// An RFC 9457 problem in one sentence.
fn refusal(status: u16, problem: &Value) -> Refused {
    let part = |name: &str| problem.get(name).and_then(Value::as_str).map(plain);
    let text = match (part("title"), part("detail")) {
        (Some(title), Some(detail)) => format!("{title}: {detail}"),
        (Some(only), None) | (None, Some(only)) => only,
        (None, None) => "no reason was given".to_owned(),
    };
    Refused::because(format!("{text} ({status})"))
}
