//! The three searches on Linux. Each gives a candidate, which the caller then puts to the test.
//!
//! # Does not know
//!
//! Whether a candidate is right: `tells_the_truth` decides. Invariants: those of the parent module.

use std::ffi::{CStr, c_void};
use std::fs::{self, File};
use std::mem;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicI32, AtomicUsize};

use pyo3::prelude::*;

use super::{Structure, View, current_thread_state};

/// The largest part of the runtime's storage that is searched; 3.12 and 3.13 need under 1 MB.
const LARGEST: usize = 4 << 20;
const WORD: usize = mem::size_of::<usize>();

/// In words after `_PyRuntime`: the first word of the published table's interpreter part.
const INTERPRETER_PART: usize = 6;
/// In words after that: `ceval_gil`, by version; the GIL's own offsets follow it. As in CPython's
/// `pycore_runtime.h` (3.13) and `pycore_debug_offsets.h` (3.14).
const CEVAL_GIL: [((u8, u8), usize); 2] = [((3, 13), 8), ((3, 14), 9)];

/// Microseconds that no program sets as its switch interval, near enough to the default of 5 ms that
/// a thread which waits for the GIL meanwhile notices nothing.
const MAGIC: [usize; 2] = [4_987, 5_003];

/// The static storage of the runtime, as copies.
struct Runtime {
    memory: File,
    range: Range<usize>,
}

impl Runtime {
    fn open() -> Option<Self> {
        let start = symbol(c"_PyRuntime")?;
        let end = end_of_mapping(&fs::read_to_string("/proc/self/maps").ok()?, start)?;
        let memory = File::open("/proc/self/mem").ok()?;
        Some(Self { memory, range: start..end.min(start + LARGEST) })
    }

    fn word(&self, address: usize) -> Option<usize> {
        let mut bytes = [0; WORD];
        self.memory.read_exact_at(&mut bytes, address.try_into().ok()?).ok()?;
        Some(usize::from_ne_bytes(bytes))
    }

    /// All words of the storage, from its start.
    fn words(&self) -> Option<Vec<usize>> {
        let mut bytes = vec![0; self.range.len() / WORD * WORD];
        self.memory.read_exact_at(&mut bytes, self.range.start.try_into().ok()?).ok()?;
        let word = |chunk: &[u8]| chunk.try_into().map(usize::from_ne_bytes).unwrap_or_default();
        Some(bytes.chunks_exact(WORD).map(word).collect())
    }

    /// Makes the structure's words readable if they lie where I2 wants them.
    fn structure(&self, locked: usize, last_holder: usize, enabled: Option<usize>) -> Option<Structure> {
        let inside = |address: usize, size: usize| {
            address.is_multiple_of(size) && self.range.contains(&address) && self.range.contains(&(address + size - 1))
        };
        let narrow = |address: usize| {
            // SAFETY: inside the runtime's static storage and aligned, by I2 (checked by the caller just
            // below); accessed by others atomically, by I3.
            unsafe { AtomicI32::from_ptr(std::ptr::with_exposed_provenance_mut(address)) }
        };
        let fits = inside(locked, 4) && inside(last_holder, WORD) && enabled.is_none_or(|at| inside(at, 4));
        if !fits {
            return None;
        }
        // SAFETY: as for `narrow`: inside and aligned by I2, atomic by I3.
        let last_holder = unsafe { AtomicUsize::from_ptr(std::ptr::with_exposed_provenance_mut(last_holder)) };
        Some(Structure { locked: narrow(locked), last_holder, enabled: enabled.map(narrow) })
    }
}

/// 3.11: the function is the same in later versions, but tells there of the calling thread only.
pub(super) fn current_thread(py: Python<'_>) -> Option<View> {
    if py.version_info() >= (3, 12) {
        return None;
    }
    let address = symbol(c"_PyThreadState_UncheckedGet")?;
    let pointer: *const () = std::ptr::with_exposed_provenance(address);
    // SAFETY: CPython 3.5 to 3.12 export this name as a function without arguments that returns a
    // pointer; it reads one static atomic (I2) and may be called from any thread.
    let read = unsafe { mem::transmute::<*const (), extern "C" fn() -> *mut c_void>(pointer) };
    Some(View::CurrentThread(read))
}

/// 3.13 and later: by the table that the runtime begins with.
pub(super) fn published(py: Python<'_>) -> Option<View> {
    let version = py.version_info();
    let known = CEVAL_GIL.iter().find(|(known, _)| *known == (version.major, version.minor));
    let ceval_gil = known?.1;
    let runtime = Runtime::open()?;
    let entry = |index: usize| runtime.word(runtime.range.start + index * WORD);
    if entry(0)? != usize::from_ne_bytes(*b"xdebugpy") {
        return None;
    }
    let free_threaded = entry(2)? != 0;
    let at = |index: usize| entry(INTERPRETER_PART + ceval_gil + index);
    let [pointer, own, enabled, locked, holder] = [at(0)?, at(1)?, at(2)?, at(3)?, at(4)?];
    // The interpreter's GIL may be another's; the pointer says whose. Offsets inside are the same.
    let gil = runtime.word(interpreter(py).checked_add(pointer)?)?;
    let inside = |offset: usize| gil.checked_add(offset.checked_sub(own)?);
    let enabled = if free_threaded { Some(gil.checked_add(enabled)?) } else { None };
    let structure = runtime.structure(inside(locked)?, inside(holder)?, enabled)?;
    Some(View::Structure(structure, "GIL structure (published offsets)"))
}

/// Any version: by the mark that we leave in the structure.
pub(super) fn calibrated(py: Python<'_>) -> Option<View> {
    let runtime = Runtime::open()?;
    let sys = py.import("sys").ok()?;
    let usual: f64 = sys.call_method0("getswitchinterval").ok()?.extract().ok()?;
    // The interpreter keeps whole microseconds, and cuts the rest off.
    let set = |seconds: f64| sys.call_method1("setswitchinterval", (seconds + 0.5e-6,));
    let mut found: Option<Vec<usize>> = None;
    for magic in MAGIC {
        let seconds = f64::from(u32::try_from(magic).ok()?) * 1e-6;
        let words = set(seconds).ok().and_then(|_| runtime.words());
        set(usual).ok()?;
        let hits = marks(&words?, magic, current_thread_state(py));
        found = Some(match found {
            None => hits,
            Some(before) => before.into_iter().filter(|hit| hits.contains(hit)).collect(),
        });
    }
    let [hit] = found?[..] else { return None };
    let interval = runtime.range.start + hit * WORD;
    // In every version: unsigned long interval; PyThreadState *last_holder; int locked.
    let structure = runtime.structure(interval + 2 * WORD, interval + WORD, None)?;
    Some(View::Structure(structure, "GIL structure (calibrated)"))
}

/// Where the mark, the holder and a 1 stand in a row.
fn marks(words: &[usize], magic: usize, tstate: usize) -> Vec<usize> {
    let is_mark = |row: &[usize]| {
        let [interval, holder, locked] = row else {
            return false;
        };
        // `locked` is an int; the other half of its word is padding.
        *interval == magic && *holder == tstate && locked.to_ne_bytes()[..4] == 1_u32.to_ne_bytes()
    };
    words.windows(3).enumerate().filter(|(_, row)| is_mark(row)).map(|(index, _)| index).collect()
}

fn interpreter(_py: Python<'_>) -> usize {
    // SAFETY: `_py` proves that this thread is attached; the address is used as a number, by I1.
    let interpreter = unsafe { pyo3::ffi::PyInterpreterState_Get() };
    interpreter.addr()
}

fn symbol(name: &CStr) -> Option<usize> {
    // SAFETY: `name` ends with a zero; the answer is used as a number, by I1.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!address.is_null()).then(|| address.expose_provenance())
}

/// The end of the writable mapping that holds `address`, and of those that follow without a gap and
/// belong to the same file or to none (its zero-initialised part).
fn end_of_mapping(maps: &str, address: usize) -> Option<usize> {
    let mut found: Option<(usize, &str)> = None;
    for line in maps.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        let writable = fields.next()?.starts_with("rw");
        let file = fields.nth(3).unwrap_or("");
        match found {
            None if (start..end).contains(&address) => {
                if !writable {
                    return None;
                }
                found = Some((end, file));
            }
            Some((last, name)) if start == last && writable && (file.is_empty() || file == name) => {
                found = Some((end, name));
            }
            Some(_) => break,
            None => {}
        }
    }
    found.map(|(end, _)| end)
}

#[cfg(test)]
mod tests {
    use super::{end_of_mapping, marks};

    const MAPS: &str = "\
1000-2000 r-xp 00000000 fe:00 1 /usr/lib/libpython.so
2000-3000 rw-p 00001000 fe:00 1 /usr/lib/libpython.so
3000-4000 rw-p 00000000 00:00 0
4000-5000 rw-p 00000000 00:00 0 [heap]
";

    #[test]
    fn the_runtime_reaches_over_its_zeroed_part_and_no_further() {
        assert_eq!(end_of_mapping(MAPS, 0x2800), Some(0x4000));
    }

    #[test]
    fn what_is_not_mapped_or_not_writable_is_not_searched() {
        assert_eq!(end_of_mapping(MAPS, 0x1800), None);
        assert_eq!(end_of_mapping(MAPS, 0x9000), None);
        assert_eq!(end_of_mapping("nonsense", 0x1000), None);
    }

    #[test]
    fn a_mark_needs_interval_holder_and_lock_in_a_row() {
        let words = [4_987, 7, 0, 4_987, 7, 1, 4_987, 8, 1];
        assert_eq!(marks(&words, 4_987, 7), [3]);
    }

    #[test]
    fn padding_beside_the_lock_does_not_matter() {
        let mut locked = [0xff_u8; size_of::<usize>()];
        locked[..4].copy_from_slice(&1_u32.to_ne_bytes());
        assert_eq!(marks(&[4_987, 7, usize::from_ne_bytes(locked)], 4_987, 7), [0]);
    }
}
