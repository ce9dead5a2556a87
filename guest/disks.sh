# SPDX-License-Identifier: GPL-2.0-only
#
# Sourced by jobs that bring polled I/O to more than one disk: partitions of an NVMe
# namespace, file systems on them, and null_blk disks.

# nvme SERIAL: the controller of that serial number, such as nvme0
nvme() {
	for nvme_controller in /sys/class/nvme/*; do
		read -r nvme_serial <"$nvme_controller/serial"
		[ "$nvme_serial" = "$1" ] && echo "${nvme_controller##*/}"
	done
}

# le32 NUMBER: its bytes as printf takes them, the lowest first
le32() {
	printf '\\%03o\\%03o\\%03o\\%03o' $(($1 & 255)) $(($1 >> 8 & 255)) \
		$(($1 >> 16 & 255)) $(($1 >> 24 & 255))
}

# partition START SIZE: an entry of a partition table, in mebibytes
partition() {
	printf '\0\0\0\0\203\0\0\0'
	printf "$(le32 $(($1 * 2048)))$(le32 $(($2 * 2048)))"
}

# partition_table REST: one with 32, 64 and REST mebibytes
partition_table() {
	partition 1 32
	partition 33 64
	partition 97 "$1"
	printf '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\125\252'
}

# make_partitions DEVICE: cuts it into 32, 64 and all other mebibytes
make_partitions() {
	partitions_rest=$(($(blockdev --getsz "$1") / 2048 - 97))
	partition_table $partitions_rest | dd of="$1" bs=1 seek=446 conv=notrunc status=none &&
		blockdev --rereadpt "$1"
}

# make_file_systems DEVICE: ext4 on its second partition and xfs on its third, mounted
# on /run/ext4 and /run/xfs
make_file_systems() {
	mkdir -p /run/ext4 /run/xfs &&
		mke2fs -q -t ext4 "${1}p2" && mount -t ext4 "${1}p2" /run/ext4 &&
		mkfs.xfs -q -f "${1}p3" && mount -t xfs "${1}p3" /run/xfs
}

# make_null_blk NAME MEBIBYTES ATTRIBUTE=VALUE...: the disk /dev/NAME, which keeps data
# and can be polled. A polled write must find its memory there: the disk cannot wait for
# any while polled.
make_null_blk() {
	null_blk_name=$1
	null_blk_size=$2
	null_blk=/sys/kernel/config/nullb/$1
	shift 2
	mkdir "$null_blk" && echo "$null_blk_size" >"$null_blk/size" || return
	for null_blk_attribute in memory_backed=1 poll_queues=1 "$@"; do
		echo "${null_blk_attribute#*=}" >"$null_blk/${null_blk_attribute%%=*}" || return
	done
	echo 1 >"$null_blk/power" &&
		dd if=/dev/zero of="/dev/$null_blk_name" bs=1M count="$null_blk_size" \
			oflag=direct status=none
}
