//! Bytes in words.

/// "43.5 MiB".
pub fn size(bytes: usize) -> String {
    const MIB: f64 = (1 << 20) as f64;
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{} KiB", bytes >> 10),
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ => format!("{:.1} MiB", bytes as f64 / MIB),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_units_have_no_fraction() {
        let sizes = [0, 1_023, 1_024, 160 << 20, (3 << 20) / 2];
        assert_eq!(sizes.map(size), ["0 bytes", "1023 bytes", "1 KiB", "160 MiB", "1.5 MiB"]);
    }
}
