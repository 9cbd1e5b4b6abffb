//! Names and labels that selectors can name.

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
