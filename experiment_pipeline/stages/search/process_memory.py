"""The peak of memory of this process, as the operating system has counted it."""

import re
import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak_memory_bytes() -> int:
    """Return the most resident memory of this process since it began."""
    if _STATUS.exists():
        # Not ru_maxrss: through fork and exec that one starts from the parent's peak.
        kibibytes = re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
        if kibibytes is not None:
            return 1024 * int(kibibytes[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts in bytes, other systems in KiB.
    return peak if sys.platform == "darwin" else 1024 * peak
