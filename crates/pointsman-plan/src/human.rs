//! Writes amounts as people read them.
//!
//! # Does not know
//!
//! What is being described.
//!
//! # Invariants
//!
//! - I1. Two or three digits count, and never a scientific exponent below a million hours.

use crate::number::within;

/// `value` with two digits that count: "1.2", "34", "340".
fn figure(value: f64) -> String {
    // Rounded first, so that 9.96 is "10" and not "10.0".
    if value >= 9.95 {
        format!("{value:.0}")
    } else {
        let text = format!("{value:.1}");
        text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
    }
}

/// A time in the unit that suits it: "1.2 us", "34 ms", "5.1 s", "12 min", "3.4 h".
pub fn human_seconds(seconds: f64) -> String {
    let seconds = within(seconds, 0.0, f64::MAX);
    let (scale, unit) = if seconds >= 99.5 * 60.0 {
        (1.0 / 3600.0, "h")
    } else if seconds >= 99.5 {
        (1.0 / 60.0, "min")
    } else if seconds >= 0.9995 {
        (1.0, "s")
    } else if seconds >= 0.9995e-3 {
        (1e3, "ms")
    } else if seconds >= 0.9995e-6 {
        (1e6, "us")
    } else if seconds > 0.0 {
        (1e9, "ns")
    } else {
        return "0 s".to_owned();
    };
    format!("{} {unit}", figure(seconds * scale))
}

/// An amount of memory in the unit that suits it, in powers of 1000: "512 B", "1.5 kB", "34 MB", "2 GB".
pub fn human_bytes(bytes: f64) -> String {
    let mut value = within(bytes, 0.0, f64::MAX);
    let mut unit = "B";
    for larger in ["kB", "MB", "GB", "TB", "PB", "EB"] {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = larger;
    }
    format!("{} {unit}", figure(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_the_unit_that_suits_them() {
        let written = [4e-9, 1.23e-6, 34.4e-3, 0.9999, 5.1, 9.97, 720.0, 12_345.0].map(human_seconds);

        assert_eq!(written, ["4 ns", "1.2 us", "34 ms", "1 s", "5.1 s", "10 s", "12 min", "3.4 h"]);
    }

    #[test]
    fn sizes_are_written_in_the_unit_that_suits_them() {
        let written = [0.0, 512.0, 1500.0, 34.4e6, 999.9e6].map(human_bytes);

        assert_eq!(written, ["0 B", "512 B", "1.5 kB", "34 MB", "1 GB"]);
    }

    #[test]
    fn what_is_no_amount_is_written_as_none() {
        assert_eq!(human_seconds(f64::NAN), "0 s");
        assert_eq!(human_bytes(-1.0), "0 B");
    }
}
