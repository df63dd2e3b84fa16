use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::Process;
use crate::{SOON, client, until};

/// A real Chromium, driven over WebDriver.
pub struct Browser {
    http: reqwest::Client,
    session: String,
    profile: TempDir,
    _driver: Process,
}

/// What a WebDriver answer calls an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

fn found(names: &[&str]) -> Option<String> {
    let folders: Vec<_> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    let paths = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    paths.into_iter().find(|path| path.is_file()).map(|path| path.display().to_string())
}

impl Browser {
    /// Starts chromedriver on a free port, and Chromium with a profile of its own.
    ///
    /// # Panics
    ///
    /// One of them is not installed; the text says how to do that.
    pub async fn start() -> Self {
        let install = "install both with `apt-get install chromium chromium-driver`, or run `tests/run`, which does";
        let chromium =
            found(&["chromium", "chromium-browser", "google-chrome"]).unwrap_or_else(|| panic!("there is no Chromium here: {install}"));
        let driver = found(&["chromedriver"]).unwrap_or_else(|| panic!("there is no chromedriver here: {install}"));
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new(driver);
        command.arg("--port=0").current_dir(profile.path());
        let port = |line: &str| line.split("started successfully on port ").nth(1)?.trim_end_matches('.').parse::<u16>().ok();
        let (driver, port) = Process::start(command, &profile.path().join("chromedriver.log"), port);
        let http = client();
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-default-apps",
            "--window-size=1280,900",
        ];
        let user_data = format!("--user-data-dir={}", profile.path().join("profile").display());
        let arguments: Vec<&str> = arguments.into_iter().chain([user_data.as_str()]).collect();
        let wanted = json!({ "browserName": "chrome", "goog:chromeOptions": { "binary": chromium, "args": arguments } });
        let base = format!("http://127.0.0.1:{port}/session");
        let started = http.post(&base).json(&json!({ "capabilities": { "alwaysMatch": wanted } })).send().await.unwrap();
        let started: Value = started.json().await.unwrap();
        let id = started["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("Chromium did not start: {started}"));
        Self { session: format!("{base}/{id}"), http, profile, _driver: driver }
    }

    async fn ask(&self, path: &str, body: Option<Value>) -> Result<Value, Value> {
        let url = format!("{}{path}", self.session);
        let request = match body {
            Some(body) => self.http.post(url).json(&body),
            None => self.http.get(url),
        };
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        if answer["value"]["error"].is_string() { Err(answer["value"].clone()) } else { Ok(answer["value"].clone()) }
    }

    pub async fn open(&self, url: &str) {
        self.ask("/url", Some(json!({ "url": url }))).await.unwrap();
    }

    pub async fn url(&self) -> String {
        self.ask("/url", None).await.unwrap().as_str().unwrap().to_owned()
    }

    /// The element that this CSS selector finds, as soon as there is one.
    async fn element(&self, css: &str) -> String {
        until(&format!("the page shows `{css}`"), SOON, async || {
            let asked = json!({ "using": "css selector", "value": css });
            let found = self.ask("/element", Some(asked)).await.ok()?;
            Some(format!("/element/{}", found[ELEMENT].as_str()?))
        })
        .await
    }

    /// Clicks what this selector finds.
    pub async fn click(&self, css: &str) {
        let element = self.element(css).await;
        self.ask(&format!("{element}/click"), Some(json!({}))).await.unwrap_or_else(|error| panic!("`{css}` cannot be clicked: {error}"));
    }

    /// Types into what this selector finds, over what was there.
    pub async fn fill(&self, css: &str, text: &str) {
        let element = self.element(css).await;
        self.ask(&format!("{element}/clear"), Some(json!({}))).await.unwrap_or_else(|error| panic!("`{css}` takes no text: {error}"));
        self.ask(&format!("{element}/value"), Some(json!({ "text": text }))).await.unwrap();
    }

    /// The text of the whole page as a person reads it.
    pub async fn text(&self) -> String {
        let body = self.element("body").await;
        self.ask(&format!("{body}/text"), None).await.ok().and_then(|text| text.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// Waits until the page says all of this, in any case of letters: styles may capitalize.
    pub async fn until_text(&self, parts: &[&str]) -> String {
        let mut text = String::new();
        until(&format!("the page says {parts:?}"), SOON, async || {
            text = self.text().await;
            let lower = text.to_lowercase();
            parts.iter().all(|part| lower.contains(&part.to_lowercase())).then_some(())
        })
        .await;
        text
    }

    /// Runs a script in the page and gives what it returns.
    pub async fn script(&self, script: &str) -> Value {
        self.ask("/execute/sync", Some(json!({ "script": script, "args": [] }))).await.unwrap()
    }

    /// What the browser's own log holds against the pages: errors of scripts, styles and policies.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.ask("/se/log", Some(json!({ "type": "browser" }))).await.unwrap_or_default();
        log.as_array().into_iter().flatten().map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Keeps a picture of the page.
    pub async fn screenshot(&self, path: &Path) {
        use base64::Engine as _;
        let picture = self.ask("/screenshot", None).await.unwrap();
        let bytes = base64::engine::general_purpose::STANDARD.decode(picture.as_str().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// A folder of its own, gone with it.
    pub fn folder(&self) -> &Path {
        self.profile.path()
    }

    /// Closes Chromium in good order.
    pub async fn close(self) {
        let _ = self.http.delete(&self.session).send().await;
    }
}
