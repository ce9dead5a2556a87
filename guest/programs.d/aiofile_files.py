#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""aiofile_files.py FOLDER: writes, syncs and reads a file by aiofile.

It uses caio's Linux AIO, which announces all I/O to an eventfd: nothing can be polled.
"""

import asyncio
import hashlib
import os
import sys

from aiofile import AIOFile

BLOCK = 4096
BLOCKS = 64


async def write_and_read(path):
    """Writes blocks of their own to the file; returns what is read of it."""
    blocks = [hashlib.sha256(b"%d" % i).digest() * (BLOCK // 32) for i in range(BLOCKS)]
    async with AIOFile(path, "wb+") as file:
        await asyncio.gather(
            *(file.write_bytes(block, i * BLOCK) for i, block in enumerate(blocks))
        )
        await file.fsync()
        read = await asyncio.gather(
            *(file.read_bytes(BLOCK, i * BLOCK) for i in range(BLOCKS))
        )
    return sum(map(len, read)), read == blocks


READ, SAME = asyncio.run(write_and_read(os.path.join(sys.argv[1], "aiofile")))
print(f"result: {READ} bytes read, as they were written: {SAME}")
sys.exit(not SAME)
