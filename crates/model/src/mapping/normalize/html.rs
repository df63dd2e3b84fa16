//! Markup as the text that a reader would see. Nothing is executed, nothing is fetched, and every text has an answer.

/// Elements that begin a line of their own.
const BLOCKS: [&str; 22] = [
    "address",
    "article",
    "blockquote",
    "br",
    "dd",
    "div",
    "dl",
    "dt",
    "footer",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "li",
    "ol",
    "p",
    "table",
    "tr",
    "ul",
];
/// Elements whose content nobody sees.
const HIDDEN: [&str; 5] = ["head", "script", "style", "template", "title"];
/// Longest name of a character, in bytes.
const NAME_BYTES_MAX: usize = 10;

/// The text: elements dropped, characters that are named resolved, white space as a browser shows it.
pub(crate) fn to_text(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(letter) = rest.chars().next() {
        let (shown, after) = match letter {
            '<' => tag(rest),
            '&' => character(rest),
            letter if letter.is_whitespace() => (' ', &rest[letter.len_utf8()..]),
            letter => (letter, &rest[letter.len_utf8()..]),
        };
        push(&mut text, shown);
        rest = after;
    }
    text.trim().to_owned()
}

/// Nothing, for [`push`].
const NOTHING: char = '\0';

/// Adds a character: of white space one, and of line breaks at most two.
fn push(text: &mut String, letter: char) {
    match letter {
        NOTHING => {}
        ' ' if text.is_empty() || text.ends_with([' ', '\n']) => {}
        '\n' => {
            text.truncate(text.trim_end_matches(' ').len());
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
        }
        letter => text.push(letter),
    }
}

/// What a `<` stands for, and what follows it.
fn tag(html: &str) -> (char, &str) {
    if let Some(comment) = html.strip_prefix("<!--") {
        return (NOTHING, comment.split_once("-->").map_or("", |(_, after)| after));
    }
    let inner = &html[1..];
    let closing = inner.starts_with('/');
    let name = inner.trim_start_matches('/');
    if !name.starts_with(|letter: char| letter.is_ascii_alphabetic()) && !inner.starts_with(['!', '?']) {
        // `a < b` is no tag.
        return ('<', inner);
    }
    let Some(after) = end_of_tag(inner) else { return (NOTHING, "") };
    let length = name.bytes().take_while(u8::is_ascii_alphanumeric).count();
    let name = name[..length].to_ascii_lowercase();
    if !closing && HIDDEN.contains(&name.as_str()) {
        return (NOTHING, behind(after, &name));
    }
    match name.as_str() {
        "td" | "th" => (' ', after),
        name if BLOCKS.contains(&name) => ('\n', after),
        _ => (NOTHING, after),
    }
}

/// What follows the `>` that is in no quotes.
fn end_of_tag(inner: &str) -> Option<&str> {
    let mut quote = None;
    for (at, byte) in inner.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(&inner[at + 1..]),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if byte == open => quote = None,
            _ => {}
        }
    }
    // A quote that is never closed: the first `>` will do.
    inner.split_once('>').map(|(_, after)| after)
}

/// What follows the end of a hidden element; nothing, where it has none.
fn behind<'a>(html: &'a str, name: &str) -> &'a str {
    let mut rest = html;
    while let Some((_, after)) = rest.split_once("</") {
        if after.get(..name.len()).is_some_and(|held| held.eq_ignore_ascii_case(name)) {
            return end_of_tag(after).unwrap_or_default();
        }
        rest = after;
    }
    ""
}

/// The character that stands behind a `&`, or the sign itself.
fn character(html: &str) -> (char, &str) {
    let inner = &html[1..];
    let named = inner.bytes().take(NAME_BYTES_MAX + 1).position(|byte| byte == b';').map(|end| (&inner[..end], &inner[end + 1..]));
    let Some((name, after)) = named else { return ('&', inner) };
    let number = |text: &str, radix| u32::from_str_radix(text, radix).ok().and_then(char::from_u32).filter(|letter| !letter.is_control());
    let letter = match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some(' '),
        "ndash" => Some('–'),
        "mdash" => Some('—'),
        "hellip" => Some('…'),
        "lsquo" => Some('‘'),
        "rsquo" => Some('’'),
        "ldquo" => Some('“'),
        "rdquo" => Some('”'),
        "bull" => Some('•'),
        "copy" => Some('©'),
        "reg" => Some('®'),
        "trade" => Some('™'),
        "euro" => Some('€'),
        "pound" => Some('£'),
        "auml" => Some('ä'),
        "ouml" => Some('ö'),
        "uuml" => Some('ü'),
        "Auml" => Some('Ä'),
        "Ouml" => Some('Ö'),
        "Uuml" => Some('Ü'),
        "szlig" => Some('ß'),
        "eacute" => Some('é'),
        "egrave" => Some('è'),
        "agrave" => Some('à'),
        "ccedil" => Some('ç'),
        "ntilde" => Some('ñ'),
        name => match name.strip_prefix('#') {
            Some(digits) => digits.strip_prefix(['x', 'X']).map_or_else(|| number(digits, 10), |digits| number(digits, 16)),
            None => None,
        },
    };
    match letter {
        // A space that does not break is a space.
        Some('\u{a0}') => (' ', after),
        Some(letter) => (letter, after),
        None => ('&', inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_becomes_what_a_reader_sees() {
        for (html, text) in [
            ("plain", "plain"),
            ("<p>Hello <b>Ada</b>,</p><p>how are\n  you?</p>", "Hello Ada,\nhow are you?"),
            ("a<br>b<br/>c", "a\nb\nc"),
            ("<ul><li>one</li><li>two</li></ul>", "one\ntwo"),
            ("<tr><td>a</td><td>b</td></tr>", "a b"),
            ("1 &lt; 2 &amp;&amp; x&nbsp;y &euro; &#8364; &#x20AC;", "1 < 2 && x y € € €"),
            ("a < b, 3<4 & c", "a < b, 3<4 & c"),
            ("&unknown; &; &amp", "&unknown; &; &amp"),
            ("&#0;&#xd800;&#99999999;", "&#0;&#xd800;&#99999999;"),
            ("<script>alert('<p>')</script>x<style>p{}</style>y<!-- <p>z -->", "xy"),
            ("<a href=\"x>y\">link</a>", "link"),
            ("<a href=\"x>link", "link"),
            ("x<script>never closed", "x"),
            ("x<b", "x"),
            ("<?xml version='1.0'?><!DOCTYPE html><p>é</p>", "é"),
            ("", ""),
        ] {
            assert_eq!(to_text(html), text, "{html}");
        }
    }

    #[test]
    fn it_takes_no_longer_than_the_text_is_long() {
        for html in ["<".repeat(200_000), "&".repeat(200_000), "<a ".repeat(70_000), "<!--".repeat(50_000), "</".repeat(100_000)] {
            to_text(&html);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_has_an_answer(html in "(<|>|/|p|script|é|&|;|#x?9| |\"|!--|--|a){0,30}") {
            let text = to_text(&html);
            proptest::prop_assert!(text.len() <= html.len());
        }
    }
}
