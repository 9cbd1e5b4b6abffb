//! Ranges in host names: `web[01:20]`, `db-[a:f]`, `n[0:10:2]`.

/// A range of more hosts than this is a slip of the pen.
const MOST: u64 = 100_000;

/// The names that a pattern stands for; one, when there is no range in it.
pub(crate) fn expand(pattern: &str) -> Result<Vec<String>, String> {
    let mut names = vec![String::new()];
    let mut rest = pattern;
    while let Some((before, from)) = rest.split_once('[') {
        let (inner, after) = from.split_once(']').ok_or_else(|| format!("the bracket in {pattern:?} is not closed"))?;
        let values = values(inner).map_err(|reason| format!("[{inner}] in {pattern:?}: {reason}"))?;
        let many = u64::try_from(names.len()).unwrap_or(MOST).saturating_mul(u64::try_from(values.len()).unwrap_or(MOST));
        if many > MOST {
            return Err(format!("{pattern:?} stands for more than {MOST} hosts"));
        }
        names = names.iter().flat_map(|name| values.iter().map(move |value| format!("{name}{before}{value}"))).collect();
        rest = after;
    }
    if rest.contains(']') {
        return Err(format!("a bracket in {pattern:?} is not opened"));
    }
    for name in &mut names {
        name.push_str(rest);
    }
    Ok(names)
}

fn values(inner: &str) -> Result<Vec<String>, &'static str> {
    let parts: Vec<&str> = inner.split(':').collect();
    let (begin, end, step) = match parts[..] {
        [begin, end] => (begin, end, "1"),
        [begin, end, step] => (begin, end, step),
        _ => return Err("a range is [begin:end] or [begin:end:step]"),
    };
    let step: u64 = step.parse().ok().filter(|step| *step > 0).ok_or("the step is a number from 1")?;
    let begin = if begin.is_empty() { "0" } else { begin };
    if begin.bytes().all(|b| b.is_ascii_digit()) && !end.is_empty() && end.bytes().all(|b| b.is_ascii_digit()) {
        let number = |text: &str| text.parse::<u64>().map_err(|_| "the numbers are too large");
        let (first, last) = (number(begin)?, number(end)?);
        // Ansible's rule: leading zeros of the begin say the width, and the end must have it too.
        let width = if begin.len() > 1 && begin.starts_with('0') { begin.len() } else { 0 };
        if width > 0 && end.len() != width {
            return Err("begin and end have different numbers of digits");
        }
        if first > last {
            return Err("it ends before it begins");
        }
        if (last - first) / step >= MOST {
            return Err("it is too long");
        }
        let count = usize::try_from(step).map_err(|_| "the step is too large")?;
        return Ok((first..=last).step_by(count).map(|number| format!("{number:0width$}")).collect());
    }
    let letter = |text: &str| {
        let mut chars = text.chars();
        chars
            .next()
            .filter(|c| c.is_ascii_alphabetic() && chars.next().is_none())
            .ok_or("it is made of numbers, or of single letters")
    };
    let (first, last) = (letter(begin)?, letter(end)?);
    if first > last || first.is_ascii_lowercase() != last.is_ascii_lowercase() {
        return Err("it ends before it begins");
    }
    let step = usize::try_from(step).map_err(|_| "the step is too large")?;
    Ok((first..=last).step_by(step).map(String::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_stand_for_names() {
        let named = |pattern: &str| expand(pattern).unwrap().join(" ");
        assert_eq!(named("web"), "web");
        assert_eq!(named("web[8:11]"), "web8 web9 web10 web11");
        assert_eq!(named("web[08:11].fra"), "web08.fra web09.fra web10.fra web11.fra");
        assert_eq!(named("n[0:6:3]"), "n0 n3 n6");
        assert_eq!(named("db-[a:c]"), "db-a db-b db-c");
        assert_eq!(named("r[1:2]-[a:b]"), "r1-a r1-b r2-a r2-b");
        assert_eq!(named("n[:2]"), "n0 n1 n2");
        assert_eq!(expand("web[01:20]").unwrap().len(), 20);
        for bad in
            ["a[1:2", "a1:2]", "a[2:1]", "a[1]", "a[1:2:0]", "a[01:100]", "a[a:1]", "a[Z:a]", "a[0:99999999]", "a[1:400][1:400]"]
        {
            assert!(expand(bad).is_err(), "{bad}");
        }
    }
}
