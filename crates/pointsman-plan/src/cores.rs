//! The throughput of calls that share cores and are away from them for a part of their time.
//!
//! The machine repair model, M/M/c//N (Palm 1943; Allen, "Probability, Statistics, and Queueing Theory", 1990, 5.2.6): of
//! `lanes` calls at a time each computes for a mean of `service` seconds on one of `cores` and is then away for `away`
//! seconds. Below the bounds `lanes / (service + away)` and `cores / service` by the time that calls wait for a core
//! while another core is idle for want of calls. Three calls that compute for 5 ms and wait for 5 ms, on two cores: the
//! bounds say 300 calls a second, the model 282.
//!
//! # Does not know
//!
//! The GIL.
//!
//! # Invariants
//!
//! - I1. The rate is finite for finite arguments with `service` above zero, and does not fall as the lanes grow in number.

use crate::number::real;

/// Where the offered load exceeds the cores by this factor and that many calls, none of them is ever idle. Arbitrary: the
/// model is within 0.5 % of the bound there.
const PLENTY: (f64, f64) = (1.25, 4.0);

/// Where the offered load is below the cores by this many of its standard deviations, no call ever waits for one. Arbitrary:
/// as above.
const SPARE: f64 = 2.0;

/// No weight of a state grows beyond this: all are divided by it then.
const LARGE: f64 = 1e200;

/// Calls per second that the cores allow.
pub(crate) fn rate(lanes: u32, cores: f64, service: f64, away: f64) -> f64 {
    let many = f64::from(lanes);
    let most = cores / service;
    let offered = many * service / (service + away);
    if away <= 0.0 || offered > PLENTY.0 * cores + PLENTY.1 {
        return most;
    }
    let bound = (many / (service + away)).min(most);
    if many <= cores || offered + SPARE * offered.sqrt() < cores {
        return bound;
    }
    // The weight of the state in which so many calls are at the cores, from each one to the next.
    let (mut weight, mut sum, mut busy) = (1.0, 1.0, 0.0);
    for here in 1..=u64::from(lanes) {
        let serving = real(here).min(cores);
        weight *= (many - real(here - 1)) * service / (away * serving);
        sum += weight;
        busy += weight * serving;
        if sum > LARGE {
            (weight, sum, busy) = (weight / LARGE, sum / LARGE, busy / LARGE);
        }
    }
    (busy / sum / service).min(bound)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_call_waits_while_there_is_a_core_for_each() {
        assert!((rate(2, 2.0, 5e-3, 5e-3) - 200.0).abs() < 1e-9);
    }

    #[test]
    fn calls_that_never_leave_keep_all_cores_busy() {
        assert!((rate(5, 2.0, 5e-3, 0.0) - 400.0).abs() < 1e-9);
    }

    #[test]
    fn as_many_calls_as_the_bound_asks_for_leave_cores_idle_at_times() {
        // By hand: weights 1, 3, 3 and 1.5 of 0 to 3 calls at the cores.
        let expected = (3.0 + 2.0 * 3.0 + 2.0 * 1.5) / 8.5 / 5e-3;

        assert!((rate(3, 2.0, 5e-3, 5e-3) - expected).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn more_lanes_are_never_slower_and_never_beyond_the_bounds(
            lanes in 1_u32..300, cores in 0.1_f64..200.0, service in 1e-9_f64..10.0, away in 0.0_f64..10.0,
        ) {
            let (fewer, more) = (rate(lanes, cores, service, away), rate(lanes + 1, cores, service, away));

            prop_assert!(fewer.is_finite() && fewer > 0.0);
            prop_assert!(more >= fewer * (1.0 - 1e-9));
            prop_assert!(more <= cores / service * (1.0 + 1e-9));
        }

        #[test]
        fn the_unit_of_time_does_not_matter(
            lanes in 1_u32..300, cores in 0.1_f64..200.0, service in 1e-6_f64..10.0, away in 0.0_f64..10.0,
        ) {
            let (seconds, milliseconds) = (rate(lanes, cores, service, away), rate(lanes, cores, service * 1e3, away * 1e3));

            prop_assert!((seconds / milliseconds / 1e3 - 1.0).abs() < 1e-9);
        }
    }
}
