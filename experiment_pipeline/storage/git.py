"""Running git: one function, without prompts, without the caller's repository variables.

What is asked of git lives in `origin.py` and `repository.py`. In: arguments. Out: what
git printed, or `GitFailed` with git's own message, credentials removed.
"""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from experiment_pipeline.storage.documents import without_credentials

SECONDS = 60
# Set inside git hooks; they would point every command here at the hook's repository.
_OF_A_REPOSITORY = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_QUARANTINE_PATH",
)


class GitFailed(Exception):
    """git ended with an error, gave no answer in time, or is not installed."""


def git(
    directory: Path,
    *arguments: str,
    stdin: bytes | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run git in a directory and return what it printed, without the last line break.

    Raises:
        GitFailed: with git's message, in English, without credentials.
    """
    inherited = {k: v for k, v in os.environ.items() if k not in _OF_A_REPOSITORY}
    quiet = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
    ssh = {"GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=20"}
    try:
        done = subprocess.run(  # noqa: S603 - no shell; the arguments are built by this project
            ["git", *arguments],  # noqa: S607 - the user's git is the one on their PATH
            cwd=directory,
            input=b"" if stdin is None else stdin,
            env={**ssh, **inherited, **quiet, **(environment or {})},
            capture_output=True,
            timeout=SECONDS,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).decode(errors="replace").strip()
        raise GitFailed(without_credentials(said) or f"exit code {error.returncode}") from None
    except subprocess.TimeoutExpired:
        raise GitFailed(f"no answer within {SECONDS} s") from None
    except FileNotFoundError:
        raise GitFailed("git is not installed") from None
    return done.stdout.decode(errors="replace").rstrip("\n")
