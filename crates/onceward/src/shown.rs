//! Answers of the admin API, for people.

use serde_json::Value;

use model::Time;

/// A member as a word; `-` where there is none. Control characters, which a sender may have chosen, are spelled out.
pub fn word(value: &Value, pointer: &str) -> String {
    let found = if pointer.is_empty() { Some(value) } else { value.pointer(pointer) };
    match found {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "-".to_owned(),
        Some(Value::String(text)) => plain(text),
        Some(other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_))) => other.to_string(),
    }
}

/// A text that cannot steer a terminal.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() { out.extend(letter.escape_default()) } else { out.push(letter) }
    }
    out
}

/// The members of a list; none where it is missing.
pub fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Rows under their headings, in columns.
pub fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = headings.map(|heading| heading.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let body = rows.iter().map(|row| line(row.each_ref().map(String::as_str)));
    std::iter::once(line(headings)).chain(body).collect()
}

/// A moment as the clock on the wall in UTC shows it, with its day where that is not the day before it.
pub fn moment(value: &Value, pointer: &str) -> String {
    let text = word(value, pointer);
    match Time::parse_rfc3339(&text) {
        Some(_) => text.replace('T', " "),
        None => text,
    }
}

/// How long after another a moment was: `+3.2 ms`.
pub fn elapsed(earlier: Option<Time>, later: Time) -> String {
    let Some(earlier) = earlier else { return String::new() };
    let micros = later.0.saturating_sub(earlier.0);
    let size = micros.unsigned_abs();
    let sign = if micros < 0 { '-' } else { '+' };
    match size {
        0..1_000_000 => format!("{sign}{:.1} ms", size as f64 / 1e3),
        1_000_000..60_000_000 => format!("{sign}{:.2} s", size as f64 / 1e6),
        60_000_000..3_600_000_000 => format!("{sign}{:.1} min", size as f64 / 6e7),
        _ => format!("{sign}{:.1} h", size as f64 / 3.6e9),
    }
}

/// The first paragraph of a text, no longer than this.
pub fn cut(text: &str, letters_max: usize) -> String {
    if text.chars().count() <= letters_max {
        return text.to_owned();
    }
    text.chars().take(letters_max.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_steers_the_terminal() {
        let rows = [[word(&Value::String("a\u{1b}[31m".into()), ""), "b".into()], ["c".into(), "-".into()]];
        assert_eq!(table(["one", "two"], &rows), "one          two\na\\u{1b}[31m  b\nc            -\n");
    }

    #[test]
    fn elapsed_times_have_the_unit_that_fits() {
        let at = |micros: i64| Time(1_000_000_000 + micros);
        assert_eq!(elapsed(Some(at(0)), at(3_200)), "+3.2 ms");
        assert_eq!(elapsed(Some(at(0)), at(2_500_000)), "+2.50 s");
        assert_eq!(elapsed(Some(at(1_000)), at(0)), "-1.0 ms");
        assert_eq!(elapsed(None, at(0)), "");
    }
}
