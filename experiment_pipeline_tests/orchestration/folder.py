"""A folder of experiments of a test's own, loaded as the code location loads
`defs/`.
"""

import importlib
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from experiment_pipeline.orchestration.component import (
    Experiment,
    load_tree,
)

SCHEMA = "columns:\n  late: {dtype: int64}\n"
YAML = """\
type: experiment_pipeline.Experiment

attributes:
  data: data/visits.csv
  target: late
  task: binary
  metric: roc_auc
  search:
    - algorithm: lightgbm
      hyperparameters:
        num_leaves: [15, 31]
"""
_numbers = itertools.count()


class ExperimentsFolder:
    """`defs/` in a package that nobody else has imported."""

    def __init__(self, root: Path) -> None:
        self.package = f"experiments_of_a_test_{next(_numbers)}"
        self.root = root
        self.defs = root / self.package / "defs"
        self.defs.mkdir(parents=True)
        for folder in (self.defs.parent, self.defs):
            (folder / "__init__.py").touch()

    def write(
        self, text: str | bytes, name: str = "visits", schema: str | None = SCHEMA
    ) -> Path:
        """Write an experiment's files; the path of its defs.yaml."""
        folder = self.defs / name
        folder.mkdir(parents=True)
        if schema is not None:
            (folder / "schema.yaml").write_text(schema)
        path = folder / "defs.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def load(self, name: str = "visits") -> Experiment:
        """Load every experiment and return one; its errors are the caller's."""
        with self._tree() as tree:
            load_tree(tree)
            return tree.load_component(self.defs / name, Experiment)

    def definitions(self) -> dg.Definitions:
        """What the code location makes of the folder."""
        with self._tree() as tree:
            return load_tree(tree)

    @contextmanager
    def _tree(self) -> Iterator[dg.ComponentTree]:
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(self.root)
            module = importlib.import_module(f"{self.package}.defs")
            yield dg.ComponentTree(defs_module=module, project_root=self.root)
