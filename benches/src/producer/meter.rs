//! What a process used: CPU time, memory, allocations.

#![expect(
    unsafe_code,
    reason = "an allocator cannot be written without; this one counts and passes on"
)]

use crate::Failure;
use crate::process::{field_of, memory_of, read};
use mimalloc::MiMalloc;
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static UNCOUNTED: Cell<bool> = const { Cell::new(false) };
}

/// The allocator, as README.md advises it for a service that is to keep up, and a count of what is asked of
/// it: allocations and growths, not releases.
struct Counting;

static ALLOCATE: MiMalloc = MiMalloc;

fn count() {
    // A thread that ends may allocate when its locals are gone.
    if !UNCOUNTED.try_with(Cell::get).unwrap_or(true) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: everything is passed on to the system's allocator as it came; counting allocates nothing,
// since the thread-local is a plain cell that needs neither initialisation nor a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises, passed on.
        unsafe { ALLOCATE.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { ALLOCATE.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { ALLOCATE.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { ALLOCATE.realloc(pointer, layout, size) }
    }
}

/// Allocations of the process so far, all threads, without those made [`apart`].
pub fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

/// Does what belongs to the measuring and not to what is measured: its allocations are not counted, and
/// its CPU time is added to `spent`, to be taken off.
pub fn apart<T>(spent: &mut Duration, work: impl FnOnce() -> T) -> T {
    UNCOUNTED.set(true);
    let began = thread_cpu();
    let made = work();
    *spent += thread_cpu().saturating_sub(began);
    UNCOUNTED.set(false);
    made
}

/// User and system time of this process so far, all threads.
pub fn process_cpu() -> Duration {
    duration(clock_gettime(ClockId::ProcessCPUTime))
}

/// That of this thread.
pub fn thread_cpu() -> Duration {
    duration(clock_gettime(ClockId::ThreadCPUTime))
}

fn duration(time: Timespec) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(time.tv_nsec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_nanos(nanos)
}

/// A field of this process' status that is in KiB, in bytes.
pub fn memory(field: &str) -> Result<u64, Failure> {
    memory_of(std::process::id(), field)
}

/// How often threads of this process other than the first went to sleep so far: whoever never wakes does
/// not go to sleep.
pub fn naps() -> Result<u64, Failure> {
    let own = std::process::id().to_string();
    let mut naps = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?;
        if task.file_name() == *own {
            continue;
        }
        let status = read(task.path().join("status"))?;
        naps += field_of(&status, "voluntary_ctxt_switches")
            .and_then(|count| count.parse::<u64>().ok())
            .ok_or("no count of context switches")?;
    }
    Ok(naps)
}
