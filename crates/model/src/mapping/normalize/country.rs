//! Countries, by any of their names.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::plain_letters;

/// A line a country: its two letters, its three (ISO 3166-1), and its names in English and in its own languages.
const COUNTRIES: &str = include_str!("countries.txt");

/// From letters and names, all in their plain form, to the two letters.
static BY_NAME: LazyLock<BTreeMap<String, &'static str>> = LazyLock::new(|| {
    let mut by_name = BTreeMap::new();
    for line in COUNTRIES.lines() {
        let letters = line.split('|').next().unwrap_or_default();
        for name in line.split('|') {
            by_name.insert(plain(name), letters);
        }
    }
    by_name
});

/// Letters only, without accents and case, so that spellings do not matter.
fn plain(name: &str) -> String {
    plain_letters(&name.replace('&', "and")).chars().filter(|letter| letter.is_alphanumeric()).collect()
}

/// The two letters of ISO 3166-1; `None` if it is no country that is known.
pub(crate) fn code(text: &str) -> Option<&'static str> {
    let name = plain(text.get(..100).unwrap_or(text));
    BY_NAME.get(&name).or_else(|| BY_NAME.get(name.strip_prefix("the")?)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_country_is_known_by_its_letters_and_its_names() {
        for (text, expected) in [
            ("DE", "DE"),
            ("de", "DE"),
            ("deu", "DE"),
            ("Germany", "DE"),
            ("Deutschland", "DE"),
            ("UK", "GB"),
            ("U.S.A.", "US"),
            ("united states of america", "US"),
            ("The Netherlands", "NL"),
            ("Côte d'Ivoire", "CI"),
            ("Cote dIvoire", "CI"),
            ("Türkiye", "TR"),
            ("Korea, Republic of", "KR"),
            ("日本", "JP"),
            ("Österreich", "AT"),
            ("Bosnia & Herzegovina", "BA"),
        ] {
            assert_eq!(code(text), Some(expected), "{text}");
        }
        for text in ["", "XX", "Atlantis", "Europe", "Englandland", "-"] {
            assert_eq!(code(text), None, "{text}");
        }
    }

    #[test]
    fn no_name_is_that_of_two_countries() {
        assert_eq!(COUNTRIES.lines().count(), 249);
        for line in COUNTRIES.lines() {
            let letters = line.split('|').next().unwrap();
            assert!(letters.len() == 2 && line.split('|').nth(1).is_some_and(|three| three.len() == 3), "{line}");
            for name in line.split('|') {
                assert_eq!(code(name), Some(letters), "{name}");
            }
        }
    }
}
