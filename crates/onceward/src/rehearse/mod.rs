//! A rehearsal: a burst of signed webhooks whose outcome is known beforehand, sent as vendors would, and compared with what came of it.

pub mod floor;
pub mod load;
pub mod payload;
pub mod process;
pub mod reconcile;
pub mod script;
pub mod voice;

/// The value below which this share of a sorted list lies; 0 for an empty one.
pub fn percentile(sorted: &[u64], share: f64) -> u64 {
    let last = sorted.len().saturating_sub(1);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a list")]
    let place = (share * last as f64).round() as usize;
    sorted.get(place.min(last)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn a_percentile_is_a_value_of_the_list() {
        let list: Vec<u64> = (0..=100).collect();
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| percentile(&list, share)), [0, 50, 99, 100]);
        assert_eq!((percentile(&[7], 0.999), percentile(&[], 0.5)), (7, 0));
    }
}
