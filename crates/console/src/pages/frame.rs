//! What every page has around it, and the pieces that pages are made of.

use axum::http::Uri;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use model::Time;
use store::Status;

use super::Visitor;
use crate::App;
use crate::access::Role;

/// What every page has around it.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) title: String,
    pub(crate) now: Time,
    pub(crate) visitor: Visitor,
    pub(crate) version: String,
    /// What the search box holds.
    pub(crate) query: String,
    /// What was just done.
    pub(crate) done: Option<&'static str>,
}

/// The sections, in the order of the navigation.
const SECTIONS: [(&str, &str); 7] = [
    ("/", "Overview"),
    ("/dead-letters", "Dead letters"),
    ("/events", "Events"),
    ("/sources", "Sources"),
    ("/destinations", "Destinations"),
    ("/rejected", "Rejected"),
    ("/audit", "Audit"),
];

/// What a page says after a change, by the word in its address: a word, so that nobody can put a text into the page through a link.
const DONE: [(&str, &str); 11] = [
    ("replayed", "Replayed: it is on its way again, under the same key."),
    ("replaced", "Replayed: today's mapping leads elsewhere, so new deliveries took its place."),
    ("still_dead", "Replayed, and still a dead letter: today's mapping finds the reason below."),
    ("assigned", "Assigned."),
    ("resolved", "Resolved: it is closed as cancelled."),
    ("paused", "Paused: events are still accepted and wait."),
    ("resumed", "Resumed: what waited goes on now."),
    ("taken_back", "Taken in: what is genuine by now is on its way, under the time at which it came. What is left has a fresh diagnosis."),
    ("still_refused", "Looked at again: none is genuine by today's configuration. Each has a fresh diagnosis."),
    ("more_refused", "Looked at as many as there was time for. Try again to go on."),
    ("begun", "Begun: it goes on in the background. Reload to see how far it is."),
];

impl Frame {
    pub(crate) fn new(app: &App, visitor: &Visitor, title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            now: app.now(),
            visitor: visitor.clone(),
            version: app.console.version.clone(),
            query: String::new(),
            done: None,
        }
    }

    /// Takes over what the address says was just done.
    pub(crate) fn after(mut self, uri: &Uri) -> Self {
        let word = uri.query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("done=")));
        self.done = word.and_then(|word| DONE.iter().find(|(held, _)| *held == word)).map(|(_, text)| *text);
        self
    }

    /// Whether the visitor may change things.
    pub(crate) fn operates(&self) -> bool {
        self.visitor.actor.role >= Role::Operator
    }

    /// The hidden field that shows that a form is ours.
    pub(crate) fn csrf(&self) -> Markup {
        html! { input type="hidden" name="csrf" value=(self.visitor.csrf); }
    }

    /// The whole page around its content.
    pub(crate) fn around(&self, content: &Markup) -> Markup {
        let actor = &self.visitor.actor;
        let body = html! {
            a.skip href="#content" { "Skip to the content" }
            header {
                div.bar {
                    a.brand href="/" { (MARK) span { "Onceward" } }
                    form.search role="search" action="/trace" method="get" {
                        label.unseen for="q" { "What happened to" }
                        input #q type="search" name="q" value=(self.query) maxlength="1000" placeholder="What happened to … an e-mail, key, id" autocomplete="off";
                        button { "Trace" }
                    }
                    form.who action="/logout" method="post" {
                        (self.csrf())
                        span { (actor.name) " " span.soft { "(" (actor.role.as_str()) ")" } }
                        button.quiet { "Log out" }
                    }
                }
                nav aria-label="Sections" {
                    @for (to, name) in SECTIONS {
                        a href=(to) aria-current=[self.title.starts_with(name.trim_end_matches('s')).then_some("page")] { (name) }
                    }
                }
            }
            main #content {
                @if let Some(done) = self.done { p.done role="status" { (done) } }
                h1 { (self.title) }
                (content)
            }
            footer { "Onceward " (self.version) " · " (time(self.now)) " · API: " code { "/api/openapi.json" } " · " a href="/metrics" { "Metrics" } }
        };
        shell(&self.title, &body)
    }
}

/// The outermost of a page, also of the login's.
pub(crate) fn shell(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Onceward" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="/style.css";
            }
            body { (body) }
        }
    }
}

/// The mark beside the name: one arrow, going onward.
pub(crate) const MARK: PreEscaped<&str> = PreEscaped(
    r##"<svg aria-hidden="true" viewBox="0 0 24 24" width="22" height="22"><rect width="24" height="24" rx="6" class="mark"/><path d="M5.5 12h11M12.5 7.5 17 12l-4.5 4.5" fill="none" stroke="#fff" stroke-width="2.4" stroke-linecap="round" stroke-linejoin="round"/></svg>"##,
);

/// A moment to the second, in UTC.
pub(crate) fn time(at: Time) -> Markup {
    let full = at.to_string();
    let short = full.get(..19).map_or_else(|| full.clone(), |text| text.replacen('T', " ", 1));
    html! { time datetime=(full) title=(full) { (short) " UTC" } }
}

/// A moment and how long ago it was.
pub(crate) fn when(now: Time, at: Time) -> Markup {
    html! { span.when { (time(at)) " " span.soft { (relative(now, at)) } } }
}

/// How far away a moment is, in the largest unit that fits: `3 min ago`, `in 5 s`.
pub(crate) fn relative(now: Time, at: Time) -> String {
    if at > now { format!("in {}", span(at.since(now))) } else { format!("{} ago", span(now.since(at))) }
}

/// A span of time in the largest unit that fits.
pub(crate) fn span(span: std::time::Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 => format!("{} ms", span.as_millis()),
        1..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A state: its word, and a colour for those who see it.
pub(crate) fn badge(word: &str) -> Markup {
    let tone = match word {
        "succeeded" | "active" | "applied" | "clean" | "accepted" | "verified" | "written" | "settled" => "ok",
        "failed" | "auth_failed" | "dead_letter" | "lost" => "bad",
        "quarantined" | "breaker_open" | "paused" | "held" | "rejected" | "unknown" => "hold",
        "processing" | "retrying" | "verifying" | "throttled" | "queued" | "due" | "leased" | "waiting" => "wait",
        _ => "mute",
    };
    html! { span class={ "badge " (tone) } { (word.replace('_', " ")) } }
}

/// A delivery's status.
pub(crate) fn status(status: Status) -> Markup {
    badge(status.as_str())
}

/// A link to the trace of something.
pub(crate) fn trace_of(x: &str, shown: &str) -> Markup {
    html! { a href={ "/trace?q=" (encoded(x)) } { (shown) } }
}

/// Percent-encodes a value for an address.
pub(crate) fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// What stands where there is nothing.
pub(crate) fn empty(text: &str) -> Markup {
    html! { p.empty { (text) } }
}

/// A sentence of ours: what stands between backticks is code.
pub(crate) fn sentence(text: &str) -> Markup {
    html! { @for (n, part) in text.split('`').enumerate() { @if n % 2 == 1 { code { (part) } } @else { (part) } } }
}

/// Where a delivery goes.
pub(crate) fn target(destination: Option<&str>, object: Option<&str>) -> Markup {
    html! {
        @match (destination, object) {
            (Some(destination), Some(object)) => { (destination) span.soft { " / " } (object) },
            (Some(destination), None) => { (destination) },
            (None, _) => { span.soft { "no destination" } },
        }
    }
}

/// The link to the next page of a list.
pub(crate) fn further(path: &str, asked: &[(String, String)], name: &str, next: Option<&str>) -> Markup {
    let Some(next) = next else { return html! {} };
    let mut query = String::new();
    for (held, value) in asked.iter().filter(|(held, _)| held != name && held != "done") {
        query.push_str(&format!("{}={}&", encoded(held), encoded(value)));
    }
    html! { p.further { a rel="next" href={ (path) "?" (query) (name) "=" (encoded(next)) } { "Older →" } } }
}

/// A field of a filter's form.
pub(crate) fn field(name: &str, label: &str, value: &str) -> Markup {
    html! { label { span { (label) } input name=(name) value=(value) maxlength="255" autocomplete="off"; } }
}

/// A choice of a filter's form; the empty one means any.
pub(crate) fn choice<'a>(name: &str, label: &str, value: &str, options: impl IntoIterator<Item = &'a str>) -> Markup {
    html! {
        label {
            span { (label) }
            select name=(name) {
                option value="" { "any" }
                @for option in options { option value=(option) selected[option == value] { (option.replace('_', " ")) } }
            }
        }
    }
}

/// The field for the reason that every change needs.
pub(crate) fn reason_field(id: &str, placeholder: &str) -> Markup {
    html! {
        label for=(id) { span { "Reason" } input id=(id) name="reason" required maxlength="1000" placeholder=(placeholder) autocomplete="off"; }
    }
}

/// The pairs of an address's query, to fill its form again. What cannot be read was refused before.
pub(crate) fn pairs(uri: &Uri) -> Vec<(String, String)> {
    axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri).map(|query| query.0).unwrap_or_default()
}

/// The value of a pair.
pub(crate) fn value<'a>(pairs: &'a [(String, String)], name: &str) -> &'a str {
    pairs.iter().find(|(held, _)| held == name).map_or("", |(_, value)| value)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ages_are_said_in_the_largest_unit_that_fits() {
        let now = Time::from_seconds(1_000_000);
        assert_eq!(relative(now, now - Duration::from_millis(20)), "20 ms ago");
        assert_eq!(relative(now, now - Duration::from_secs(119)), "119 s ago");
        assert_eq!(relative(now, now - Duration::from_secs(180)), "3 min ago");
        assert_eq!(relative(now, now + Duration::from_secs(86_400 * 3)), "in 3 d");
    }

    #[test]
    fn what_a_page_says_was_done_comes_from_a_closed_list() {
        let frame = super::super::samples::frame("Overview");
        let said = |uri: &'static str| frame.clone().after(&Uri::from_static(uri)).done;
        assert_eq!(said("/?done=assigned"), Some("Assigned."));
        assert_eq!(said("/?done=hello"), None);
    }

    #[test]
    fn an_address_is_encoded() {
        assert_eq!(encoded("a&b=c d|é"), "a%26b%3Dc%20d%7C%C3%A9");
    }
}
