use reqwest::Method;
use serde_json::{Value, json};

/// An operator at the admin API.
#[derive(Clone)]
pub struct Admin {
    pub base: String,
    pub token: String,
    pub http: reqwest::Client,
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Answer {
    /// Reads an answer whole; a body that is not JSON becomes a text.
    pub async fn of(response: reqwest::Response) -> reqwest::Result<Self> {
        let status = response.status().as_u16();
        let text = |value: &reqwest::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = response.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        let bytes = response.bytes().await?;
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Ok(Self { status, body, headers })
    }

    /// The body of a success.
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.body
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| held == name).map(|(_, value)| value.as_str())
    }
}

impl Admin {
    /// Somebody else, with another token.
    pub fn as_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        Answer::of(request.send().await.unwrap()).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// The metrics as text.
    pub async fn metrics(&self) -> String {
        self.get("/metrics").await.ok().as_str().unwrap_or_default().to_owned()
    }

    /// Everything that happened to X, if anything did.
    pub async fn trace(&self, x: &str) -> Option<Value> {
        let request = self.http.get(format!("{}/api/trace", self.base)).query(&[("q", x)]).bearer_auth(&self.token);
        let answer = Answer::of(request.send().await.unwrap()).await.unwrap();
        (answer.status != 404).then(|| answer.ok())
    }

    /// Every event there is, page by page.
    pub async fn events(&self) -> Vec<Value> {
        self.pages("/api/events?limit=1000", "events").await
    }

    /// Every dead letter there is, page by page.
    pub async fn dead_letters(&self) -> Vec<Value> {
        self.pages("/api/dead-letters?limit=1000", "dead_letters").await
    }

    async fn pages(&self, path: &str, member: &str) -> Vec<Value> {
        let mut rows = Vec::new();
        let mut after = String::new();
        loop {
            let page = self.get(&format!("{path}{after}")).await.ok();
            rows.extend(page[member].as_array().unwrap().iter().cloned());
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return rows,
            }
        }
    }

    /// A destination's row.
    pub async fn destination(&self, name: &str) -> Value {
        let all = self.get("/api/destinations").await.ok();
        let found = all["destinations"].as_array().unwrap().iter().find(|row| row["name"] == name).cloned();
        found.unwrap_or_else(|| panic!("there is no destination {name} in {all}"))
    }

    /// Replays a dead letter.
    pub async fn replay(&self, id: &str, reason: &str) -> Answer {
        self.post(&format!("/api/dead-letters/{id}/replay"), &json!({ "reason": reason })).await
    }
}
