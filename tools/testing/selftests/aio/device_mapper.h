/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Devices of the device mapper: pieces of others, one behind the other.
 */
#ifndef SELFTESTS_AIO_DEVICE_MAPPER_H
#define SELFTESTS_AIO_DEVICE_MAPPER_H

#include "aio_syscalls.h"

#include <linux/dm-ioctl.h>
#include <sys/sysmacros.h>

#define DM_SECTOR		512

/*
 * A piece of another device; offset and length in bytes. Or of what a target makes of
 * its parameters.
 */
struct dm_piece {
	const char *device;	/* NULL where all I/O fails */
	__u64 offset;
	__u64 len;
	const char *target;	/* in place of a device and an offset */
	const char *parameters;
};

/* Puts the name and the parameters of @piece's target where they belong. */
static inline void dm_target(const struct dm_piece *piece, char *type, size_t type_room,
			     char *parameters, size_t room)
{
	if (piece->target) {
		snprintf(type, type_room, "%s", piece->target);
		snprintf(parameters, room, "%s", piece->parameters);
		return;
	}
	snprintf(type, type_room, piece->device ? "linear" : "error");
	if (piece->device)
		snprintf(parameters, room, "%s %llu", piece->device,
			 (unsigned long long)piece->offset / DM_SECTOR);
}

/* A request to the device mapper with room for a table. */
struct dm_request {
	union {
		struct dm_ioctl header;
		char bytes[4096];
	};
};

static inline struct dm_request dm_request(const char *name)
{
	struct dm_request request = {
		.header = {
			.version = { DM_VERSION_MAJOR, 0, 0 },
			.data_size = sizeof(request),
			.data_start = sizeof(struct dm_ioctl),
		},
	};

	snprintf(request.header.name, sizeof(request.header.name), "%s", name);
	return request;
}

/* 0 or -errno. */
static inline int dm_ask(unsigned long what, struct dm_request *request)
{
	int fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
	int ret;

	if (fd < 0)
		return -errno;
	ret = ioctl(fd, what, request) ? -errno : 0;
	close(fd);
	return ret;
}

/* Puts the @nr pieces at @pieces into the request as a table. */
static inline void dm_table(struct dm_request *request, const struct dm_piece *pieces,
			    int nr)
{
	size_t at = request->header.data_start;
	__u64 start = 0;

	request->header.target_count = nr;
	for (int i = 0; i < nr; i++) {
		struct dm_target_spec *target = (void *)(request->bytes + at);
		char *parameters = (char *)(target + 1);
		size_t room = sizeof(request->bytes) - at - sizeof(*target);

		target->sector_start = start;
		target->length = pieces[i].len / DM_SECTOR;
		dm_target(&pieces[i], target->target_type, sizeof(target->target_type),
			  parameters, room);
		target->next = (sizeof(*target) + strlen(parameters) + 8) / 8 * 8;
		start += target->length;
		at += target->next;
	}
}

static inline int dm_suspend(const char *name)
{
	struct dm_request request = dm_request(name);

	request.header.flags = DM_SUSPEND_FLAG | DM_SKIP_LOCKFS_FLAG;
	return dm_ask(DM_DEV_SUSPEND, &request);
}

static inline int dm_resume(const char *name)
{
	struct dm_request request = dm_request(name);

	return dm_ask(DM_DEV_SUSPEND, &request);
}

static inline int dm_remove(const char *name)
{
	struct dm_request request = dm_request(name);

	return dm_ask(DM_DEV_REMOVE, &request);
}

/*
 * Makes the device @name of the pieces and puts its path into @path. Returns 0, or -1
 * and skip_reason.
 */
static inline int dm_make(const char *name, const struct dm_piece *pieces, int nr,
			  char *path, size_t size)
{
	struct dm_request create = dm_request(name);
	struct dm_request load = dm_request(name);
	int ret;

	dm_remove(name);
	dm_table(&load, pieces, nr);
	ret = dm_ask(DM_DEV_CREATE, &create);
	if (!ret)
		ret = dm_ask(DM_TABLE_LOAD, &load);
	if (!ret)
		ret = dm_resume(name);
	if (ret) {
		snprintf(skip_reason, sizeof(skip_reason), "the device mapper: %s",
			 strerror(-ret));
		return -1;
	}
	snprintf(path, size, "/dev/dm-%u", minor(create.header.dev));
	return 0;
}

#endif /* SELFTESTS_AIO_DEVICE_MAPPER_H */
