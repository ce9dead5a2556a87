/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * File systems to test on, each on a null_blk disk of its own that keeps data. One is
 * made when a test first asks for it and stays for the tests after; the program calls
 * filesystem_harness_run(), which takes them all down in the end.
 */
#ifndef SELFTESTS_AIO_FILESYSTEM_H
#define SELFTESTS_AIO_FILESYSTEM_H

#include "aio_syscalls.h"
#include "kselftest_harness.h"

struct filesystem {
	const char *type;
	const char *mkfs_option;
	const char *disk;	/* names the disk and the directory that it is mounted on */
	long mebibytes;
	long tags;		/* requests that the disk takes at once */
};

static const struct filesystem ext4 __maybe_unused = {
	.type = "ext4", .mkfs_option = "-q",
	.disk = "aioext4", .mebibytes = 64, .tags = 64,
};

/* No mkfs.xfs of today makes a smaller one. */
static const struct filesystem xfs __maybe_unused = {
	.type = "xfs", .mkfs_option = "-f",
	.disk = "aioxfs", .mebibytes = 320, .tags = 64,
};

/* Does direct I/O by fs/direct-io.c, not by iomap. */
static const struct filesystem vfat __maybe_unused = {
	.type = "vfat", .mkfs_option = "-I",
	.disk = "aiovfat", .mebibytes = 64, .tags = 64,
};

static const struct filesystem ext4_of_few_tags __maybe_unused = {
	.type = "ext4", .mkfs_option = "-q",
	.disk = "aiofew", .mebibytes = 16, .tags = 4,
};

static const struct filesystem *const all_filesystems[] = {
	&ext4, &xfs, &vfat, &ext4_of_few_tags,
};

static inline void filesystem_device(const struct filesystem *fs, char *path,
				     size_t size)
{
	snprintf(path, size, "/dev/%s", fs->disk);
}

static inline void filesystem_directory(const struct filesystem *fs, char *path,
					size_t size)
{
	snprintf(path, size, "/tmp/%s", fs->disk);
}

/* Runs mkfs, quietly: its exit status, or 127 where there is none. */
static inline int run_mkfs(const struct filesystem *fs, const char *device)
{
	char program[32];
	int status;
	pid_t pid;

	snprintf(program, sizeof(program), "mkfs.%s", fs->type);
	pid = fork();
	if (!pid) {
		int null = open("/dev/null", O_RDWR);

		for (int fd = 0; fd < 3; fd++)
			dup2(null, fd);
		setenv("PATH", "/usr/sbin:/sbin:/usr/bin:/bin", 1);
		execlp(program, program, fs->mkfs_option, device, NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

static inline void filesystem_remove(const struct filesystem *fs)
{
	char directory[64];

	filesystem_directory(fs, directory, sizeof(directory));
	umount(directory);
	rmdir(directory);
	if (!access(CONFIGFS "/nullb", F_OK))
		nullb_remove(fs->disk);
}

static inline int filesystem_make(const struct filesystem *fs)
{
	const struct nullb_setting settings[] = {
		{ "memory_backed", 1 },
		{ "size", fs->mebibytes },
		{ "hw_queue_depth", fs->tags },
		{ NULL, 0 },
	};
	char device[64], directory[64];
	int fd, status;

	filesystem_remove(fs);
	fd = nullb_make(fs->disk, settings);
	if (fd < 0)
		return -1;
	close(fd);
	filesystem_device(fs, device, sizeof(device));
	filesystem_directory(fs, directory, sizeof(directory));
	status = run_mkfs(fs, device);
	if (status) {
		snprintf(skip_reason, sizeof(skip_reason), "mkfs.%s: exit status %d",
			 fs->type, status);
		return -1;
	}
	mkdir(directory, 0755);
	if (mount(device, directory, fs->type, 0, NULL)) {
		snprintf(skip_reason, sizeof(skip_reason), "mount of %s: %s", fs->type,
			 strerror(errno));
		return -1;
	}
	return 0;
}

static inline bool filesystem_is_mounted(const struct filesystem *fs)
{
	char directory[64];
	struct stat here, above;

	filesystem_directory(fs, directory, sizeof(directory));
	return !stat(directory, &here) && !stat("/tmp", &above) &&
	       here.st_dev != above.st_dev;
}

/* An unnamed, empty file, for direct I/O unless @flags say otherwise: or -1 and skip_reason. */
static inline int filesystem_open(const struct filesystem *fs, int flags)
{
	char path[PATH_MAX];
	int fd;

	if (!filesystem_is_mounted(fs) && filesystem_make(fs))
		return -1;
	filesystem_directory(fs, path, sizeof(path));
	strncat(path, "/aio-XXXXXX", sizeof(path) - strlen(path) - 1);
	fd = mkostemp(path, O_CLOEXEC | flags);
	if (fd < 0)
		snprintf(skip_reason, sizeof(skip_reason), "%s: %s", path,
			 strerror(errno));
	else
		unlink(path);
	return fd;
}

/* What test_harness_run() does, and an end to all file systems. */
static inline int filesystem_harness_run(int argc, char **argv)
{
	int ret = test_harness_run(argc, argv);

	for (size_t i = 0; i < ARRAY_SIZE(all_filesystems); i++)
		filesystem_remove(all_filesystems[i]);
	return ret;
}

#endif /* SELFTESTS_AIO_FILESYSTEM_H */
