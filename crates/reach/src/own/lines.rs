//! The state as commands and HTTP hooks tell it: one line for each item, `NAME STATE in|out`.

use model::{ErrorCode, ItemState};

use super::Trouble;

/// More items than a host can have.
const ITEMS_MAX: usize = 10_000;

/// Reads the lines. No line at all is no state: whoever has nothing to take out of service needs no drain.
pub(super) fn parse(text: &str) -> Result<Vec<ItemState>, Trouble> {
    let wrong =
        |what: String| Trouble::new(ErrorCode::Malformed, format!("{what}; expected one line for each item: NAME STATE in|out"));
    let mut items: Vec<ItemState> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (name, state, in_service) = match words.as_slice() {
            [name, state, "in"] => (*name, *state, true),
            [name, state, "out"] => (*name, *state, false),
            _ => return Err(wrong(format!("the state has the line {:?}", line.chars().take(200).collect::<String>()))),
        };
        if items.iter().any(|item| item.name == name) {
            return Err(wrong(format!("the state names {name} twice")));
        }
        items.push(ItemState { name: name.to_owned(), state: state.to_owned(), in_service });
        if items.len() > ITEMS_MAX {
            return Err(wrong(format!("the state has more than {ITEMS_MAX} items")));
        }
    }
    if items.is_empty() {
        return Err(wrong("the state is empty".to_owned()));
    }
    Ok(items)
}

/// The same the other way round.
pub(super) fn text(items: &[ItemState]) -> String {
    let word = |item: &ItemState| if item.in_service { "in" } else { "out" };
    items.iter().map(|item| format!("{} {} {}\n", item.name, item.state, word(item))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_written() {
        let said = "web1 eligible in\n\n  web2\tcordoned   out\n";
        let items = parse(said).unwrap();
        assert_eq!(items.len(), 2);
        assert!(items[0].in_service && !items[1].in_service);
        assert_eq!(text(&items), "web1 eligible in\nweb2 cordoned out\n");
        assert_eq!(parse(&text(&items)).unwrap(), items);
    }

    #[test]
    fn what_is_not_a_state_is_an_error() {
        for bad in ["", "\n\n", "web1", "web1 up", "web1 up yes", "web1 up in out", "a up in\na up out", "error: no connection"] {
            let trouble = parse(bad).unwrap_err();
            assert_eq!(trouble.code, ErrorCode::Malformed, "{bad:?}");
            assert!(trouble.message.contains("NAME STATE in|out"), "{}", trouble.message);
        }
        let many: String = (0..=ITEMS_MAX).map(|number| format!("n{number} up in\n")).collect();
        assert!(parse(&many).is_err());
    }
}
