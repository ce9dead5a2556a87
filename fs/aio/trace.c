// SPDX-License-Identifier: GPL-2.0-only
/* The events of aio, for the callers in trace.rs. */

#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include <trace/events/aio.h>
