//! What a vendor is answered.

use serde::Deserialize;

use super::{Problem, SourceDef};

/// Most bytes of a vendor's own answer.
const ANSWER_BYTES_MAX: usize = 4096;

/// `answer`: what a vendor wants to be told once a request is safe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerDef {
    /// 200 (default) to 299.
    pub status: Option<u16>,
    /// The `Content-Type`; none without it.
    pub content_type: Option<String>,
    /// The body, at most 4 KiB; empty without it.
    pub body: Option<String>,
}

/// A vendor's own answer, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 200 to 299.
    pub status: u16,
    /// The `Content-Type`.
    pub content_type: Option<String>,
    /// The body.
    pub body: String,
}

pub(super) fn answer(def: &SourceDef, base: &SourceDef, problems: &mut Vec<Problem>) -> Option<Answer> {
    let def = match (&def.answer, def.empty_answer) {
        (Some(_), Some(true)) => {
            let remedy = "Keep `answer`; `empty_answer = true` is the same as `answer = {}`.";
            problems.push(Problem::new("empty_answer", "both `answer` and `empty_answer` say what is answered", remedy));
            return None;
        }
        (Some(answer), Some(false) | None) => answer.clone(),
        (None, Some(true)) => AnswerDef::default(),
        (None, Some(false)) => return None,
        (None, None) => base.answer.clone().or_else(|| base.empty_answer.unwrap_or(false).then(AnswerDef::default))?,
    };
    let answer = Answer { status: def.status.unwrap_or(200), content_type: def.content_type, body: def.body.unwrap_or_default() };
    if !(200..300).contains(&answer.status) {
        let message = format!("the answer's status is {}; it goes from 200 to 299", answer.status);
        problems.push(Problem::new("answer.status", message, "A request is answered so once it is safe: leave it out for 200."));
    }
    let printable = |text: &str| text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if answer.content_type.as_deref().is_some_and(|kind| kind.is_empty() || kind.len() > 128 || !printable(kind)) {
        problems.push(Problem::new("answer.content_type", "the answer's content type is no media type", "Write for example `text/plain`."));
    }
    if answer.body.len() > ANSWER_BYTES_MAX {
        let message = format!("the answer's body has {} bytes; it may have {ANSWER_BYTES_MAX}", answer.body.len());
        problems.push(Problem::new("answer.body", message, "Vendors want a word or two: shorten it."));
    }
    Some(answer)
}
