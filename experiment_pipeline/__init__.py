"""Machine-learning experimentation as a Dagster asset graph: one YAML file each.

The public Python API, for notebooks and other packages, stands in `__init__.pyi`;
modules below it may move. Each name is loaded on first access: neither importing
`experiment_pipeline` nor querying past runs loads Dagster.
"""

import sys
from importlib.metadata import version

import lazy_loader

__version__ = version("experiment-pipeline")
__getattr__, _, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __dir__() -> list[str]:
    # In a project that uses this package, each Dagster process loads every listed name,
    # to see whether it is a component. An interactive prompt (it has `ps1`) completes
    # names, so it gets all of them.
    return __all__ if hasattr(sys, "ps1") else ["Experiment"]
