//! The console in a real browser, as an operator uses it.

use harness::{Browser, Lead, Onceward, SOON, Source, until};

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_finds_a_dead_letter_and_replays_it() {
    let onceward = Onceward::start().await;
    // Five that go well, and one that the CRM refuses.
    for number in 1..=5 {
        let event = onceward.accepted(&Lead::new(number).sent_by(Source::Forms), "accepted").await;
        onceward.until_status(&event, "succeeded").await;
    }
    let mut lead = Lead::new(6);
    lead.company = "x".repeat(300);
    let event = onceward.accepted(&lead.sent_by(Source::Forms), "accepted").await;
    onceward.until_status(&event, "failed").await;
    let delivery = onceward.dead_letter().await["id"].as_str().unwrap().to_owned();

    let browser = Browser::start().await;
    let console = onceward.admin.base.clone();
    // Nothing is shown to strangers, and a wrong token opens nothing.
    browser.open(&format!("{console}/dead-letters")).await;
    browser.until_text(&["log in", "token"]).await;
    browser.fill("input[name=token]", "a guess").await;
    browser.click("main button").await;
    browser.until_text(&["not known here"]).await;
    browser.fill("input[name=token]", &onceward.admin.token).await;
    browser.click("main button").await;
    browser.until_text(&["dead letters", "rejected by crm"]).await;

    // The overview: is all well, and if not, what to do.
    browser.open(&console).await;
    let overview = browser.until_text(&["overview", "salesforce", "1 dead letter", "rejected by crm"]).await;
    assert!(overview.contains('5'), "{overview}");
    browser.screenshot(&browser.folder().join("overview.png")).await;

    // What happened to somebody.
    browser.fill("input[name=q]", "person-1@example.com").await;
    browser.script("document.querySelector('input[name=q]').form.submit()").await;
    let trace = browser.until_text(&["timeline", "person-1@example.com", "lead.created", "forms"]).await;
    assert!(trace.to_lowercase().contains("received"), "{trace}");
    let wide = browser.script("return document.documentElement.scrollWidth > document.documentElement.clientWidth").await;
    assert_eq!(wide, false, "the page fits its window");
    browser.screenshot(&browser.folder().join("trace.png")).await;

    // The dead letter: why, whose, and the way back.
    browser.open(&format!("{console}/dead-letters")).await;
    browser.click(&format!("a[href='/dead-letters/{delivery}']")).await;
    browser.until_text(&["rejected by crm", "what to do", "sales-ops", "replay"]).await;
    let form = format!("form[action='/dead-letters/{delivery}/replay']");
    // Without a reason the browser does not even send it.
    browser.click(&format!("{form} button")).await;
    assert!(browser.url().await.ends_with(&delivery), "{}", browser.url().await);
    browser.fill(&format!("{form} [name=reason]"), "the company was the whole imprint").await;
    browser.click(&format!("{form} summary")).await;
    lead.company = "Example Ltd".to_owned();
    browser.fill(&format!("{form} [name=payload]"), &String::from_utf8(lead.body(Source::Forms)).unwrap()).await;
    browser.click(&format!("{form} button")).await;
    browser.until_text(&["replay"]).await;
    browser.screenshot(&browser.folder().join("replayed.png")).await;

    let mended = until("the lead is in the CRM", SOON, async || onceward.crm.with_email(&lead.email).await.pop()).await;
    assert_eq!(mended.text("Company"), "Example Ltd");
    until("the list is empty", SOON, async || {
        browser.open(&format!("{console}/dead-letters")).await;
        browser.text().await.contains("No dead letter").then_some(())
    })
    .await;
    // The audit trail names who and why.
    browser.open(&format!("{console}/audit")).await;
    browser.until_text(&["replay", "admin", "the whole imprint"]).await;
    let complaints = browser.complaints().await;
    assert!(complaints.iter().all(|line| line.contains("favicon") || line.contains("401")), "{complaints:?}");
    browser.close().await;
}
