/// Reads a number of bytes: `1000`, `64KiB`, `1.5GiB`, `2GB`.
pub(super) fn bytes(text: &str) -> Result<usize, String> {
    let wrong = || "expected a number of bytes such as 512MiB or 2GB".to_owned();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1000_usize.pow(2),
        "gb" => 1000_usize.pow(3),
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        _ => return Err(wrong()),
    };
    // Beyond what memory can have it is as much as that.
    Ok((number * factor as f64) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        let check = |text: &str, expected: Option<usize>| {
            assert_eq!(bytes(text).ok(), expected, "{text}");
        };
        check("1000", Some(1000));
        check("64KiB", Some(65_536));
        check("2 GB", Some(2_000_000_000));
        check("1.5g", Some(3 << 29));
        for wrong in ["", "MiB", "-1", "1TB", "1.2.3", "ten"] {
            check(wrong, None);
        }
    }
}
