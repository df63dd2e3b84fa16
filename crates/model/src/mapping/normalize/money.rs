//! Amounts of money, as decimal texts: no double ever holds one.

use super::{Unusable, scalar_text, unusable};
use crate::mapping::node::Node;

/// Most digits of an amount.
const DIGITS_MAX: usize = 30;

/// Signs of currencies that may stand before or behind an amount; letters may, too.
const SIGNS: &str = "$€£¥₹₽₩₺₴₫₦₱₪₡₲₵₸₼฿؋₮₭₾₿";

/// Digits behind the point of a currency's smallest unit (ISO 4217). All others have two.
fn exponent(currency: &str) -> usize {
    match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "UYI" | "VND" | "VUV" | "XAF" | "XOF"
        | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        "CLF" | "UYW" => 4,
        _ => 2,
    }
}

/// From a number of a currency's smallest unit: 1999 and `usd` is `19.99`.
pub(crate) fn minor(value: &Node<'_>, currency: Option<&str>) -> Result<String, Unusable> {
    let Some(currency) = currency.map(str::trim).filter(|code| code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_alphabetic()))
    else {
        return unusable("unusable_money", "counts the smallest unit of a currency whose three letters are not there");
    };
    let text = scalar_text(value)?;
    let whole = text.split_once('.').map_or(&*text, |(whole, zeros)| if zeros.bytes().all(|byte| byte == b'0') { whole } else { "" });
    let (minus, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return unusable("unusable_money", "is not a whole number of a currency's smallest unit");
    }
    let places = exponent(&currency.to_ascii_uppercase());
    let digits = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    Ok(written(minus, whole, fraction))
}

/// From a number, or a text as people write it. Of `.` and `,` the later one is before the cents where both are there; a point that
/// stands alone is, and a comma unless exactly three digits follow. What comes several times parts thousands. `decimal` decides instead.
pub(crate) fn decimal(value: &Node<'_>, decimal: Option<char>) -> Result<String, Unusable> {
    let text = scalar_text(value)?;
    // A number of JSON is written with a point, whatever the sender's texts are like.
    let decimal = if matches!(value, Node::Number(_)) { Some('.') } else { decimal };
    amount(&text, decimal).map_or_else(|| unusable("unusable_money", "is not an amount of money"), Ok)
}

fn amount(text: &str, decimal: Option<char>) -> Option<String> {
    let bare = |text: &str| {
        text.trim_matches(|letter: char| letter.is_alphabetic() || letter.is_whitespace() || SIGNS.contains(letter)).to_owned()
    };
    let text = bare(text);
    let (minus, text) = match text.strip_prefix(['-', '\u{2212}']) {
        Some(text) => ("-", bare(text)),
        None => ("", bare(text.strip_prefix('+').unwrap_or(&text))),
    };
    let point = decimal.map_or_else(|| point(&text), |decimal| text.rfind(decimal));
    let (whole, fraction) = point.map_or((text.as_str(), ""), |at| (&text[..at], &text[at + 1..]));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let whole = without_groups(whole, decimal)?;
    // `.5` is half; `5.` is five.
    let fine = digits(fraction) && (!whole.is_empty() || !fraction.is_empty()) && whole.len() + fraction.len() <= DIGITS_MAX;
    fine.then(|| written(minus, &whole, fraction))
}

/// Where the decimal sign is.
fn point(text: &str) -> Option<usize> {
    match (text.rfind('.'), text.rfind(',')) {
        (Some(point), Some(comma)) => Some(point.max(comma)),
        (Some(point), None) => Some(point).filter(|_| text.matches('.').count() == 1),
        (None, Some(comma)) => Some(comma).filter(|_| text.matches(',').count() == 1 && text.len() - comma != 4),
        (None, None) => None,
    }
}

/// The digits, where whatever parts them does so in threes and is one sign.
fn without_groups(text: &str, decimal: Option<char>) -> Option<String> {
    let Some(sign) = text.chars().find(|letter| !letter.is_ascii_digit()) else { return Some(text.to_owned()) };
    if !matches!(sign, '.' | ',' | ' ' | '\'' | '\u{2019}' | '\u{a0}' | '\u{202f}') || decimal == Some(sign) {
        return None;
    }
    let mut groups = text.split(sign);
    let first = groups.next().filter(|first| (1..=3).contains(&first.len()))?;
    let rest: Vec<_> = groups.collect();
    let digits = std::iter::once(first).chain(rest.iter().copied()).all(|group| group.bytes().all(|byte| byte.is_ascii_digit()));
    (digits && rest.iter().all(|group| group.len() == 3)).then(|| format!("{first}{}", rest.concat()))
}

fn written(minus: &str, whole: &str, fraction: &str) -> String {
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let zero = whole == "0" && fraction.bytes().all(|byte| byte == b'0');
    let minus = if zero { "" } else { minus };
    if fraction.is_empty() { format!("{minus}{whole}") } else { format!("{minus}{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Node<'_> {
        Node::Text(text.into())
    }

    #[test]
    fn cents_become_what_their_currency_makes_of_them() {
        for (value, currency, expected) in [
            ("1999", "USD", "19.99"),
            ("1999", "usd", "19.99"),
            ("5", "EUR", "0.05"),
            ("0", "EUR", "0.00"),
            ("-250", "EUR", "-2.50"),
            ("1999", "JPY", "1999"),
            ("1999", "KWD", "1.999"),
            ("12", "CLF", "0.0012"),
            ("100.0", "EUR", "1.00"),
            ("123456789012345678901234567890", "EUR", "1234567890123456789012345678.90"),
        ] {
            assert_eq!(minor(&text(value), Some(currency)).as_deref(), Ok(expected), "{value} {currency}");
        }
        assert_eq!(minor(&Node::Number(9_007_199_254_740_993_u64.into()), Some("EUR")).as_deref(), Ok("90071992547409.93"));
        for value in ["", "-", "1.5", "12,00", "1e3", "x", "0x1", "1234567890123456789012345678901"] {
            assert!(minor(&text(value), Some("EUR")).is_err(), "{value}");
        }
        for currency in [None, Some(""), Some("EURO"), Some("E1R")] {
            assert!(minor(&text("1"), currency).is_err(), "{currency:?}");
        }
    }

    #[test]
    fn amounts_are_read_as_people_write_them() {
        for (value, expected) in [
            ("1234.5", "1234.5"),
            ("1,234.50", "1234.50"),
            ("1.234,50", "1234.50"),
            ("1 234,50 €", "1234.50"),
            ("1\u{202f}234,50\u{a0}EUR", "1234.50"),
            ("1'234.50 CHF", "1234.50"),
            ("$1,234", "1234"),
            ("1,5", "1.5"),
            ("1,50", "1.50"),
            ("1.234", "1.234"),
            ("1,234,567", "1234567"),
            ("1.234.567", "1234567"),
            ("1.234.567,8", "1234567.8"),
            ("-$12.00", "-12.00"),
            ("$-12.00", "-12.00"),
            ("\u{2212}3", "-3"),
            ("+3", "3"),
            ("007.10", "7.10"),
            ("-0.00", "0.00"),
            (".5", "0.5"),
            ("5.", "5"),
            ("USD 99", "99"),
        ] {
            assert_eq!(decimal(&text(value), None).as_deref(), Ok(expected), "{value}");
        }
        assert_eq!(decimal(&text("1,234"), Some(',')).as_deref(), Ok("1.234"));
        assert_eq!(decimal(&text("1.234"), Some(',')).as_deref(), Ok("1234"));
        assert_eq!(decimal(&text("1.234"), Some('.')).as_deref(), Ok("1.234"));
        for (number, expected) in [("0.1", "0.1"), ("19.99", "19.99"), ("100", "100"), ("1e2", "100.0")] {
            let number = Node::Number(serde_json::from_str(number).unwrap());
            assert_eq!(decimal(&number, Some(',')).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for value in [
            "",
            "free",
            "1,23,456",
            "12,3456.7",
            "1.2.3",
            "1,2,3",
            "12 34",
            "1..2",
            "1-2",
            "--1",
            "1/2",
            "(5)",
            "1e5",
            "12%",
            &"9".repeat(31),
        ] {
            assert!(decimal(&text(value), None).is_err(), "{value}");
        }
        assert!(decimal(&text("1,2,3"), Some(',')).is_err());
        assert!(decimal(&Node::List(Vec::new()), None).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_cents_come_back_from_their_text(cents in proptest::num::i64::ANY) {
            let made = minor(&text(&cents.to_string()), Some("EUR")).unwrap();
            proptest::prop_assert_eq!(decimal(&text(&made), None), Ok(made.clone()));
            proptest::prop_assert_eq!(made.replace('.', "").parse::<i64>().unwrap(), cents);
        }

        #[test]
        fn any_text_is_an_amount_or_none(value in "[0-9., '$€+-]{0,20}") {
            for sign in [None, Some(','), Some('.')] {
                let _ = decimal(&text(&value), sign);
            }
        }
    }
}
