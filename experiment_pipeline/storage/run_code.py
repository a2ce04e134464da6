"""The code that a run used: the user's own modules and the uncommitted changes, without
secrets.

Files that are named like secrets, or ignored by git, are not kept. In the others, text
that looks like a secret is masked. Everything left out or masked is listed.
"""

import ast
import inspect
import linecache
import os
import re
import symtable
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from importlib.abc import InspectLoader
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import Any

from experiment_pipeline.errors import InvalidExperiment, listed
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.storage import provenance
from experiment_pipeline.storage.masking import is_named_like_secrets, masked
from experiment_pipeline.storage.provenance import (
    CODE,
    PATCH,
    CodeProvenance,
    GitFailed,
    git,
)
from experiment_pipeline.table.digests import sha256, written

# Limit for a patch, for all modules together, and for a file: git treats larger ones as
# binary.
MOST_CHARACTERS = 1_000_000
_MAIN = "__main__"
# The key of the source digest in `own_code`, beside names of distributions.
SOURCE = "source"
# Not a user's module: the empty name, and this package except modules beside the YAML
# files.
_NOT_OWN = re.compile(rf"$|{__name__.partition('.')[0]}(?!\.defs\.)(\.|$)")
_BINARY = re.compile("(?m)^Binary files .* differ$|\N{REPLACEMENT CHARACTER}")
_DIFF = (
    "--no-optional-locks",
    "-c",
    "core.quotePath=false",
    "-c",
    "diff.suppressBlankEmpty=false",
    "-c",
    f"core.bigFileThreshold={MOST_CHARACTERS}",
    "diff",
    "--unified=3",
    "--no-renames",
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--ignore-submodules=all",
    "--src-prefix=a/",
    "--dst-prefix=b/",
)


@dataclass(frozen=True)
class RunCode:
    """The code of a run, as texts: the user's modules below `code/`, and the patch of
    uncommitted changes.
    """

    provenance: CodeProvenance
    files: Mapping[str, str] = field(repr=False)
    packages: Mapping[str, str | None]  # installed distribution → version
    left_out: str  # a sentence on what was left out or masked


def run_code(spec: ExperimentSpec, directory: Path) -> RunCode:
    """Return the code that an experiment of a project's directory uses now."""
    paths = [_module_and_name(path) for path in spec.import_paths]
    files, installed = _own_files(module for module, _ in paths)
    code = provenance.code_provenance(directory)
    changes: dict[str, str] = {}
    left_out: dict[str, str] = {}  # name → why
    try:
        ignored = [place for place, file in files.items() if _is_ignored(file)]
        left_out |= dict.fromkeys(ignored, "ignored by git")
        changes = _changes(code, directory, files.values())
    except GitFailed as error:
        left_out["uncommitted changes"] = f"git reports {error}"
    texts = _texts_of_main(name for module, name in paths if module == _MAIN)
    for place in files.keys() - left_out:
        texts[place] = files[place].read_text("utf-8", "replace")
    recorded = _without_secrets(texts, left_out)
    if patch := "".join(_without_secrets(changes, left_out).values()):
        recorded[PATCH] = patch
    return RunCode(
        provenance=code,
        files=recorded,
        packages=dict(provenance.environment((), installed).packages),
        left_out=_reasons(left_out),
    )


def _texts_of_main(names: Iterable[str]) -> dict[str, str]:
    return {f"{CODE}{_MAIN}/{name}.py": source_in_main(name) for name in names}


def _reasons(left_out: Mapping[str, str]) -> str:
    reasons = [f"{name}: {why}" for name, why in left_out.items()]
    return listed(reasons) if reasons else ""


def _module_and_name(path: str) -> tuple[str, str]:
    module, name = re.split(r"[:.](?=\w+$)", path)
    return module, name


def _is_ignored(file: Path) -> bool:
    # Exit code 1: it is not ignored; 128: it is not in a repository.
    codes = (0, 1, 128)
    return bool(git(file.parent, "check-ignore", "--", file.name, accepted=codes))


def _changes(
    code: CodeProvenance, directory: Path, used: Iterable[Path]
) -> dict[str, str]:
    """Path → diff against the commit, for changed tracked files and for new files that
    are used.
    """
    if not (code.commit and code.dirty):
        return {}
    top = Path(git(directory, "rev-parse", "--show-toplevel"))
    patches = [git(top, *_DIFF, "HEAD")]
    inside = [str(file.relative_to(top)) for file in used if file.is_relative_to(top)]
    if inside:
        listing = ("ls-files", "--others", "--exclude-standard", "-z", "--", *inside)
        untracked = git(top, "--literal-pathspecs", *listing).split("\0")[:-1]
        for name in untracked:
            compared = ("--no-index", "--", os.devnull, name)
            patches.append(git(top, *_DIFF, *compared, accepted=(0, 1)))
    changes = {}
    text = "".join(f"{patch}\n" for patch in patches if patch)
    for section in filter(None, re.split(r"(?m)^(?=diff --git )", text)):
        header = section.partition("\n")[0].removeprefix("diff --git ")
        # The header has the path twice, with a/ and with b/.
        path = header[: len(header) // 2].strip('"')[2:]
        changes[path] = section
    return changes


# --- Secrets ---


def _without_secrets(
    texts: Mapping[str, str], left_out: dict[str, str]
) -> dict[str, str]:
    """Return name → masked text; what is left out or masked is added to `left_out`."""
    without_secrets = dict[str, str]()
    characters = 0
    for name, text in sorted(texts.items(), key=lambda pair: len(pair[1])):
        if is_named_like_secrets(name):
            left_out[name] = "named like a file of secrets"
        elif _BINARY.search(text) or characters + len(text) > MOST_CHARACTERS:
            left_out[name] = "not text, or beyond 1 MB"
        elif text:
            characters += len(text)
            without_secrets[name] = masked(text, python=name.endswith(".py"))
            if without_secrets[name] != text:
                left_out[name] = "masked where it looks like a secret"
        elif name.startswith(CODE + _MAIN):
            left_out[name] = "its source is unknown"
    return dict(sorted(without_secrets.items()))


# --- Modules ---


def _own_files(modules: Iterable[str]) -> tuple[dict[str, Path], set[str]]:
    """Return (name below `code/` → file) of the user's modules and of those that they
    import from the same folder of `sys.path`; and the top-level packages of installed
    modules.
    """
    files: dict[str, Path] = {}
    installed: set[str] = set()
    for module in modules:
        # A module that cannot be imported, which the run reports; or __main__.
        with suppress(ImportError, ValueError, SyntaxError):
            spec = find_spec(module)
            file = Path((spec and spec.origin) or "")
            if _is_installed(file):
                installed.add(module.partition(".")[0])
            elif file.suffix == ".py":
                depth = module.count(".") + (file.name == "__init__.py")
                _add_with_imports(files, module, file.parents[depth])
    return files, installed - {"sklearn"}  # scikit-learn's version is always recorded


def _is_installed(file: Path) -> bool:
    standard_library = Path(os.__file__).parent
    site = {"site-packages", "dist-packages"}
    return not site.isdisjoint(file.parts) or standard_library in file.parents


def _add_with_imports(files: dict[str, Path], module: str, folder: Path) -> None:
    """Add (name below `code/` → file) of a module, and those of a folder that it
    imports.
    """
    waiting = [module]
    for name in waiting:
        if _NOT_OWN.match(name):
            continue
        for ending in (".py", "/__init__.py"):
            place = name.replace(".", "/") + ending
            file = (folder / place).resolve()
            key = CODE + place
            if file.is_file() and key not in files:
                files[key] = file
                waiting += _imported(name, file)


def _imported(module: str, file: Path) -> Iterator[str]:
    """The parent package of a module, and its imports: modules, and names that may be
    modules.
    """
    parent = module.rpartition(".")[0]
    package = module if file.name == "__init__.py" else parent
    yield parent
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            yield base
            for alias in node.names:
                yield f"{base}.{alias.name}"


# --- Functions and classes of a notebook ---


def source_in_main(name: str) -> str:
    """Return the source of a function or class defined in a notebook or script; "" if
    unknown.
    """
    definition = getattr(sys.modules[_MAIN], name, None)
    members = (definition, *getattr(definition, "__dict__", {}).values())
    functions = [
        inspect.unwrap(member) for member in members if inspect.isfunction(member)
    ]
    files = [function.__code__.co_filename for function in functions]
    # Without a function that names its file, cells are searched, the latest first.
    for file in files or reversed(_files_of_main()):
        if source := _definition(name, file):
            return source
    with suppress(OSError):
        return "\n".join(map(inspect.getsource, functions))
    return ""


def _files_of_main() -> list[str]:
    """The script, and the cells: cached texts that have no modification time."""
    cells = [
        file
        for file, cached in linecache.cache.items()
        if len(cached) > 1 and cached[1] is None
    ]
    return [getattr(sys.modules[_MAIN], "__file__", None) or "", *cells]


def _definition(name: str, file: str) -> str:
    """The text of a function or class, with its decorators, in a file; "" if it is not
    there.
    """
    lines = linecache.getlines(file)
    with suppress(SyntaxError):
        for node in ast.parse("".join(lines)).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
                decorators = [decorator.lineno for decorator in node.decorator_list]
                first = min([node.lineno, *decorators])
                return "".join(lines[first - 1 : node.end_lineno])
    return ""


def module_of_main(names: Iterable[str]) -> str:
    """Return the text of a module with functions and classes of a notebook, and with
    the imports, functions and classes that they use.

    InvalidExperiment: they use something else from the notebook.
    """
    imports: set[str] = set()
    definitions: list[str] = []
    for used in _used_in_main(names):
        if statement := _import_statement(used.name, used.value):
            imports.add(statement)
        elif used.source and not used.source[0].isspace():
            definitions.append(used.source)
        else:
            raise InvalidExperiment(
                used.name,
                rule=f"{used.user} uses {used.name} of the notebook, which is not an "
                "import, function or class",
                fix="Pass it as an argument, or write the module.",
            )
    head = "\n".join(['"""Written from a notebook."""', "", *sorted(imports)])
    return "\n\n\n".join([head, *definitions]) + "\n"


@dataclass(frozen=True)
class _Used:
    """A name of the notebook, and the function or class that uses it."""

    name: str
    value: Any
    source: str  # of a function or class of the notebook; indented: of methods alone
    user: str


def _used_in_main(names: Iterable[str]) -> list[_Used]:
    """These functions and classes of a notebook and all that they use, each after what
    it uses itself.
    """
    values = vars(sys.modules[_MAIN])
    visited: dict[str, _Used] = {}

    def visit(name: str, user: str) -> None:
        if name in visited or name not in values or name.startswith("__"):
            return
        value = values[name]
        source = source_in_main(name).rstrip() if _home(value) == _MAIN else ""
        # Set first, as it may refer to itself.
        visited[name] = _Used(name, value, source, user)
        for used in sorted(_names_in(source)):
            visit(used, user=name)
        visited[name] = visited.pop(name)

    for name in names:
        visit(name, user=name)
    return list(visited.values())


def _home(value: object) -> str | None:
    return getattr(value, "__module__", None)


def _import_statement(name: str, value: object) -> str:
    """The import that gives a notebook's name its value; "" if none does."""
    home = _home(value)
    original = getattr(value, "__name__", name)
    alias = "" if original == name else f" as {name}"
    if inspect.ismodule(value):
        return f"import {original}{alias}"
    if home in {None, _MAIN}:
        return ""
    if getattr(sys.modules.get(home), original, None) is not value:
        return ""
    return f"from {home} import {original}{alias}"


def _names_in(source: str) -> set[str]:
    """The global names that a source uses."""
    with suppress(SyntaxError):  # methods without their class are indented
        return _globals(symtable.symtable(source, _MAIN, "exec"))
    return set()


def _globals(scope: symtable.SymbolTable) -> set[str]:
    top = scope.get_type() == "module"
    names = set()
    for symbol in scope.get_symbols():
        if symbol.is_referenced() and (top or symbol.is_global()):
            names.add(symbol.get_name())
    return names.union(*map(_globals, scope.get_children()))


# --- Digests of code, for fingerprints ---


def own_code(path: str) -> dict[str, str | None]:
    """Return `_module_code` of an import path's module or, in a notebook, a digest of
    the object's source and of all it uses.

    InvalidExperiment: its source is unknown.
    """
    module, name = _module_and_name(path)
    if module != _MAIN:
        return _module_code(module)
    if not source_in_main(name):
        raise InvalidExperiment(path, "its source is unknown", "Move it into a module.")
    texts = [
        f"{used.name} = {used.source or _value_or_origin(used.value)}"
        for used in _used_in_main([name])
    ]
    return {SOURCE: sha256("\n".join(texts).encode())}


def _value_or_origin(value: Any) -> str:
    """A constant's value in words, or where a module, function or class comes from; ""
    for a table.
    """
    if inspect.ismodule(value):
        return f"{value.__name__} of {_module_code(value.__name__)}"
    if inspect.isclass(value) or inspect.isroutine(value):
        home = _home(value)
        return f"{value.__name__} of {_module_code(home)}" if home else ""
    if hasattr(value, "get_params"):  # an estimator: its repr shortens long values
        value = [type(value).__name__, value.get_params()]
    with suppress(ValueError):
        return written(value)
    return ""


def _module_code(module: str) -> dict[str, str | None]:
    """Return a digest of the source of a module and of the user's modules that it
    imports, and the versions of the distributions it belongs to.
    """
    files, _ = _own_files([module])
    texts = [file.read_bytes() for _, file in sorted(files.items())]
    # No such module: its use will raise an error.
    with suppress(ImportError, ValueError):
        spec = None if texts else find_spec(module)
        if spec and isinstance(spec.loader, InspectLoader):
            # None for a compiled module, which its package's version covers.
            texts = [(spec.loader.get_source(module) or "").encode()]
    # Not cached: modules are reloaded.
    source = sha256(b"\0".join(texts)) if any(texts) else None
    distributions = {*provenance.owners().get(module.partition(".")[0], ())}
    versions = {name: metadata.version(name) for name in sorted(distributions)}
    return {SOURCE: source, **versions}


def source_digests(paths: Iterable[str]) -> dict[str, str | None]:
    """Return import path (module:name) → digest of the user's own code behind it."""
    return {path: own_code(path)[SOURCE] for path in paths}


def metric_sources(spec: ExperimentSpec) -> dict[str, dict[str, str | None]]:
    """Return the digests of the code of a user's own metrics, for a fingerprint; empty
    without any.
    """
    paths = [name for name in spec.metric_names if ":" in name]
    return {"metrics": source_digests(paths)} if paths else {}
