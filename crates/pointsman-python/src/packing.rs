//! Functions on their way to the workers: how one is packed, and when it must be packed again.
//!
//! # Does not know
//!
//! Calls, futures, or when a function is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pointsman_shm::BlockRef;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCFunction, PyDict, PyFunction, PyModule, PyTuple, PyType};

use crate::codec;
use crate::dependency::{Dependency, Reached, dependencies};
use crate::host_store::{Definitions, HostStore};
use crate::process_pool::{CALL_PICKLED, CALL_PLAIN, Workers};

/// A function as the workers know it.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) id: u64,
    pub(crate) block: BlockRef,
    /// The blocks that end with it: that one, and those which its packed form mentions.
    pub(crate) owned: Vec<BlockRef>,
    pub(crate) name: String,
    pub(crate) host: Arc<Workers>,
    pub(crate) price: Price,
}

/// Seconds that a call of a function took in the last chunk that tells.
#[derive(Debug, Default)]
pub(crate) struct Price(AtomicU64);

impl Price {
    /// Calls, or nanoseconds, from which on a chunk tells of its calls, and not of its own beginning. Arbitrary: that is a
    /// microsecond or two.
    const TELLING: (u64, u64) = (16, 20_000);

    /// Takes in what a chunk has taken.
    pub(crate) fn learn(&self, calls: u64, wall_ns: u64) {
        if calls >= Self::TELLING.0 || (calls > 0 && wall_ns >= Self::TELLING.1) {
            #[expect(clippy::cast_precision_loss, reason = "a mean needs no more than 53 bits")]
            let mean = wall_ns as f64 * 1e-9 / calls as f64;
            // Relaxed, as below: a figure, which publishes nothing.
            self.0.store(mean.to_bits(), Ordering::Relaxed);
        }
    }

    /// Seconds for a call, if any chunk has told.
    pub(crate) fn mean(&self) -> Option<f64> {
        let bits = self.0.load(Ordering::Relaxed);
        (bits != 0).then(|| f64::from_bits(bits))
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        for block in self.owned.drain(..) {
            self.host.free(block);
        }
    }
}

/// A function's packed form.
pub(crate) struct Packed {
    pub(crate) bytes: Vec<u8>,
    /// The blocks that the bytes mention.
    pub(crate) attached: Vec<BlockRef>,
    /// What must be unchanged for it to stay good; `None` when that cannot be said.
    pub(crate) dependencies: Option<Vec<Dependency>>,
}

/// Packs a function. With `slim`, one that could be imported may travel by value instead, where that means the same. With
/// `again` it was packed before, and nobody could say how long that would be good for.
pub(crate) fn pack(
    host: &Arc<Workers>,
    definitions: &Definitions,
    function: &Bound<'_, PyAny>,
    slim: bool,
    again: bool,
) -> PyResult<Packed> {
    let py = function.py();
    // What is of a module that workers would not find is told by that name in what is pickled, from here on.
    py.import("pointsman._naming")?.call_method1("notice", (function,))?;
    let mut bytes = Vec::new();
    let by_name = travels_by_name(function)?;
    let module = if by_name { "pointsman._slim" } else { "pointsman._functions" };
    if function.is_exact_instance_of::<PyFunction>() && (slim || !by_name) {
        let packed = py.import(module)?.call_method1("pack", (function,))?;
        if let Some((packed, reached)) = packed.extract::<Option<(Bound<'_, PyBytes>, Vec<Reached<'_>>)>>()? {
            codec::write_pickle(packed.as_bytes(), &mut bytes);
            return Ok(Packed { bytes, attached: Vec::new(), dependencies: Some(dependencies(reached, true)?) });
        }
    }
    let rests_on = if by_name {
        Some(Vec::new())
    } else {
        // First: what changes while it is packed has changed since.
        let reached = py.import("pointsman._reach")?.call_method1("reached", (function, again))?;
        reached.extract::<Option<Vec<Reached<'_>>>>()?.map(|reached| dependencies(reached, true)).transpose()?
    };
    let mut store = HostStore::new(host, definitions);
    codec::encode_pickled(function, &mut bytes, &mut store)?;
    if by_name {
        py.import("pointsman._functions")?.call_method1("note", (function.getattr("__module__")?,))?;
    }
    Ok(Packed { bytes, attached: store.take(), dependencies: rests_on })
}

/// Whether a callable is one that a worker can import by its name, and that has no state of its own.
fn travels_by_name(function: &Bound<'_, PyAny>) -> PyResult<bool> {
    let stateless = function.is_exact_instance_of::<PyFunction>()
        || function.is_instance_of::<PyType>()
        || function.cast_exact::<PyCFunction>().is_ok_and(|function| {
            function.getattr("__self__").is_ok_and(|owner| owner.is_none() || owner.is_instance_of::<PyModule>())
        });
    if !stateless {
        return Ok(false);
    }
    let module = function.getattr("__module__")?;
    if module.is_none()
        || function.py().import("pointsman._naming")?.call_method1("is_lost", (&module,))?.is_truthy()?
    {
        return Ok(false);
    }
    let modules = function.py().import("sys")?.getattr("modules")?;
    let Ok(mut found) = modules.get_item(module) else {
        return Ok(false);
    };
    let name: String = function.getattr("__qualname__")?.extract()?;
    for part in name.split('.') {
        match found.getattr(part) {
            Ok(next) => found = next,
            Err(_) => return Ok(false),
        }
    }
    Ok(found.is(function))
}

/// Packs plain arguments, of which no tuple has been made. False, and nothing packed, if they are not plain.
pub(crate) fn encode_items(items: &[Bound<'_, PyAny>], out: &mut Vec<u8>, store: &mut HostStore<'_>) -> PyResult<bool> {
    out.push(CALL_PLAIN);
    let plain = codec::encode_items(items, out, store)?;
    if !plain {
        out.clear();
    }
    Ok(plain)
}

/// Packs the arguments of one call.
pub(crate) fn encode_call(
    args: &Bound<'_, PyTuple>,
    kwargs: Option<&Bound<'_, PyDict>>,
    out: &mut Vec<u8>,
    store: &mut HostStore<'_>,
) -> PyResult<()> {
    let kwargs = kwargs.filter(|kwargs| !kwargs.is_empty());
    if kwargs.is_none() {
        out.push(CALL_PLAIN);
        if codec::encode_plain(args.as_any(), out, store)? {
            return Ok(());
        }
        out.clear();
    }
    let py = args.py();
    out.push(CALL_PICKLED);
    let both = (args, kwargs.map_or_else(|| PyDict::new(py), Clone::clone)).into_pyobject(py)?;
    codec::encode_pickled(both.as_any(), out, store).map(drop)
}
