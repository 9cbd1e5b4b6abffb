//! Names and labels that selectors can name; and what somebody who slipped may have meant.

use model::Labels;

use crate::{InventoryError, Place};

/// Whether a host can be called so and carry these.
pub(crate) fn sound(name: &str, labels: &Labels, place: &Place) -> Result<(), InventoryError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.len() > 255 || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(fits) {
        return Err(InventoryError::Name { place: place.clone(), host: name.to_owned() });
    }
    let key = |key: &str| !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "._-/".contains(c));
    let value =
        |value: &str| !value.is_empty() && value.chars().all(|c| !c.is_whitespace() && !c.is_control() && !"*,".contains(c));
    match labels.iter().find(|(k, v)| !key(k) || !value(v)) {
        None => Ok(()),
        Some((key, value)) => {
            Err(InventoryError::Label { place: place.clone(), host: name.to_owned(), key: key.clone(), value: value.clone() })
        }
    }
}

/// The one of `known` that was probably meant; `None` when all of them are far from it.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let far = word.chars().count().div_ceil(3).clamp(1, 3);
    let word = word.to_lowercase();
    let slips = known.into_iter().map(|other| (strsim::osa_distance(&word, &other.to_lowercase()), other));
    slips.filter(|(slips, _)| *slips <= far).min().map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_is_near_and_another_word_is_not() {
        let known = ["unit", "kind", "dependencies", "health_check"];
        for (word, meant) in [
            ("untis", Some("unit")),
            ("unti", Some("unit")),
            ("health-check", Some("health_check")),
            ("dependency", Some("dependencies")),
            ("HEALTH_CHECK", Some("health_check")),
            ("requires", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word:?}");
        }
    }
}
