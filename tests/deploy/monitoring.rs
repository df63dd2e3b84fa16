//! Alerts, dashboard and runbook: they speak of metrics that there are, and of each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::{read, root, said};

const ALERTS: &str = "deploy/prometheus/alerts.yml";
const TRIED: [&str; 2] = ["alerts_test.yml", "alerts_of_hours_test.yml"];
const DASHBOARD: &str = "deploy/grafana/dashboards/onceward.json";
const RUNBOOK: &str = "docs/runbook.md";

/// What a histogram is called in queries, behind its name.
const OF_HISTOGRAMS: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Every Rust file of the rooms.
fn rooms() -> Vec<String> {
    let mut waiting: Vec<PathBuf> = vec![root().join("crates")];
    let mut found = Vec::new();
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

/// The metrics that the code emits, each with its kind.
fn emitted() -> BTreeMap<String, &'static str> {
    let mut metrics = BTreeMap::new();
    for text in rooms() {
        for kind in ["counter", "gauge", "histogram"] {
            for (at, call) in text.match_indices(&format!("{kind}!(")) {
                let literal = text[at + call.len()..].trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
                if let Some(name) = literal {
                    metrics.insert(name.to_owned(), kind);
                }
            }
        }
    }
    assert!(metrics.len() > 15, "the metrics are not where this test looks for them: {metrics:?}");
    metrics
}

/// Every name in a text that looks like one of our metrics.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("onceward_") && word.len() > "onceward_".len()).map(ToOwned::to_owned).collect()
}

fn is_emitted(name: &str, metrics: &BTreeMap<String, &str>) -> bool {
    let of_histogram = OF_HISTOGRAMS.iter().find_map(|suffix| name.strip_suffix(suffix));
    match of_histogram.and_then(|name| metrics.get(name)) {
        Some(kind) => *kind == "histogram",
        // A histogram has no value of its own; people may name it in prose, which is why only queries are held to it.
        None => metrics.contains_key(name),
    }
}

#[test]
fn every_metric_that_is_asked_for_is_one_that_the_code_emits() {
    let metrics = emitted();
    let mut wrong = Vec::new();
    let tried = TRIED.map(|file| format!("deploy/prometheus/{file}"));
    for file in [ALERTS, DASHBOARD, RUNBOOK].into_iter().chain(tried.iter().map(String::as_str)) {
        let names = named(&read(file));
        assert!(!names.is_empty(), "{file} names no metric");
        wrong.extend(names.into_iter().filter(|name| !is_emitted(name, &metrics)).map(|name| format!("{file}: no code emits {name}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_dashboard_shows_every_metric_and_asks_only_of_prometheus() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut queries = Vec::new();
    let (mut ids, mut rows) = (BTreeSet::new(), 0);
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "two panels have the id {}", panel["id"]);
        if panel["type"] == "row" {
            rows += 1;
            continue;
        }
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"], "prometheus", "{}", panel["title"]);
            queries.push(target["expr"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(rows, 5, "lost or stuck, how fast, which destination, which source, processes");
    let shown = named(&queries.join(" "));
    let metrics = emitted();
    let histograms = |name: &str| OF_HISTOGRAMS.iter().any(|suffix| shown.contains(&format!("{name}{suffix}")));
    let hidden: Vec<_> = metrics.iter().filter(|(name, _)| !shown.contains(*name) && !histograms(name)).collect();
    assert!(hidden.is_empty(), "the dashboard shows nothing of {hidden:?}");
    let uid = read("deploy/grafana/provisioning/datasources/prometheus.yml").contains("uid: prometheus");
    assert!(uid, "the dashboard's data source is the provisioned one");

    // Prometheus's own parser reads each query, as the rule that it could be.
    let rules = queries.iter().enumerate().map(|(n, query)| {
        let query = query.replace("$__rate_interval", "5m").replace("$__range", "3h");
        let query = query.replace("$destination", ".*").replace("$source", ".*");
        format!("      - {{ record: panel_{n}, expr: {} }}\n", Value::from(query))
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("panels.yml");
    std::fs::write(&file, format!("groups:\n  - name: panels\n    rules:\n{}", rules.collect::<String>())).unwrap();
    let (well, text) = said(Command::new("promtool").args(["check", "rules"]).arg(&file), "prometheus");
    assert!(well, "{text}");
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars()
        .filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'))
        .map(|letter| if letter == ' ' { '-' } else { letter })
        .collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#'));
    headings.map(anchor).collect()
}

/// The lines of each alert.
fn alerts() -> BTreeMap<String, Vec<String>> {
    let text = read(ALERTS);
    let mut alerts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some(next) = line.trim().strip_prefix("- alert: ") {
            next.clone_into(&mut name);
            assert!(alerts.insert(name.clone(), Vec::new()).is_none(), "there are two alerts {name}");
        } else if let Some(lines) = alerts.get_mut(&name) {
            lines.push(line.trim().to_owned());
        }
    }
    assert!(alerts.len() > 8, "the alerts are not where this test looks for them: {alerts:?}");
    alerts
}

#[test]
fn every_alert_says_how_bad_it_is_what_to_do_first_and_where_the_rest_is() {
    let runbook = read(RUNBOOK);
    let anchors = anchors(&runbook);
    for (name, lines) in alerts() {
        let value = |key: &str| lines.iter().find_map(|line| line.strip_prefix(key)).unwrap_or_else(|| panic!("{name} has no `{key}`"));
        let severity = value("labels: { severity:").trim_matches([' ', '}']);
        assert!(["critical", "warning"].contains(&severity), "{name}: {severity}");
        assert!(value("summary:").len() > 60, "{name}: the summary says what to do first");
        let (file, place) = value("runbook:").trim().split_once('#').unwrap();
        assert_eq!((file, place), (RUNBOOK, anchor(&name).as_str()), "{name} has a paragraph of its name");
        assert!(anchors.contains(place), "{RUNBOOK} has no paragraph for {name}");
    }
    let names: BTreeSet<String> = alerts().into_keys().collect();
    let paragraphs = runbook.lines().filter_map(|line| line.strip_prefix("## Onceward")).map(|rest| format!("Onceward{rest}"));
    let left: Vec<String> = paragraphs.filter(|name| !names.contains(name)).collect();
    assert!(left.is_empty(), "{RUNBOOK} tells of alerts that there are not: {left:?}");
}

#[test]
fn the_paragraph_of_every_alert_answers_the_same_questions() {
    let runbook = read(RUNBOOK);
    for paragraph in runbook.split("\n## ").filter(|paragraph| paragraph.starts_with("Onceward")) {
        let name = paragraph.lines().next().unwrap_or_default();
        for question in ["**Means.**", "**Look.**", "**Do.**", "**Over**", "ot lost"] {
            assert!(paragraph.contains(question), "{name} does not say: {question}");
        }
    }
}

#[test]
fn links_within_the_runbook_lead_somewhere() {
    let runbook = read(RUNBOOK);
    let anchors = anchors(&runbook);
    for link in runbook.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        match link.strip_prefix('#') {
            Some(place) => assert!(anchors.contains(place), "{RUNBOOK} has no place #{place}"),
            None => assert!(link.starts_with("https://") || root().join("docs").join(link).exists(), "{RUNBOOK}: {link} is not there"),
        }
    }
}

#[test]
fn every_alert_is_tried_with_what_sets_it_off_and_with_a_near_miss() {
    let tried = TRIED.map(|file| read(&format!("deploy/prometheus/{file}"))).concat();
    let checks: Vec<&str> = tried.split("alertname: ").skip(1).collect();
    for name in alerts().keys() {
        let own: Vec<&&str> = checks.iter().filter(|check| check.lines().next() == Some(name)).collect();
        let silent = |check: &str| check.lines().nth(2).is_some_and(|line| line.trim() == "exp_alerts: []");
        assert!(own.iter().any(|check| !silent(check)), "{name} is never set off");
        // Of an alert that fires at once there is no time before it, but always something that is not it.
        assert!(own.iter().any(|check| silent(check)), "{name} is never left alone");
    }
    let folder = root().join("deploy/prometheus");
    let (well, text) = said(Command::new("promtool").args(["test", "rules"]).args(TRIED).current_dir(folder), "prometheus");
    assert!(well, "{text}");
}

#[test]
fn prometheus_and_alertmanager_read_their_files() {
    let folder = root().join("deploy/prometheus");
    for arguments in [["check", "rules", "alerts.yml"], ["check", "config", "prometheus.yml"]] {
        let (well, text) = said(Command::new("promtool").args(arguments).current_dir(&folder), "prometheus");
        assert!(well, "{arguments:?}: {text}");
    }
    let (well, text) =
        said(Command::new("amtool").args(["check-config", "alertmanager.yml"]).current_dir(&folder), "prometheus-alertmanager");
    assert!(well, "{text}");
    // What an inhibition names is an alert that there is: Alertmanager itself would not mind.
    let (names, rules) = (alerts(), read("deploy/prometheus/alertmanager.yml"));
    let words = rules.split(|letter: char| !letter.is_ascii_alphanumeric());
    for word in words.filter(|word| word.starts_with("Onceward")) {
        assert!(names.contains_key(word), "alertmanager.yml names {word}, and there is no such alert");
    }
}
