# SPDX-License-Identifier: GPL-2.0-only
# Polled AIO for Linux: `make help` lists the verbs; xtask/ does the work.
#
#   KERNEL=c          the stock C fs/aio.c instead of the Rust one
#   KERNEL_SRC=DIR    your own Linux 7.3 tree instead of Debian's linux-source-7.3
#   MODE=NAME         adds configs/NAME.config to the kernel's configuration
#   ARCH=arm64        for kernel, test and shell: 64-bit Arm, cross-built and emulated
#   DEB_CONFIG=WHICH  for deb: cloud, amd64, or the path of a configuration

export KERNEL KERNEL_SRC MODE ARCH DEB_CONFIG

XTASK := cargo run --quiet --release --locked --manifest-path xtask/Cargo.toml --
VERBS := run test bench soak kernel shell check series deb help

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: $(VERBS)
$(VERBS):
	@$(XTASK) $@
