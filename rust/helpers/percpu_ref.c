// SPDX-License-Identifier: GPL-2.0-only

#include <linux/percpu-refcount.h>

__rust_helper void rust_helper_percpu_ref_get(struct percpu_ref *ref)
{
	percpu_ref_get(ref);
}

__rust_helper void rust_helper_percpu_ref_get_many(struct percpu_ref *ref,
						   unsigned long nr)
{
	percpu_ref_get_many(ref, nr);
}

__rust_helper bool
rust_helper_percpu_ref_tryget_live_rcu(struct percpu_ref *ref)
{
	return percpu_ref_tryget_live_rcu(ref);
}

__rust_helper void rust_helper_percpu_ref_put(struct percpu_ref *ref)
{
	percpu_ref_put(ref);
}

__rust_helper void rust_helper_percpu_ref_put_many(struct percpu_ref *ref,
						   unsigned long nr)
{
	percpu_ref_put_many(ref, nr);
}
