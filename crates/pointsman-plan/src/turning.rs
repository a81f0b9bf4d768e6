//! Finds where a decision would turn: how much longer a call, or how many calls, for another backend.
//!
//! # Does not know
//!
//! What costs what; it asks the decision again with other figures.
//!
//! # Invariants
//!
//! - I1. Only points within a factor of [`REACH`] of the observation are looked for.

use crate::decide::backend_for;
use crate::human::human_seconds;
use crate::job::{Backend, Job};
use crate::machine::Machine;
use crate::number::{real, whole};
use crate::observation::Observation;

/// Calls this many times as long, and as short, are looked at. Arbitrary: beyond, it is another program.
const REACH: f64 = 1e4;

/// Steps from one end of the reach to the other. Derived: two per factor of ten find every change that lasts for more
/// than a factor of three.
const STEPS: u32 = 16;

/// Halvings of a step: it is a factor of three, so eight of them leave less than half a percent.
const HALVINGS: u32 = 8;

/// The most calls that are looked at when the number is unknown or small.
const MOST_CALLS: u64 = 1 << 32;

/// Where the decision would turn, in short sentences: "with calls over 40 us, processes", "with calls under 2 ms, inline".
/// It costs some hundred decisions, so it is no part of a plan.
pub fn turning_points(observation: &Observation, machine: &Machine, job: &Job) -> Vec<String> {
    let wall = observation.completed().wall().get();
    let mut points = Vec::new();
    if wall > 0.0 {
        let choice = |factor: f64| backend_for(&observation.scaled(factor), machine, job);
        let factor = |step: u32| REACH.powf(2.0 * f64::from(step) / f64::from(STEPS) - 1.0);
        let mut before = choice(factor(0));
        for step in 1..=STEPS {
            let after = choice(factor(step));
            if after != before {
                let turn = wall * turn_between(factor(step - 1), factor(step), before, choice);
                // What lies beyond the turn, seen from the calls as they are.
                points.push(if turn > wall {
                    format!("with calls over {}, {}", human_seconds(turn), after.name())
                } else {
                    format!("with calls under {}, {}", human_seconds(turn), before.name())
                });
                before = after;
            }
        }
    }
    points.extend(calls_point(observation, machine, job));
    points
}

/// The factor at which the choice stops being `before`.
fn turn_between(mut low: f64, mut high: f64, before: Backend, choice: impl Fn(f64) -> Backend) -> f64 {
    for _ in 0..HALVINGS {
        let middle = (low * high).sqrt();
        if choice(middle) == before {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// Below which number of calls the plain loop would be taken, or above which it would not.
fn calls_point(observation: &Observation, machine: &Machine, job: &Job) -> Option<String> {
    let calls = job.calls?;
    let mut other = job.clone();
    let mut choice = |calls: u64| {
        other.calls = Some(calls);
        backend_for(observation, machine, &other)
    };
    let now = choice(calls);
    let stays = now == Backend::Inline;
    let (mut low, mut high) = if stays { (calls, MOST_CALLS.max(calls)) } else { (0, calls) };
    let far = choice(high);
    if stays && far == Backend::Inline || !stays && choice(low) != Backend::Inline {
        return None;
    }
    while high - low > 1 + low / 100 {
        let middle = if low == 0 { high / 2 } else { whole((real(low) * real(high)).sqrt()).clamp(low + 1, high - 1) };
        if choice(middle) == Backend::Inline {
            low = middle;
        } else {
            high = middle;
        }
    }
    let turned = choice(high).name();
    Some(if stays {
        format!("with {high} calls or more, {turned}")
    } else {
        format!("with fewer than {high} calls, inline")
    })
}
