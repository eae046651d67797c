//! Formats numbers for sentences: one form for each kind of value.

pub use crate::characters::grouped as count;

/// A share between 0 and 1 as `97.0%`.
pub fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// Bytes as `586.9 MB` (1 MB = 1,048,576); below 1 MB in KB.
pub fn size(bytes: u64) -> String {
    const KB: f64 = 1024.0;
    let bytes = bytes as f64;
    match bytes {
        ..1024.0 => format!("{bytes} bytes"),
        ..1_048_576.0 => format!("{:.1} KB", bytes / KB),
        ..1_073_741_824.0 => format!("{:.1} MB", bytes / KB / KB),
        _ => format!("{:.1} GB", bytes / KB / KB / KB),
    }
}

/// Seconds as `1 d 02:00`, or `02:00` if less than a day.
pub fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match days {
        0 => format!("{hours:02}:{minutes:02}"),
        _ => format!("{days} d {hours:02}:{minutes:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_value_has_one_form() {
        assert_eq!(percent(0.97), "97.0%");
        assert_eq!(size(615_424_000), "586.9 MB");
        assert_eq!(size(2048), "2.0 KB");
        assert_eq!(size(12), "12 bytes");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(12), "12");
        assert_eq!(duration(93_600), "1 d 02:00");
        assert_eq!(duration(2_820), "00:47");
    }
}
