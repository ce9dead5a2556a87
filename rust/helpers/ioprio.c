// SPDX-License-Identifier: GPL-2.0-only

#include <linux/ioprio.h>

__rust_helper int rust_helper_get_current_ioprio(void)
{
	return get_current_ioprio();
}

#ifndef CONFIG_BLOCK
__rust_helper int rust_helper_ioprio_check_cap(int ioprio)
{
	return ioprio_check_cap(ioprio);
}
#endif
