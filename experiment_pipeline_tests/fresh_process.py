"""Code in a process of its own, where nothing is imported yet."""

import os
import subprocess
import sys


def printed_by(code: str, *arguments: str, **variables: str) -> str:
    """What the code prints, which must end well, with these variables of the
    environment as well.
    """
    command, known = [sys.executable, "-c", code, *arguments], os.environ | variables
    done = subprocess.run(
        command, env=known, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return done.stdout.strip()
