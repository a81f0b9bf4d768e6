//! Moves between counts and reals, and makes reals safe.
//!
//! # Does not know
//!
//! What the numbers mean.
//!
//! # Invariants
//!
//! - I1. Every function returns a usable number for every argument.

/// A count as a real. Above 2^53 it is rounded, which no plan can feel.
#[allow(clippy::cast_precision_loss, reason = "a rounding of one part in 2^53 changes no decision")]
pub(crate) fn real(count: u64) -> f64 {
    count as f64
}

/// A real as a count, rounded down; NaN and negatives give 0, too large ones give `u64::MAX`.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, which is what is wanted"
)]
pub(crate) fn whole(value: f64) -> u64 {
    value as u64
}

/// A real as a small count, rounded down; NaN and negatives give 0, too large ones give `u32::MAX`.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, which is what is wanted"
)]
pub(crate) fn whole32(value: f64) -> u32 {
    value as u32
}

/// `value` within `least..=most`; NaN gives `least`.
pub(crate) fn within(value: f64, least: f64, most: f64) -> f64 {
    if value.is_nan() { least } else { value.clamp(least, most) }
}
