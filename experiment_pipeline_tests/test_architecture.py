"""The layout: packages in one order, no import upwards, no circle, and who may touch
what.
"""

import ast
import gc
import re
import sys
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

import experiment_pipeline
from experiment_pipeline.stages.registry import STAGES
from experiment_pipeline_tests.fresh_process import printed_by
from experiment_pipeline_tests.tracking.history import write_history

PACKAGE = Path(experiment_pipeline.__file__).parent
FLOW = tuple(STAGES)
# From the ground up: each imports only what stands before it. The stages stand in the
# order of the flow, and prediction before the stage that exports a model.
ORDER = (
    "errors",
    "statistics",
    "spec",
    "table",
    "reporting",
    "storage",
    "intake",
    "tracking",
    "stages.registry",
    *(f"stages.{name}" for name in FLOW[: FLOW.index("exported_model")]),
    "prediction",
    *(f"stages.{name}" for name in FLOW[FLOW.index("exported_model") :]),
    "drafting",
    "experiment",
    "lab",
    "orchestration",
    "definitions",
    "cli",
)
# No rooms of their own: the public surface, what is read as data, the roof over the
# stages.
OUTSIDE = {"", "defs"}
DAGSTER = {"dagster", "dagster_shared", "dagster_dg_cli"}
CLUSTERS = {"distributed", "dask", "cloudpickle"}
FILE_SYSTEMS = {"fsspec", "s3fs", "upath", "requests", "boto3", "botocore"}
# The fifth is the SQLite event log: nothing public stores its events in batches.
MOST_PRIVATE_NAMES = 5
# What a framework calls by its name alone.
CALLED_BY_FRAMEWORKS: Mapping[str, str] = {
    "definitions.defs": "Dagster's code location",
    **{
        f"cli.{name}": "a command of `experiment-pipeline`"
        for name in (
            *(
                "approve",
                "choose",
                "explore",
                "lab",
                "open_request",
                "clean",
                "compare",
                "database",
                "dictionary",
                "experiments",
                "json_schema",
            ),
            *(
                "models",
                "predict",
                "refit",
                "reindex",
                "reports",
                "reproduce",
                "retire",
            ),
            *("runs", "sensitivity", "show", "sql", "watch"),
        )
    },
    "orchestration.instance.GuardedInstance": "named in dagster.yaml",
    "orchestration.instance.ProcessAwareRunLauncher": "named in dagster.yaml",
    "orchestration.instance.SqliteStorage": "named in dagster.yaml",
}
MOST_UNUSED = 2
# What may not even be loaded on the way; skrub's and pandas' own readers bring fsspec
# along.
NEVER_LOADED = {"dagster", "dagster_shared"}


def module_name(path: Path) -> str:
    """The dotted name of a module file below the package; "" for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room(module: str) -> str | None:
    """The package of ORDER that a module is in."""
    return next((name for name in ORDER if f"{module}.".startswith(f"{name}.")), None)


@cache
def text(module: str) -> str:
    """The source of a module."""
    return MODULES[module].read_text(encoding="utf-8")


@cache
def tree(module: str) -> ast.Module:
    """The parsed source of a module.

    Before Python 3.11.8 the parser fails when a collection in its middle runs code that
    parses.
    """
    gc.disable()
    try:
        return ast.parse(text(module))
    finally:
        gc.enable()


def nodes(kind: Any, *modules: str) -> Iterator[Any]:
    """All nodes of a kind, or of several, in modules."""
    for module in modules:
        yield from (node for node in ast.walk(tree(module)) if isinstance(node, kind))


def imported(module: str) -> Iterator[str]:
    """Every module or name that a module imports, at its top or inside a function."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(module: str) -> set[str]:
    """The modules of the package that a module imports."""
    found = set()
    for name in imported(module):
        top, _, below = name.partition(".")
        if top == PACKAGE.name:
            found.add(below if below in MODULES else below.rpartition(".")[0])
    return found - {module}


def foreign(module: str, packages: Collection[str]) -> bool:
    """Whether a module imports one of these packages."""
    return any(name.partition(".")[0] in packages for name in imported(module))


def test_every_module_has_a_room():
    """No module lies loose beside the packages of the tree, every child of `stages`
    included.
    """
    outside = [name for name in MODULES if room(name) is None]
    loose = [
        name
        for name in outside
        if name != "stages" and name.split(".")[0] not in OUTSIDE
    ]
    assert loose == []


def test_no_import_points_upwards():
    """A package imports only packages before it in the order, also inside functions."""
    upward = {
        (module, own_import)
        for module in MODULES
        for own_import in own_imports(module)
        if (here := room(module)) and (there := room(own_import))
        if ORDER.index(there) > ORDER.index(here)
    }
    assert upward == set()


def test_no_module_stands_in_a_circle():
    """Modules import each other in one direction, also inside functions and
    for types.
    """
    graph = {module: own_imports(module) for module in MODULES if room(module)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize(
    ("libraries", "homes"),
    [
        (DAGSTER, ("orchestration.", "definitions")),
        (FILE_SYSTEMS, ("storage.", "tracking.", "intake.sources")),
        (CLUSTERS, "stages.search.dask_"),
    ],
    ids=["Dagster", "a file system or a network", "Dask"],
)
def test_a_library_is_imported_by_its_own_rooms_alone(libraries, homes):
    """Nothing else knows it."""
    users = {module for module in MODULES if foreign(module, libraries)}
    assert {module for module in users if not f"{module}.".startswith(homes)} == set()


def test_only_the_component_loads_dagster():
    """What was tried is answered before libraries of a run are loaded; Dagster is, if
    asked for.
    """
    write_history()
    shells = {"orchestration", "definitions"}
    modules = [
        f"{PACKAGE.name}.{module}"
        for module in MODULES
        if room(module) not in {None, *shells}
    ]
    script = (
        "import importlib, sys, experiment_pipeline as package\n"
        "assert 'Experiment' in dir(package)\n"
        "assert len(package.runs('flight_delay')) == 4\n"
        "assert len(package.experiments()) == 1\n"
        "assert len(package.leaderboard('flight_delay')) == 2\n"
        "assert not {'dagster', 'sklearn', 'lightgbm', 'matplotlib', 'pandera'} & "
        "sys.modules.keys()\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        f"assert not {NEVER_LOADED!r} & sys.modules.keys()\n"
        "assert package.Experiment.__name__ == 'Experiment'\n"
        "assert 'dagster' in sys.modules\n"
        "assert not hasattr(package, 'Experimnt')\n"
    )
    printed_by(script)


def test_definitions_load_without_what_runs_them():
    """Whoever only loads definitions does not wait for the flow and its libraries."""
    printed_by(
        "import sys\n"
        "from experiment_pipeline.definitions import defs\n"
        "assert defs().jobs\n"
        "assert not {'experiment_pipeline.experiment.flow', 'sklearn', 'scipy',"
        " 'lightgbm', 'hypothesis'} & sys.modules.keys()\n"
    )


def test_what_is_imported_is_declared():
    """Each library is a dependency or of an extra; Dask and cloudpickle come with
    `distributed`.
    """
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    wanted = sum(project["optional-dependencies"].values(), project["dependencies"])
    declared = {re.match(r"[\w-]+", one)[0] for one in wanted} | {"dask", "cloudpickle"}
    tops = {name.partition(".")[0] for module in MODULES for name in imported(module)}
    known = packages_distributions()
    assert not [
        top
        for top in tops - sys.stdlib_module_names - {PACKAGE.name, "_typeshed"}
        if not declared
        & {name.lower().replace("_", "-") for name in known.get(top, ())}
    ]


def test_a_class_name_has_one_meaning():
    """No two classes of the package share a name, private ones included."""
    homes: dict[str, list[str]] = {}
    for module in MODULES:
        for node in nodes(ast.ClassDef, module):
            homes.setdefault(node.name.lstrip("_"), []).append(f"{module}.{node.name}")
    shared = {name for name, places in homes.items() if len(places) > 1}
    assert_few(shared, 0, "names several classes: rename all but one")


def test_few_private_names_of_dagster_are_imported():
    """What `dagster` itself does not export may break with its next version."""
    private = {
        f"{module}: {name}"
        for module in MODULES
        for name in imported(module)
        if re.match(r"dagster(_\w+)?\.\w+\.|dagster_\w+\.", name)
    }
    assert_few(private, MOST_PRIVATE_NAMES, "is private: use what Dagster exports")


def test_text_takes_the_level_of_confidence_from_the_interval():
    """The level is a constant: no text outside docstrings repeats it as "95 %"."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    repeated = list[str]()
    for module in MODULES:
        docstrings = {
            id(node.body[0].value)
            for node in nodes(documented, module)
            if ast.get_docstring(node)
        }
        repeated += [
            f"{module}:{constant.lineno}"
            for constant in nodes(ast.Constant, module)
            if isinstance(constant.value, str)
            and id(constant) not in docstrings
            and "95 %" in constant.value
        ]
    assert repeated == []


@pytest.mark.parametrize(
    ("does", "home"),
    [
        (lambda module: foreign(module, {"hashlib"}), "table.digests"),
        (lambda module: "get_close_matches" in text(module), "errors"),
        (
            lambda module: any(map(asks_for_a_dtype, ast.walk(tree(module)))),
            "table.kinds",
        ),
        # pandas drops `attrs` when it likes: facts about a table travel as frozen
        # dataclasses.
        (
            lambda module: (
                "attrs" in {one.attr for one in nodes(ast.Attribute, module)}
            ),
            "a frozen dataclass",
        ),
    ],
    ids=[
        "to hash",
        "to find close names",
        "to tell kinds of columns",
        "to read DataFrame.attrs",
    ],
)
def test_what_is_decided_once_has_one_home(does: Callable[[str], bool], home: str):
    """Nobody chooses an algorithm, an encoding or an answer again: who needs one asks
    its home.
    """
    users = {module for module in MODULES if does(module)} - {home}
    assert_few(users, 0, f"does so itself: ask {home}")


def test_no_call_fills_fixed_parameters_from_an_unpacked_tuple():
    """A reader sees at the call which value goes where; variadic calls may unpack."""
    variadic: dict[str, bool] = {}
    for module in MODULES:
        for node in nodes(ast.FunctionDef | ast.ClassDef, module):
            takes_any = isinstance(node, ast.FunctionDef) and bool(node.args.vararg)
            variadic[node.name] = takes_any or variadic.get(node.name, False)
    packed = {
        f"{module}:{call.lineno} {ast.unparse(call.func)}"
        for module in MODULES
        for call in nodes(ast.Call, module)
        for argument in call.args
        if isinstance(argument, ast.Starred)
        if isinstance(argument.value, ast.Tuple | ast.List)
        or (
            ast.unparse(call.func).partition(".")[0] in own_names(module)
            and not variadic.get(ast.unparse(call.func).rpartition(".")[2], True)
        )
    }
    assert_few(packed, 0, "unpacks a tuple to fill parameters: name them")


def own_names(module: str) -> set[str]:
    """The names in a module that the package defines."""
    body = tree(module).body
    names = {
        one.name for one in body if isinstance(one, ast.FunctionDef | ast.ClassDef)
    }
    for node in nodes(ast.ImportFrom, module):
        if (node.module or "").startswith(PACKAGE.name):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def test_what_production_code_does_not_call_is_not_there():
    """Every public name is used in the package, outside its own definition, or
    exported.
    """
    uses = {use for module in MODULES for use in used_elsewhere(module)}
    unused = {
        f"{module}.{name}"
        for module in MODULES
        for name, definition in public_names(module)
        if (module, name) not in uses and not used_inside(module, name, definition)
    }
    unused -= CALLED_BY_FRAMEWORKS.keys()
    public = set(experiment_pipeline.__all__)
    unused = {name for name in unused if name.rpartition(".")[2] not in public}
    assert_few(unused, MOST_UNUSED, "is used by no code of the package: delete it")


def test_every_method_is_called_by_production_code():
    """A public method of a class that extends no framework's, and that users do not
    import, is called somewhere in the package.
    """
    public = set(experiment_pipeline.__all__)
    read = {node.attr for node in nodes(ast.Attribute, *MODULES)}
    uncalled = {
        f"{module}.{owner.name}.{method.name}"
        for module in MODULES
        for owner in nodes(ast.ClassDef, module)
        if not owner.bases and owner.name not in public
        for method in owner.body
        if isinstance(method, ast.FunctionDef) and not method.name.startswith("_")
        if method.name not in read
    }
    assert_few(uncalled, 0, "is called by no code of the package: delete it")


def assert_few(found: Collection[str], most: int, what: str) -> None:
    """Fail with every culprit, and what to do, where there are more than are known."""
    said = "\n".join(f"{culprit} {what}" for culprit in sorted(found))
    assert len(found) <= most, f"{len(found)}, at most {most}:\n{said}"


def asks_for_a_dtype(node: ast.AST) -> bool:
    """Whether a node asks what a dtype is; to compare the types of two columns asks
    nothing.
    """
    if isinstance(node, ast.Attribute):
        of_a_dtype = (
            isinstance(node.value, ast.Attribute) and node.value.attr == "dtype"
        )
        asks = bool(re.fullmatch(r"is_\w+_dtype|select_dtypes", node.attr))
        return asks or (of_a_dtype and node.attr == "kind")
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id == "isinstance" and bool(
            re.search(r"\bpd\.\w+Dtype", ast.unparse(node))
        )
    if isinstance(node, ast.Compare):
        sides = {
            isinstance(s, ast.Attribute) and s.attr
            for s in (node.left, *node.comparators)
        }
        absent = any(ast.unparse(side) == "None" for side in node.comparators)
        return "dtype" in sides and not absent and not sides <= {"dtype", "type"}
    return False


def public_names(module: str) -> Iterator[tuple[str, ast.stmt]]:
    """The public top-level names of a module and where they are defined."""
    for node in tree(module).body:
        targets: list[ast.expr] = []
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            targets = [ast.Name(node.name)]
        elif isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            for name in ast.walk(target):
                if isinstance(name, ast.Name) and not name.id.startswith("_"):
                    yield name.id, node


def used_elsewhere(module: str) -> Iterator[tuple[str, str]]:
    """The (module, name) of others that a module imports, or reads from an imported
    module.
    """
    aliases: dict[str, str] = {}
    for node in nodes(ast.ImportFrom, module):
        if (node.module or "").startswith(PACKAGE.name):
            source = (node.module or "")[len(PACKAGE.name) + 1 :]
            for alias in node.names:
                below = f"{source}.{alias.name}".lstrip(".")
                if below in MODULES:
                    aliases[alias.asname or alias.name] = below
                else:
                    yield source, alias.name
    for node in nodes(ast.Attribute, module):
        if isinstance(node.value, ast.Name) and node.value.id in aliases:
            yield aliases[node.value.id], node.attr


def used_inside(module: str, name: str, definition: ast.stmt) -> bool:
    """Whether a module reads its own name outside of the definition."""
    body = [statement for statement in tree(module).body if statement is not definition]
    return any(
        (
            isinstance(node, ast.Name)
            and node.id == name
            and not isinstance(node.ctx, ast.Store)
        )
        or (isinstance(node, ast.Constant) and node.value == name)
        for statement in body
        for node in ast.walk(statement)
    )
