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
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from importlib.abc import InspectLoader
from importlib.util import find_spec, resolve_name
from pathlib import Path

import yaml

from experiment_pipeline.errors import InvalidExperiment, listed
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.storage import provenance
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
_MASKS = yaml.safe_load(
    (Path(__file__).parent / "masks.yaml").read_text(encoding="utf-8")
)
_DIFF = (
    *(
        "--no-optional-locks",
        "-c",
        "core.quotePath=false",
        "-c",
        "diff.suppressBlankEmpty=false",
    ),
    *(
        "-c",
        f"core.bigFileThreshold={MOST_CHARACTERS}",
        "diff",
        "--unified=3",
        "--no-renames",
    ),
    *("--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=all"),
    *("--src-prefix=a/", "--dst-prefix=b/"),
)


@dataclass(frozen=True)
class RunCode:
    """The code of a run: the user's modules below `code/` and the patch of uncommitted
    changes, as texts.
    `packages`: installed distribution → version. `left_out`: a sentence on what was
    left out or masked.
    """

    provenance: CodeProvenance
    files: Mapping[str, str]
    packages: Mapping[str, str | None]
    left_out: str


def run_code(spec: ExperimentSpec, directory: Path) -> RunCode:
    """Return the code that an experiment of a project's directory uses, as it is on
    disk now.
    """
    named = [re.split(r"[:.](?=\w+$)", one) for one in spec.import_paths]
    files, installed = _own_files([module for module, _ in named])
    known, changes = provenance.code_provenance(directory), dict[str, str]()
    left_out = dict[str, str]()
    try:
        for (
            place,
            file,
        ) in files.items():  # 1: it is not ignored; 128: not in a repository
            if git(file.parent, "check-ignore", "--", file.name, accepted=(0, 1, 128)):
                left_out[place] = "ignored by git"
        changes |= (
            _changes(directory, files.values()) if known.commit and known.dirty else {}
        )
    except GitFailed as error:
        left_out["uncommitted changes"] = f"git reports {error}"
    texts = {
        one: files[one].read_text("utf-8", "replace") for one in files.keys() - left_out
    }
    texts |= {
        f"{CODE}{_MAIN}/{name}.py": source_in_main(name)
        for of, name in named
        if of == _MAIN
    }
    kept, patch = _kept(texts, left_out), "".join(_kept(changes, left_out).values())
    packages = dict(provenance.environment((), installed).packages)
    words = (
        listed(f"{name}: {why}" for name, why in left_out.items()) if left_out else ""
    )
    return RunCode(known, kept | ({PATCH: patch} if patch else {}), packages, words)


def _kept(texts: Mapping[str, str], left_out: dict[str, str]) -> dict[str, str]:
    """Return name → masked text; texts that must not or cannot be kept are added to
    `left_out`.
    """
    kept, room = dict[str, str](), MOST_CHARACTERS
    for name, text in sorted(texts.items(), key=lambda one: len(one[1])):
        if re.search(_MASKS["files"], name, re.VERBOSE | re.IGNORECASE):
            left_out[name] = "named like a file of secrets"
        elif (
            re.search("(?m)^Binary files .* differ$|\N{REPLACEMENT CHARACTER}", text)
            or len(text) > room
        ):
            left_out[name] = "not text, or beyond 1 MB"
        elif text:
            kept[name], room = (
                _masked(text, python=name.endswith(".py")),
                room - len(text),
            )
            if kept[name] != text:
                left_out[name] = "masked where it looks like a secret"
        elif name.startswith(CODE + _MAIN):
            left_out[name] = "its source is unknown"
    return dict(sorted(kept.items()))


def _masked(text: str, *, python: bool) -> str:
    """The text with `***` in place of everything that looks like a secret; line numbers
    are kept.
    """

    def hidden(found: re.Match[str]) -> str:
        first, *others = found["secret"].split("\n")
        if re.fullmatch(_MASKS["template"], first, re.VERBOSE):
            return found[0]
        # In a diff, each line of a multi-line key keeps its marker (+, -).
        stars = ["***", *(re.sub(r"^([+ -]?).*", r"\1***", one) for one in others)]
        return found[0].removesuffix(found["secret"]) + "\n".join(stars)

    for pattern in [*_MASKS["texts"], *([] if python else [_MASKS["unquoted"]])]:
        text = re.sub(
            pattern.replace("@key@", _MASKS["key"]), hidden, text, flags=re.VERBOSE
        )
    return text


def _changes(directory: Path, used: Iterable[Path]) -> dict[str, str]:
    """Path → diff against the commit, for changed tracked files and for new files that
    are used.
    """
    top = Path(git(directory, "rev-parse", "--show-toplevel"))
    patches = [git(top, *_DIFF, "HEAD")]
    if inside := [
        str(file.relative_to(top)) for file in used if file.is_relative_to(top)
    ]:
        listing = ("ls-files", "--others", "--exclude-standard", "-z", "--", *inside)
        new = git(top, "--literal-pathspecs", *listing).split("\0")[:-1]
        compared = (*_DIFF, "--no-index", "--", os.devnull)
        patches += [git(top, *compared, name, accepted=(0, 1)) for name in new]
    found, patch = dict[str, str](), "".join(f"{one}\n" for one in patches if one)
    for section in filter(None, re.split(r"(?m)^(?=diff --git )", patch)):
        header = section.partition("\n")[0].removeprefix("diff --git ")
        # The header has the path twice, with a/ and with b/.
        found[header[: len(header) // 2].strip('"')[2:]] = section
    return found


def _own_files(modules: Iterable[str]) -> tuple[dict[str, Path], set[str]]:
    """Return (name below `code/` → file) of the user's modules and of those that they
    import from the same folder of `sys.path`; and the top-level packages of installed
    modules.
    """
    own, installed, library = dict[str, Path](), set[str](), Path(os.__file__).parent
    for module in modules:
        with suppress(
            ImportError, ValueError, SyntaxError
        ):  # the run will report it; or __main__
            found, waiting = find_spec(module), list[str]()
            file = Path((found and found.origin) or "")
            if {"site-packages", "dist-packages"} & {
                *file.parts
            } or library in file.parents:
                installed.add(module.partition(".")[0])
            elif file.suffix == ".py":
                waiting.append(module)
            folder = Path(
                *file.parts[: -1 - module.count(".") - (file.name == "__init__.py")]
            )
            for name in waiting:
                for ending in (".py", "/__init__.py"):
                    place = name.replace(".", "/") + ending
                    file, key = (folder / place).resolve(), CODE + place
                    if key not in own and not _NOT_OWN.match(name) and file.is_file():
                        own[key] = file
                        waiting += _imported(name, file)
    return own, installed - {"sklearn"}  # scikit-learn's version is always recorded


def _imported(module: str, file: Path) -> list[str]:
    """The parent package of a module, and its imports: modules, and names that may be
    modules.
    """
    parent = module.rpartition(".")[0]
    package, found = module if file.name == "__init__.py" else parent, [parent]
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return found


def source_in_main(name: str) -> str:
    """Return the source of a function or class defined in a notebook or script; "" if
    unknown.
    """
    kind = getattr(sys.modules[_MAIN], name, None)
    members = (kind, *getattr(kind, "__dict__", {}).values())
    own = [inspect.unwrap(one) for one in members if inspect.isfunction(one)]
    # Cells, which have no modification time, are searched backwards if no function
    # names its file.
    cells = [
        file
        for file, entry in linecache.cache.items()
        if len(entry) > 1 and entry[1] is None
    ]
    by_name = [getattr(sys.modules[_MAIN], "__file__", None) or "", *cells]
    for file in [one.__code__.co_filename for one in own] or reversed(by_name):
        with suppress(SyntaxError):
            for node in ast.parse("".join(lines := linecache.getlines(file))).body:
                if (
                    isinstance(node, ast.ClassDef | ast.FunctionDef)
                    and node.name == name
                ):
                    first = min(
                        [node.lineno, *(one.lineno for one in node.decorator_list)]
                    )
                    return "".join(lines[first - 1 : node.end_lineno])
    with suppress(OSError):
        return "\n".join(map(inspect.getsource, own))
    return ""


def _code_in_main(name: str) -> str:
    """Return the source of a notebook's function or class and of all it uses; "" if the
    source is unknown. Constants are given by value, functions and classes by their
    source or the module they come from.
    """
    known, texts = vars(sys.modules[_MAIN]), {name: source_in_main(name)}
    for text in (waiting := [*texts.values()]):
        used = set[str]()
        with suppress(SyntaxError):  # methods of a class that is in no cell
            used = _globals(symtable.symtable(text, name, "exec"))
        for other in sorted(used & known.keys() - texts.keys()):
            value = known[other]
            home = getattr(
                value, "__name__" if inspect.ismodule(value) else "__module__", None
            )
            if not (
                inspect.isclass(value)
                or inspect.isroutine(value)
                or inspect.ismodule(value)
            ):
                if hasattr(
                    value, "get_params"
                ):  # an estimator: its repr shortens long values
                    value = [type(value).__name__, value.get_params()]
                with suppress(ValueError):  # a table, which is ignored
                    texts[other] = f"{other} = {written(value)}"
            elif home == _MAIN:
                waiting.append(texts.setdefault(other, source_in_main(other)))
            elif home:
                texts[other] = f"{other} = {value.__name__} of {_module_code(home)}"
    return "\n".join(texts.values()) if texts[name] else ""


def module_of_main(names: Iterable[str]) -> str:
    """Return the text of a module with functions and classes of a notebook, and with
    the imports, functions and classes that they use. Raises InvalidExperiment: they use
    something else from the notebook.
    """
    known, imports, texts = vars(sys.modules[_MAIN]), set[str](), dict[str, str]()

    def add(name: str, user: str) -> None:
        value = known[name]
        home, called = (
            getattr(value, "__module__", None),
            getattr(value, "__name__", name),
        )
        if inspect.ismodule(value):
            imports.add(
                f"import {called}" if called == name else f"import {called} as {name}"
            )
        elif (
            home == _MAIN
            and (text := source_in_main(name).rstrip())
            and not text[0].isspace()
        ):
            texts[name] = ""  # set first, as it may refer to itself
            for other in _globals(symtable.symtable(text, name, "exec")):
                if other in known and other not in texts and not other.startswith("__"):
                    add(other, name)
            texts[name] = texts.pop(name) or text
        elif (
            home != _MAIN
            and getattr(sys.modules.get(home or ""), called, None) is value
        ):
            imports.add(
                f"from {home} import {called}" + f" as {name}" * (called != name)
            )
        else:
            rule = f"{user} uses {name} of the notebook, which is not an import, function or class"
            raise InvalidExperiment(
                name, rule, "Pass it as an argument, or write the module."
            )

    for name in names:
        if name not in texts:
            add(name, name)
    head = "\n".join(['"""Written from a notebook."""', "", *sorted(imports)])
    return "\n\n\n".join([head, *texts.values()]) + "\n"


def _globals(scope: symtable.SymbolTable) -> set[str]:
    top = scope.get_type() == "module"
    found = {
        one.get_name()
        for one in scope.get_symbols()
        if one.is_referenced() and (top or one.is_global())
    }
    return found.union(*map(_globals, scope.get_children()))


def own_code(path: str) -> dict[str, str | None]:
    """Return `_module_code` of an import path's module or, in a notebook, a digest of
    the object's source and of all it uses. InvalidExperiment: its source is unknown.
    """
    module, name = re.split(r"[:.](?=\w+$)", path)
    if module != _MAIN:
        return _module_code(module)
    if not (source := _code_in_main(name)):
        raise InvalidExperiment(path, "its source is unknown", "Move it into a module.")
    return {SOURCE: sha256(source.encode())}


def _module_code(module: str) -> dict[str, str | None]:
    """Return a digest of the source of a module and of the user's modules that it
    imports, and the versions of the distributions it belongs to.
    """
    texts = [file.read_bytes() for _, file in sorted(_own_files([module])[0].items())]
    with suppress(
        ImportError, ValueError
    ):  # no such module: its use will raise an error
        found = None if texts else find_spec(module)
        if found and isinstance(found.loader, InspectLoader):
            # None for a compiled module, which its package's version covers.
            texts = [(found.loader.get_source(module) or "").encode()]
    source = (
        sha256(b"\0".join(texts)) if any(texts) else None
    )  # not cached: modules are reloaded
    names = sorted({*provenance.owners().get(module.partition(".")[0], ())})
    return {SOURCE: source, **{name: metadata.version(name) for name in names}}


def source_digests(paths: Iterable[str]) -> dict[str, str | None]:
    """Return import path (module:name) → digest of the user's own code behind it."""
    return {path: own_code(path)[SOURCE] for path in paths}


def metric_sources(spec: ExperimentSpec) -> dict[str, dict[str, str | None]]:
    """Return the digests of the code of a user's own metrics, for a fingerprint; empty
    without any.
    """
    own = [name for name in spec.metric_names if ":" in name]
    return {"metrics": source_digests(own)} if own else {}
