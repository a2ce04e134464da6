"""The errors that a user can act on, and suggestions for a wrong name or import path.

Catch `ExperimentPipelineError` to report, a subclass to recover. Any other exception is
a bug.
"""

import difflib
import importlib
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class ExperimentPipelineError(Exception):
    """An error a user can act on: the culprit's name, the rule that it broke, and an
    imperative fix.
    """

    def __init__(self, culprit: str, rule: str, fix: str) -> None:
        self.culprit, self.rule, self.fix = culprit, rule, fix
        super().__init__(f"{culprit}: {rule}\n  fix: {fix}")

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), (self.culprit, self.rule, self.fix)

    @property
    def with_class(self) -> str:
        """The name of the class, then the whole message."""
        return f"{type(self).__name__}: {self}"

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows: the message and the caller's line, no frames of
        this package.
        """
        package = str(Path(__file__).parent)
        line = ""
        for frame in traceback.extract_tb(self.__traceback__):
            if frame.filename.startswith(package):
                break
            line = f"in line {frame.lineno}: {frame.line}"
        return [self.with_class, line]


@contextmanager
def reported_as(
    shell: Callable[[ExperimentPipelineError], Exception],
) -> Iterator[None]:
    """Replace an `ExperimentPipelineError` by what `shell` makes of it: an error
    without a stack trace.
    """
    try:
        yield
    except ExperimentPipelineError as error:
        raise shell(error) from None


@contextmanager
def memory_errors_named(work: str) -> Iterator[None]:
    """Turn a MemoryError into NotEnoughMemory; `work` names what failed, such as "the
    stage raw_data".
    """
    try:
        yield
    except MemoryError as error:
        raise NotEnoughMemory(
            work,
            f"memory ran out: {str(error) or 'the system refused more'}",
            "Raise the memory limit, leave out columns, run on a sample of the rows, "
            "or lower `workers`.",
        ) from error


class InvalidExperiment(ExperimentPipelineError):
    """The YAML asks for something impossible."""


class DataError(ExperimentPipelineError):
    """The data cannot be used as it is."""


class UnreadableTable(DataError):
    """No table can be read from the URL."""


class InvalidSchema(DataError):
    """schema.yaml itself is wrong, or contradicts the table."""


class UnusableTable(DataError):
    """A table was read, but this experiment cannot run on it."""


class EmptySet(DataError):
    """A set (train, test or validation) would be empty, or lack a class."""


class TrainingError(ExperimentPipelineError):
    """No model could be trained as requested."""


class UnknownAlgorithm(TrainingError):
    """An algorithm's import path leads nowhere, or to something other than an
    estimator.
    """


class UnusableMetric(TrainingError):
    """A user's own metric raised, or returned something other than a number."""


class ClusterError(ExperimentPipelineError):
    """Fits on a Dask cluster cannot start or continue: no scheduler, wrong workers, or
    all are lost.
    """


class StorageError(ExperimentPipelineError):
    """A stored file or record cannot be read or written."""


class StorageUnreachable(StorageError):
    """No such bucket, no permission, no answer in time."""


class EntryCorrupt(StorageError):
    """A stored entry does not match its own digest."""


class DatabaseUnavailable(StorageError):
    """The metadata database cannot be reached, read or written."""


class NotEnoughMemory(ExperimentPipelineError):
    """Memory ran out: the system refused an allocation."""


class UnknownRun(ExperimentPipelineError):
    """No such experiment or run is recorded."""


class NotAccepted(ExperimentPipelineError):
    """A gate of the validation report failed."""


class ExportError(ExperimentPipelineError):
    """A model could not be exported, or an exported model cannot be used."""


class PredictionsChanged(ExportError):
    """The reloaded model's predictions differ from those of the fitted one."""


class InvalidModel(ExportError):
    """The path holds no exported model, or the model's files were changed."""


SHOWN_NAMES = 12


def did_you_mean(
    name: str, names: Iterable[object], *, most: int = 1, otherwise: str | None = None
) -> str:
    """Return "did you mean 'x'?"; without a close match `otherwise`, by default the
    existing names.
    """
    existing = [str(candidate) for candidate in names]
    close = difflib.get_close_matches(name, existing, n=most)
    if close:
        return f"did you mean {listed(close)}?"
    return f"there are {listed(existing)}" if otherwise is None else otherwise


def allowed_instead(wrong: str, names: Sequence[str], otherwise: str = "") -> str:
    """Return "did you mean 'x'? allowed: x, y"; the names of a long list only without
    a close match.
    """
    guess = did_you_mean(wrong, names, otherwise="")
    if guess and len(names) > SHOWN_NAMES:
        return guess
    return f"{guess or otherwise} allowed: {', '.join(names)}".lstrip()


def listed(names: Iterable[object]) -> str:
    """Return the first names in quotes, and how many more there are."""
    quoted = [repr(str(name)) for name in names]
    if not quoted:
        return "none"
    rest = len(quoted) - SHOWN_NAMES
    return ", ".join(quoted[:SHOWN_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def imported(path: str, culprit: str, what: str) -> Any:
    """Import the object at `module:name`; `culprit` is the YAML key that names it."""
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a user's module may raise anything
        raise InvalidExperiment(
            culprit,
            rule=f"{module_name} cannot be imported: {type(error).__name__}: {error}",
            fix="Correct the path, or install it.",
        ) from error
    if not hasattr(module, name):
        public = [
            attribute for attribute in dir(module) if not attribute.startswith("_")
        ]
        raise InvalidExperiment(
            culprit,
            rule=f"{module_name} has no {what} {name!r}; {did_you_mean(name, public)}",
            fix="Correct the name after the colon.",
        )
    return getattr(module, name)
