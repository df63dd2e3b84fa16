//! Phone numbers: what vendors write, as E.164.
//!
//! The library says what a number is. It tries every kind of number of every country of a calling code, three times over, and every try
//! hashes a pattern of up to some thousand letters to find it compiled; but most vendors send E.164 already. So a number that is certain
//! to come out of the library as it went in is told by two or three of the same patterns, and everything else goes the library's whole way.

use std::sync::{LazyLock, PoisonError};

use phonenumber::Metadata;
use phonenumber::country::Id as Region;
use phonenumber::metadata::{DATABASE, Database, Descriptor};

/// Patterns that stay compiled. The library's own 100 are those of some fifteen countries, and with numbers of more every one costs
/// milliseconds. One takes about 0.1 MB and a country three to six of them.
const PATTERNS_MAX: usize = 400;

/// The library's data, with room for its patterns.
static NUMBERS: LazyLock<&Database> = LazyLock::new(|| {
    // The lock is held while a pattern is looked for; whoever panicked meanwhile left the patterns as they were.
    DATABASE.cache().lock().unwrap_or_else(PoisonError::into_inner).set_capacity(PATTERNS_MAX);
    &DATABASE
});

/// Most digits of a country's calling code.
const CODE_DIGITS_MAX: usize = 3;

/// Why a text is no phone number: the end of a sentence.
type Why = &'static str;

/// The number in E.164: `+14155550100`.
pub(super) fn e164(text: &str, region: Option<Region>) -> Result<String, Why> {
    if text.len() > 40 || !text.is_ascii() {
        return Err("is not a phone number: it is too long or holds something else than ASCII");
    }
    if region.is_none() && !text.starts_with('+') {
        return Err("is a national phone number, and no `region` says of which country");
    }
    if let Some(digits) = international(text).filter(|digits| is_unchanged(digits, region)) {
        return Ok(format!("+{digits}"));
    }
    by_library(text, region)
}

/// What the library makes of it.
fn by_library(text: &str, region: Option<Region>) -> Result<String, Why> {
    let Ok(number) = phonenumber::parse_with(&NUMBERS, region, text) else { return Err("is not a phone number") };
    if !phonenumber::is_valid_with(&NUMBERS, &number) {
        return Err("is not a phone number that can exist");
    }
    // What its formatter writes for E.164, without the patterns for national forms that it looks up first.
    Ok(format!("+{}{}", number.code().value(), number.national()))
}

/// The digits of `+14155550100` or `+1 415-555-0100`; `None` for any other form.
///
/// With punctuation but without a space the library reads the text as a URI, where other rules hold.
fn international(text: &str) -> Option<String> {
    let rest = text.strip_prefix('+')?;
    let plain = rest.bytes().all(|byte| byte.is_ascii_digit());
    let spaced = rest.contains(' ') && rest.bytes().all(|byte| byte.is_ascii_digit() || b" ()-.".contains(&byte));
    let ends = |text: &str| text.starts_with(|first: char| first.is_ascii_digit()) && text.ends_with(|last: char| last.is_ascii_digit());
    ((plain || spaced) && ends(rest)).then(|| rest.chars().filter(char::is_ascii_digit).collect())
}

/// Whether the digits are a number that exists, from which the library takes nothing away: no prefix for calls abroad, none for calls
/// within the country. Where this says no, the number may be good all the same.
fn is_unchanged(digits: &str, region: Option<Region>) -> bool {
    let Some((code, national)) = split(digits) else { return false };
    let Some(home) = home(code, national) else { return false };
    // Prefixes are those of the configured country, whatever country the number is of.
    let prefixes = match region {
        None => home,
        Some(region) => match NUMBERS.by_id(region.as_ref()) {
            Some(metadata) => metadata,
            None => return false,
        },
    };
    let national_prefix = prefixes.national_prefix().is_some_and(|prefix| national.starts_with(prefix))
        || prefixes.national_prefix_for_parsing().and_then(|pattern| pattern.find(national)).is_some_and(|found| found.start() == 0);
    let prefix_abroad = region.is_some()
        && prefixes.international_prefix().and_then(|pattern| pattern.find(digits)).is_some_and(|found| found.start() == 0);
    !national_prefix && !prefix_abroad
}

/// Calling code and national number. The shortest code that exists is meant: none is the beginning of another.
fn split(digits: &str) -> Option<(u16, &str)> {
    let mut splits = (1..=CODE_DIGITS_MAX).filter_map(|at| digits.split_at_checked(at));
    let (code, national) = splits.find_map(|(code, national)| {
        let code = code.parse::<u16>().ok()?;
        NUMBERS.by_code(&code).map(|_| (code, national))
    })?;
    // No code begins with a zero; in front of a number it is a part of it in some countries and a prefix in others.
    (!digits.starts_with('0') && !national.starts_with('0')).then_some((code, national))
}

/// The country that such a number is of, if there can be such a number: among those that share a calling code, the first whose leading
/// digits it has, or that has no such digits and knows its kind.
fn home(code: u16, national: &str) -> Option<&'static Metadata> {
    let regions = NUMBERS.region(&code)?;
    let of = |region: &str| if region == "001" { NUMBERS.by_code(&code)?.into_iter().next() } else { NUMBERS.by_id(region) };
    if let [only] = regions.as_slice() {
        return of(only).filter(|metadata| exists(metadata, national));
    }
    for metadata in regions.iter().filter_map(|region| of(region)) {
        match metadata.leading_digits() {
            Some(leading) if leading.find(national).is_some_and(|found| found.start() == 0) => {
                return exists(metadata, national).then_some(metadata);
            }
            None if exists(metadata, national) => return Some(metadata),
            Some(_) | None => {}
        }
    }
    None
}

/// Whether a number is of any kind that can be called from abroad, the common kinds first.
fn exists(metadata: &Metadata, national: &str) -> bool {
    let kinds = metadata.descriptors();
    let is = |kind: Option<&Descriptor>| kind.is_some_and(|kind| kind.is_match(national));
    kinds.general().is_match(national)
        && (is(kinds.mobile())
            || is(kinds.fixed_line())
            || is(kinds.toll_free())
            || is(kinds.voip())
            || is(kinds.premium_rate())
            || is(kinds.shared_cost())
            || is(kinds.personal_number())
            || is(kinds.pager())
            || is(kinds.uan())
            || is(kinds.voicemail()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was made of a number before there was a short way.
    fn expected(text: &str, region: Option<Region>) -> Option<String> {
        let number = phonenumber::parse(region, text).ok().filter(phonenumber::is_valid)?;
        Some(number.format().mode(phonenumber::Mode::E164).to_string())
    }

    /// Numbers around the examples of every country: with other digits, cut, longer, with prefixes and punctuation.
    fn around(code: u16, example: &str, dice: &mut u64) -> Vec<String> {
        let mut next = |below: usize| {
            *dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(*dice >> 33).unwrap() % below
        };
        let mut nationals =
            vec![example.to_owned(), example[1..].to_owned(), format!("{example}7"), format!("0{example}"), format!("1{example}")];
        for _ in 0..3 {
            let mut digits = example.as_bytes().to_vec();
            let place = next(digits.len());
            digits[place] = b'0' + u8::try_from(next(10)).unwrap();
            nationals.push(String::from_utf8(digits).unwrap());
        }
        let mut texts = Vec::new();
        for national in &nationals {
            texts.push(format!("+{code}{national}"));
            let (first, rest) = national.split_at(next(national.len()));
            let between = [" ", "-", ") ", " (", ".", "  -", " x"][next(7)];
            texts.push(format!("+{code} {first}{between}{rest}"));
        }
        texts.extend([
            format!("+{code}({example}"),
            format!("+{code}-{example}"),
            format!("+{code} {example} ext. 12"),
            format!("+{code} {example}-"),
        ]);
        texts.extend([
            format!("+00{code}{example}"),
            format!("+011{code} {example}"),
            format!("+{example}"),
            format!("0{example}"),
            example.to_owned(),
        ]);
        texts
    }

    #[test]
    fn a_number_is_what_the_library_says_in_every_country() {
        let (mut dice, mut short, mut long, mut refused) = (7, 0, 0, 0);
        let mut metadata: Vec<_> = DATABASE.iter().collect();
        metadata.sort_by_key(|metadata| (metadata.country_code(), metadata.id()));
        for metadata in metadata {
            let kinds = metadata.descriptors();
            let kinds = [kinds.fixed_line(), kinds.mobile(), kinds.toll_free(), kinds.uan()];
            for example in kinds.into_iter().flatten().filter_map(Descriptor::example) {
                for text in around(metadata.country_code(), example, &mut dice) {
                    for region in [None, metadata.id().parse().ok(), Some(Region::US)] {
                        if region.is_none() && !text.starts_with('+') {
                            continue;
                        }
                        let made = e164(&text, region);
                        assert_eq!(made.clone().ok(), expected(&text, region), "{text} in {region:?}");
                        match (made, international(&text).is_some_and(|digits| is_unchanged(&digits, region))) {
                            (Ok(_), true) => short += 1,
                            (Ok(_), false) => long += 1,
                            (Err(_), _) => refused += 1,
                        }
                    }
                }
            }
        }
        assert!(short > 1_000 && long > 1_000 && refused > 1_000, "{short} the short way, {long} the long one, {refused} refused");
    }
}
