//! What packed functions and classes rest on, and whether that is as it was.
//!
//! # Does not know
//!
//! How anything is packed, or what is done about a change.
//!
//! # Invariants
//!
//! - D1. A class is as it was only if no other state of it was sent meanwhile: workers have one copy, which the latest fills.
//! - D2. No Python code of the user's runs while it is looked, but what pickles an object of which there is a digest; no
//!   Python object is dropped while a lock is held.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFunction, PyString, PyTuple, PyType};

use crate::digest::{self, Digest};
use crate::once::name;

/// Something that a packed form rests on, as it was then. What is in containers, classes and objects is the same if each part
/// is the same object, in the same order. It is copied to be gone through: where threads run Python code at one time, another
/// may change it meanwhile.
pub(crate) enum Dependency {
    /// A name in a dictionary, and its value if it is there.
    Name(Py<PyDict>, Py<PyString>, Option<Py<PyAny>>),
    /// The contents of a cell.
    Cell(Py<PyAny>, Py<PyAny>),
    /// The items of a list, a set or a deque.
    Items(Py<PyAny>, Py<PyTuple>),
    Entries(Py<PyDict>, Py<PyDict>),
    /// The namespace of a class, and which of its states were sent (D1).
    Class(Py<PyAny>, Py<PyDict>, Option<Seen>),
    /// The class and the attributes of another object.
    Object(Py<PyAny>, Py<PyAny>, Py<PyDict>),
    /// The code, defaults and attributes of a function.
    Function(Py<PyFunction>, Py<PyTuple>),
    /// Whatever else can be pickled.
    Content(Py<PyAny>, Digest),
}

pub(crate) type Reached<'py> = (Bound<'py, PyAny>, Option<Bound<'py, PyAny>>, Bound<'py, PyAny>);

/// The states of a class that were sent to workers.
#[derive(Default)]
struct Sent {
    count: AtomicU64,
    /// The last of them, if that can be told again.
    last: Mutex<Option<Arc<Vec<Dependency>>>>,
}

/// How many states of a class had been sent when something was packed.
pub(crate) struct Seen {
    sent: Arc<Sent>,
    count: AtomicU64,
}

/// By the addresses of classes that something rests on.
static SENT: Mutex<BTreeMap<usize, Weak<Sent>>> = Mutex::new(BTreeMap::new());
/// Entries from which on those are looked for that nobody needs any more. Arbitrary.
const MANY: usize = 1024;

fn all_sent() -> MutexGuard<'static, BTreeMap<usize, Weak<Sent>>> {
    SENT.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seen {
    fn of(class: &Bound<'_, PyAny>) -> Self {
        let mut all = all_sent();
        if all.len() >= MANY {
            all.retain(|_, sent| sent.strong_count() > 0);
        }
        let entry = all.entry(class.as_ptr() as usize).or_default();
        let sent = entry.upgrade().unwrap_or_default();
        *entry = Arc::downgrade(&sent);
        // Relaxed, as everywhere here: who packs at the same time as another may pack once more.
        let count = AtomicU64::new(sent.count.load(Ordering::Relaxed));
        Self { sent, count }
    }

    fn is_latest(&self) -> bool {
        self.count.load(Ordering::Relaxed) == self.sent.count.load(Ordering::Relaxed)
    }
}

/// A class is pickled for workers as it is now. Where they may have it in another state, what rests on it must be sent again.
#[pyfunction]
pub(crate) fn class_sent(class: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = class.py();
    let Some(sent) = all_sent().get(&(class.as_ptr() as usize)).and_then(Weak::upgrade) else { return Ok(()) };
    let last = sent.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if last.is_some_and(|last| last.iter().all(|part| part.is_unchanged(py))) {
        return Ok(());
    }
    let reached = py.import("pointsman._reach")?.call_method1("reached", (class,))?;
    let now = match reached.extract::<Option<Vec<Reached<'_>>>>()? {
        Some(reached) => Some(Arc::new(dependencies(reached, false)?)),
        None => None,
    };
    let before = std::mem::replace(&mut *sent.last.lock().unwrap_or_else(PoisonError::into_inner), now);
    sent.count.fetch_add(1, Ordering::Relaxed);
    drop(before);
    Ok(())
}

/// What was found by `pointsman._functions` and `pointsman._reach`. With `counted`, states of classes that are sent meanwhile
/// count as changes.
pub(crate) fn dependencies(reached: Vec<Reached<'_>>, counted: bool) -> PyResult<Vec<Dependency>> {
    reached.into_iter().map(|one| Dependency::new(one, counted)).collect()
}

impl Dependency {
    fn new((holder, kind, value): Reached<'_>, counted: bool) -> PyResult<Self> {
        if kind.as_ref().is_some_and(|kind| kind.is(holder.py().Ellipsis())) {
            return Ok(Self::Content(holder.unbind(), value.extract()?));
        }
        // Or a subclass of the standard library's.
        let names = holder.cast::<PyDict>();
        Ok(match kind {
            Some(kind) => match (names, kind.cast_exact::<PyString>()) {
                (Ok(names), Ok(name)) => {
                    let value = (!value.is(names)).then(|| value.unbind());
                    Self::Name(names.clone().unbind(), name.clone().unbind(), value)
                }
                _ => Self::Object(holder.unbind(), kind.unbind(), value.cast_into()?.unbind()),
            },
            None if names.is_ok() => Self::Entries(holder.cast_into()?.unbind(), value.cast_into()?.unbind()),
            None if holder.is_instance_of::<PyType>() => {
                let seen = counted.then(|| Seen::of(&holder));
                Self::Class(holder.unbind(), value.cast_into()?.unbind(), seen)
            }
            None if holder.is_exact_instance_of::<PyFunction>() => {
                Self::Function(holder.cast_into()?.unbind(), value.cast_into()?.unbind())
            }
            None if holder.hasattr(name!(holder.py(), "cell_contents"))? => Self::Cell(holder.unbind(), value.unbind()),
            None => Self::Items(holder.unbind(), value.cast_into()?.unbind()),
        })
    }

    /// What it is part of has been packed: states of a class that were sent until now are those that it rests on.
    pub(crate) fn settle(&self) {
        if let Self::Class(_, _, Some(seen)) = self {
            seen.count.store(seen.sent.count.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    pub(crate) fn is_unchanged(&self, py: Python<'_>) -> bool {
        match self {
            Self::Name(names, name, value) => match (names.bind(py).get_item(name), value) {
                (Ok(Some(now)), Some(value)) => now.is(value),
                (Ok(None), None) => true,
                _ => false,
            },
            Self::Cell(cell, value) => cell.bind(py).getattr(name!(py, "cell_contents")).is_ok_and(|now| now.is(value)),
            Self::Items(holder, items) => has_items(holder.bind(py), items.bind(py)),
            Self::Entries(now, then) => now.bind(py).copy().is_ok_and(|now| has_entries(&now, then.bind(py))),
            Self::Class(class, then, seen) => {
                let copied = class.bind(py).getattr(name!(py, "__dict__")).and_then(|now| now.call_method0("copy"));
                seen.as_ref().is_none_or(Seen::is_latest)
                    && copied
                        .is_ok_and(|now| now.cast_exact::<PyDict>().is_ok_and(|now| has_entries(now, then.bind(py))))
            }
            Self::Object(object, class, then) => {
                let object = object.bind(py);
                let now = object.getattr(name!(py, "__dict__")).and_then(|now| now.cast_exact::<PyDict>()?.copy());
                object.get_type().is(class) && now.is_ok_and(|now| has_entries(&now, then.bind(py)))
            }
            Self::Content(value, then) => digest::digest(value.bind(py)).is_ok_and(|now| now == *then),
            Self::Function(function, parts) => is_as_it_was(function.bind(py), parts.bind(py)),
        }
    }
}

/// Whether a function has the code, the defaults, and no attributes, as it had.
fn is_as_it_was(function: &Bound<'_, PyFunction>, parts: &Bound<'_, PyTuple>) -> bool {
    let py = function.py();
    let names = [name!(py, "__code__"), name!(py, "__defaults__"), name!(py, "__kwdefaults__")];
    let same = names
        .iter()
        .zip(parts.iter_borrowed())
        .all(|(name, then)| function.getattr(*name).is_ok_and(|now| now.is(&*then)));
    let attributes = || function.getattr(name!(py, "__dict__")).and_then(|now| now.len());
    same && (parts.len() > names.len() || attributes().is_ok_and(|count| count == 0))
}

fn has_items(holder: &Bound<'_, PyAny>, items: &Bound<'_, PyTuple>) -> bool {
    let now = holder.py().get_type::<PyTuple>().call1((holder,));
    now.is_ok_and(|now| {
        now.cast_exact::<PyTuple>().is_ok_and(|now| {
            now.len() == items.len() && now.iter_borrowed().zip(items.iter_borrowed()).all(|(now, then)| now.is(&*then))
        })
    })
}

fn has_entries(now: &Bound<'_, PyDict>, then: &Bound<'_, PyDict>) -> bool {
    let mut before = then.iter();
    now.len() == then.len()
        && now.iter().all(|(name, value)| {
            before.next().is_some_and(|(name_then, value_then)| name.is(&name_then) && value.is(&value_then))
        })
}

/// Tells whether anything has changed that something rests on, which `pointsman._reach` has found.
#[pyclass(module = "pointsman._native", frozen)]
pub(crate) struct Watch(Vec<Dependency>);

#[pymethods]
impl Watch {
    #[new]
    fn new(reached: Vec<Reached<'_>>) -> PyResult<Self> {
        dependencies(reached, true).map(Self)
    }

    /// What rests on it has been packed.
    fn settle(&self) {
        self.0.iter().for_each(Dependency::settle);
    }

    /// Whether all of it is as it was.
    pub(crate) fn is_unchanged(&self, py: Python<'_>) -> bool {
        self.0.iter().all(|dependency| dependency.is_unchanged(py))
    }
}
