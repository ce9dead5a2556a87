#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""caio_files.py FOLDER: writes, syncs and reads a file by caio's Linux AIO.

caio announces all its I/O to an eventfd, so nothing of it can be polled.
"""

import asyncio
import hashlib
import os
import sys

from caio.linux_aio_asyncio import AsyncioContext

BLOCK = 4096
BLOCKS = 256


async def write_and_read(path):
    """Writes blocks of their own to the file; returns what is read of it."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_TRUNC)
    async with AsyncioContext(max_requests=32) as context:
        blocks = [hashlib.sha256(b"%d" % i).digest() * (BLOCK // 32) for i in range(BLOCKS)]
        written = await asyncio.gather(
            *(context.write(block, descriptor, i * BLOCK) for i, block in enumerate(blocks))
        )
        await asyncio.gather(context.fsync(descriptor), context.fdsync(descriptor))
        read = await asyncio.gather(
            *(context.read(BLOCK, descriptor, i * BLOCK) for i in range(BLOCKS))
        )
    os.close(descriptor)
    return sum(written), read == blocks


WRITTEN, SAME = asyncio.run(write_and_read(os.path.join(sys.argv[1], "caio")))
print(f"result: {WRITTEN} bytes written, the same read: {SAME}")
sys.exit(not SAME)
