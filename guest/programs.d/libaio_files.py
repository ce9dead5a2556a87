#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""libaio_files.py FOLDER: direct reads and writes of a file, and fsync among them, by the
libaio module of PyPI, in one context.
"""

import hashlib
import mmap
import os
import sys

import libaio

BLOCK = 4096
BLOCKS = 128
DEPTH = 16


def block_of(number):
    """What a block of the file holds."""
    return hashlib.sha256(b"%d" % number).digest() * (BLOCK // 32)


def blocks(mode, descriptor):
    """A transfer for each block of the file, of aligned memory."""
    for number in range(BLOCKS):
        memory = mmap.mmap(-1, BLOCK)
        if mode == libaio.AIOBLOCK_MODE_WRITE:
            memory[:] = block_of(number)
        yield libaio.AIOBlock(
            mode=mode,
            target_file=descriptor,
            buffer_list=[memory],
            offset=number * BLOCK,
        )


def transfer(context, mode, descriptor):
    """Does all transfers, DEPTH of them and an fsync at a time."""
    transfers = list(blocks(mode, descriptor))
    moved = 0
    for start in range(0, BLOCKS, DEPTH):
        sync = libaio.AIOBlock(mode=libaio.AIOBLOCK_MODE_FSYNC, target_file=descriptor)
        batch = transfers[start : start + DEPTH] + [sync]
        context.submit(batch)
        events = context.getEvents(min_nr=None)
        assert len(events) == len(batch), events
        moved += sum(result for _, result, _ in events)
    return moved, transfers


DESCRIPTOR = os.open(
    os.path.join(sys.argv[1], "libaio"), os.O_CREAT | os.O_RDWR | os.O_TRUNC | os.O_DIRECT
)
with libaio.AIOContext(DEPTH + 1) as CONTEXT:
    WRITTEN, _ = transfer(CONTEXT, libaio.AIOBLOCK_MODE_WRITE, DESCRIPTOR)
    READ, TRANSFERS = transfer(CONTEXT, libaio.AIOBLOCK_MODE_READ, DESCRIPTOR)
SAME = all(
    bytes(transfer.buffer_list[0]) == block_of(number) for number, transfer in enumerate(TRANSFERS)
)
print(f"result: {WRITTEN} bytes written, {READ} read, the same: {SAME}")
sys.exit(not SAME)
