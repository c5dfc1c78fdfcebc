//! System calls without a safe wrapper: `sched_setattr(2)`, the length of a thread's slices, and `prctl(2)`.

#![allow(unsafe_code)]

use std::io;
use std::mem::size_of;

/// `struct sched_attr`, first version (48 bytes), as `sched_setattr(2)` has it.
#[repr(C)]
#[derive(Default)]
struct SchedAttr {
    size_bytes: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    /// For ordinary threads the slice, ns.
    runtime_ns: u64,
    deadline_ns: u64,
    period_ns: u64,
}

const SIZE_BYTES: u32 = size_of::<SchedAttr>() as u32;
/// The calling thread.
const OWN: libc::pid_t = 0;
/// Arguments of `prctl`, of which the kernel reads whole words.
const NONE: libc::c_ulong = 0;
const YES: libc::c_ulong = 1;

/// Gives this thread slices of so many ns; its niceness and its policy stay what they are.
///
/// # Errors
///
/// What the system says: `ENOSYS`, `EPERM` (a sandbox). A thread with a policy of its own, real-time for
/// one, is left alone.
pub(crate) fn set_slice(slice_ns: u64) -> io::Result<()> {
    let mut attributes = read()?;
    if attributes.policy != libc::SCHED_OTHER as u32 {
        return Ok(());
    }
    attributes.size_bytes = SIZE_BYTES;
    attributes.runtime_ns = slice_ns;
    // SAFETY: the kernel reads `size_bytes` bytes at the pointer, which are the struct, alive over the call;
    // it keeps nothing of it. Thread 0 is this one.
    let said = unsafe { libc::syscall(libc::SYS_sched_setattr, OWN, &raw const attributes, 0) };
    if said == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The slice of this thread, ns; `None` where the system does not tell.
#[cfg(test)]
pub(crate) fn slice_ns() -> Option<u64> {
    read().ok().map(|attributes| attributes.runtime_ns)
}

fn read() -> io::Result<SchedAttr> {
    let mut attributes = SchedAttr::default();
    // SAFETY: the kernel writes at most `SIZE_BYTES` bytes at the pointer, which is a struct of that size of
    // plain integers, alive and not shared; any bytes are valid in it. Thread 0 is this one.
    let said =
        unsafe { libc::syscall(libc::SYS_sched_getattr, OWN, &raw mut attributes, SIZE_BYTES, 0) };
    if said == 0 { Ok(attributes) } else { Err(io::Error::last_os_error()) }
}

/// From now on no thread of this process is given pages of 2 MiB.
///
/// # Errors
///
/// What the system says: `EINVAL` before Linux 3.15.
pub(crate) fn disable_large_pages() -> io::Result<()> {
    // SAFETY: the call takes integers only, and changes nothing but what pages are given out from now on.
    let said = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, YES, NONE, NONE, NONE) };
    if said == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether that was called; `None` where the system does not tell.
#[cfg(test)]
pub(crate) fn large_pages_are_disabled() -> Option<bool> {
    // SAFETY: the call takes integers only, and changes nothing.
    let said = unsafe { libc::prctl(libc::PR_GET_THP_DISABLE, NONE, NONE, NONE, NONE) };
    (said >= 0).then_some(said != 0)
}
