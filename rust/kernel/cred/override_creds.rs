// SPDX-License-Identifier: GPL-2.0-only

//! Acting with credentials of one's choice.

use super::Credential;
use crate::{
    bindings,
    prelude::*,
    sync::aref::ARef, //
};
use core::ptr::NonNull;

impl Credential {
    /// Makes a copy of the credentials that this thread acts with.
    ///
    /// It fails with [`ENOMEM`], and may sleep.
    pub fn prepare() -> Result<ARef<Credential>> {
        // SAFETY: May be called by any thread.
        let cred = NonNull::new(unsafe { bindings::prepare_creds() }).ok_or(ENOMEM)?;

        // SAFETY: `prepare_creds()` gave us a reference. `Credential` has the layout of `struct
        // cred`.
        Ok(unsafe { ARef::from_raw(cred.cast()) })
    }

    /// Calls `f` with this thread acting with the credentials `self`.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::cred::Credential;
    ///
    /// let cred = Credential::prepare()?;
    /// let answer = cred.with_creds(|| 42);
    /// assert_eq!(answer, 42);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn with_creds<R>(&self, f: impl FnOnce() -> R) -> R {
        // SAFETY: `self` is valid until this function returns; the override ends before, below.
        let old = unsafe { bindings::override_creds(self.as_ptr()) };

        let result = f();

        // SAFETY: `old` is what `override_creds()` returned. Overrides within `f` ended within it.
        unsafe { bindings::revert_creds(old) };

        result
    }
}

#[cfg(CONFIG_RUST_CRED_KUNIT_TEST)]
#[kunit_tests(rust_override_creds)]
mod tests {
    use super::*;

    /// Returns what this thread acts with.
    fn current_cred() -> *const bindings::cred {
        // SAFETY: Only this thread changes its own credentials.
        unsafe { (*bindings::get_current()).cred }
    }

    #[test]
    fn override_ends_with_the_closure() -> Result {
        let before = current_cred();
        let cred = Credential::prepare()?;
        assert!(!core::ptr::eq(cred.as_ptr(), before));
        assert!(cred.euid() == crate::task::Kuid::current_euid());

        let during = cred.with_creds(current_cred);
        assert!(core::ptr::eq(during, cred.as_ptr()));
        assert!(core::ptr::eq(current_cred(), before));
        Ok(())
    }

    #[test]
    fn overrides_nest() -> Result {
        let outer = Credential::prepare()?;
        let inner = Credential::prepare()?;

        let (during, after) = outer.with_creds(|| (inner.with_creds(current_cred), current_cred()));
        assert!(core::ptr::eq(during, inner.as_ptr()));
        assert!(core::ptr::eq(after, outer.as_ptr()));
        Ok(())
    }
}
