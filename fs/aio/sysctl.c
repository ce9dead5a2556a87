// SPDX-License-Identifier: GPL-2.0-only
/* fs.aio-nr, fs.aio-max-nr and fs.aio-poll */
#include <linux/init.h>
#include <linux/sysctl.h>

#include "aio.h"

static const struct ctl_table aio_sysctls[] = {
	{
		.procname	= "aio-nr",
		.data		= &aio_nr,
		.maxlen		= sizeof(aio_nr),
		.mode		= 0444,
		.proc_handler	= proc_doulongvec_minmax,
	},
	{
		.procname	= "aio-max-nr",
		.data		= &aio_max_nr,
		.maxlen		= sizeof(aio_max_nr),
		.mode		= 0644,
		.proc_handler	= proc_doulongvec_minmax,
	},
	{
		.procname	= "aio-poll",
		.data		= &aio_poll_allowed,
		.maxlen		= sizeof(aio_poll_allowed),
		.mode		= 0644,
		.proc_handler	= proc_dointvec_minmax,
		.extra1		= SYSCTL_ZERO,
		.extra2		= SYSCTL_TWO,
	},
};

static int __init aio_sysctl_init(void)
{
	register_sysctl_init("fs", aio_sysctls);
	return 0;
}
device_initcall(aio_sysctl_init);
