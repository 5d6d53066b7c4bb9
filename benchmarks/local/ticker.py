"""Prints COUNT lines PAUSE milliseconds apart: `@NANOSECONDS@`, the monotonic clock of this machine just before the write."""

import os
import sys
import time

for _ in range(int(sys.argv[1])):
    time.sleep(int(sys.argv[2]) / 1000)
    os.write(1, b"@%d@\n" % time.monotonic_ns())
