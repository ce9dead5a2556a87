// SPDX-License-Identifier: GPL-2.0-only

//! Per-CPU variables.
//!
//! C header: [`include/linux/percpu.h`](srctree/include/linux/percpu.h)

use crate::{
    alloc::{
        AllocError,
        Flags, //
    },
    bindings,
    cpu,
    prelude::*, //
};
use core::{
    cell::Cell,
    marker::PhantomData,
    mem::{
        align_of,
        size_of, //
    },
    ptr::NonNull, //
};

/// A variable that each possible CPU has its own copy of.
///
/// The copies are zeroed at first, and need no destructor.
///
/// # Invariants
///
/// `ptr` is a per-CPU pointer to an initialised `T` for each possible CPU, allocated for this
/// object. A CPU accesses its copy with its interrupts disabled; there is no other access but
/// through `&mut self`.
///
/// # Examples
///
/// ```
/// use kernel::percpu::PerCpu;
///
/// let mut packets = PerCpu::<u64>::new_zero(GFP_KERNEL)?;
///
/// let on_this_cpu = packets.with_irqs_disabled(|packets| {
///     packets.set(packets.get() + 3);
///     packets.get()
/// });
/// assert_eq!(on_this_cpu, 3);
///
/// let mut total = 0;
/// packets.for_each(|on_one_cpu| total += on_one_cpu);
/// assert_eq!(total, 3);
/// # Ok::<(), Error>(())
/// ```
pub struct PerCpu<T: Zeroable + Copy + Send> {
    ptr: NonNull<c_void>,
    _values: PhantomData<T>,
}

// SAFETY: The copies belong to the object, and a `T` may be sent.
unsafe impl<T: Zeroable + Copy + Send> Send for PerCpu<T> {}
// SAFETY: By the type invariants, a copy is accessed by one CPU at a time. That may be in any
// thread, but a `T` may be sent.
unsafe impl<T: Zeroable + Copy + Send> Sync for PerCpu<T> {}

impl<T: Zeroable + Copy + Send> PerCpu<T> {
    /// Allocates the variable, zeroed on all CPUs.
    pub fn new_zero(flags: Flags) -> Result<Self, AllocError> {
        // SAFETY: Any size and alignment may be asked for; ones that cannot be had give null.
        let ptr = unsafe {
            bindings::__alloc_percpu_gfp(size_of::<T>(), align_of::<T>(), flags.as_raw())
        };

        // INVARIANT: The memory was allocated for `T`, and is zeroed, which `T` may be.
        Ok(Self {
            ptr: NonNull::new(ptr).ok_or(AllocError)?,
            _values: PhantomData,
        })
    }

    /// Calls `f` with the copy of this CPU, with interrupts disabled.
    ///
    /// `f` must not sleep. It is given a [`Cell`] rather than a `&mut T`, as nothing stops it from
    /// calling this function for the same variable again.
    #[inline(always)]
    pub fn with_irqs_disabled<R>(&self, f: impl FnOnce(&Cell<T>) -> R) -> R {
        // SAFETY: Interrupts are restored below.
        let flags = unsafe { bindings::local_irq_save() };
        // SAFETY: By the type invariants, `ptr` is a per-CPU pointer. With interrupts disabled,
        // this thread stays on this CPU.
        let value: *mut c_void = unsafe { bindings::this_cpu_ptr(self.ptr.as_ptr()) };
        // SAFETY: By the type invariants, it points to an initialised `T`, and as interrupts are
        // disabled, only code that `f` calls can access it: through this function, which gives it
        // a `Cell` again. The `Cell` is gone before interrupts are restored.
        let result = f(unsafe { &*value.cast::<Cell<T>>() });
        // SAFETY: `flags` is from `local_irq_save()` above, on this CPU.
        unsafe { bindings::local_irq_restore(flags) };

        result
    }

    /// Calls `f` with the value of each possible CPU.
    pub fn for_each(&mut self, mut f: impl FnMut(T)) {
        for cpu in (0..cpu::nr_cpu_ids()).filter(|&cpu| is_possible(cpu)) {
            // SAFETY: By the type invariants, `ptr` is a per-CPU pointer, and `cpu` is possible.
            let value: *mut c_void = unsafe { bindings::per_cpu_ptr(self.ptr.as_ptr(), cpu) };
            // SAFETY: By the type invariants, it points to an initialised `T`, which nobody else
            // accesses while we have `&mut self`.
            f(unsafe { value.cast::<T>().read() });
        }
    }
}

/// Whether there can ever be a CPU of this number, below [`cpu::nr_cpu_ids`].
fn is_possible(cpu: u32) -> bool {
    // SAFETY: The mask is a static that has a bit for each number below `nr_cpu_ids()`. It is only
    // read here, and does not change after boot.
    unsafe { bindings::cpumask_test_cpu(cpu as c_int, &raw mut bindings::__cpu_possible_mask) }
}

impl<T: Zeroable + Copy + Send> Drop for PerCpu<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, `ptr` was allocated for this object. `T` is `Copy`, so
        // there is nothing to drop.
        unsafe { bindings::free_percpu(self.ptr.as_ptr()) };
    }
}

#[cfg(CONFIG_RUST_PERCPU_KUNIT_TEST)]
#[kunit_tests(rust_percpu)]
mod tests {
    use super::*;
    use crate::{
        sync::{
            Arc,
            Completion, //
        },
        workqueue::Queue, //
    };

    fn sum(mut variable: PerCpu<u64>) -> u64 {
        let mut sum = 0;
        variable.for_each(|value| sum += value);
        sum
    }

    #[test]
    fn starts_at_zero() -> Result {
        let mut variable = PerCpu::<[u32; 3]>::new_zero(GFP_KERNEL)?;
        let mut cpus = 0;

        variable.for_each(|value| {
            cpus += 1;
            assert_eq!(value, [0; 3]);
        });
        assert!(cpus >= 1);
        assert!(cpus <= cpu::nr_cpu_ids());
        Ok(())
    }

    #[test]
    fn interrupts_are_disabled_meanwhile() -> Result {
        let variable = PerCpu::<u64>::new_zero(GFP_KERNEL)?;
        // SAFETY: It's always safe to call `irqs_disabled()`.
        let irqs_disabled = || unsafe { bindings::irqs_disabled() };

        assert!(!irqs_disabled());
        assert!(variable.with_irqs_disabled(|_| irqs_disabled()));
        assert!(!irqs_disabled());
        Ok(())
    }

    #[test]
    fn may_be_used_within_itself() -> Result {
        let variable = PerCpu::<u64>::new_zero(GFP_KERNEL)?;

        variable.with_irqs_disabled(|outer| {
            outer.set(1);
            variable.with_irqs_disabled(|inner| inner.set(inner.get() + 1));
            outer.set(outer.get() + 1);
        });
        assert_eq!(sum(variable), 3);
        Ok(())
    }

    /// A variable that several threads count up.
    #[pin_data]
    struct Shared {
        variable: PerCpu<u64>,
        #[pin]
        done: [Completion; 4],
    }

    #[test]
    fn loses_no_update() -> Result {
        const UPDATES: u64 = 10_000;

        let shared = Arc::pin_init(
            try_pin_init!(Shared {
                variable: PerCpu::new_zero(GFP_KERNEL)?,
                done <- pin_init::pin_init_array_from_fn(|_| Completion::new()),
            }? Error),
            GFP_KERNEL,
        )?;

        // SAFETY: This workqueue always exists.
        let unbound = unsafe { Queue::from_raw(bindings::system_dfl_wq) };
        for thread in 0..shared.done.len() {
            let shared = shared.clone();
            unbound.try_spawn(GFP_KERNEL, move || {
                for _ in 0..UPDATES {
                    shared
                        .variable
                        .with_irqs_disabled(|value| value.set(value.get() + 1));
                }
                shared.done[thread].complete_all();
            })?;
        }
        shared.done.iter().for_each(Completion::wait_for_completion);

        // A thread may have its `Arc` for a moment longer.
        let mut total = 0;
        for cpu in (0..cpu::nr_cpu_ids()).filter(|&cpu| is_possible(cpu)) {
            // SAFETY: `ptr` is a per-CPU pointer, `cpu` is possible, and all updates are done.
            total += unsafe {
                bindings::per_cpu_ptr(shared.variable.ptr.as_ptr(), cpu)
                    .cast::<u64>()
                    .read()
            };
        }
        assert_eq!(total, UPDATES * shared.done.len() as u64);
        Ok(())
    }
}
