"""The code of a run: own modules, uncommitted changes, and no secret among them."""

import importlib
import linecache
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from experiment_pipeline.errors import InvalidExperiment
from experiment_pipeline.storage import run_code
from experiment_pipeline.storage.files import location
from experiment_pipeline.storage.provenance import PATCH
from experiment_pipeline.storage.registry import Registry
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.comparison import compare
from experiment_pipeline.tracking.database.archive import reindex
from experiment_pipeline.tracking.database.connection import VARIABLE
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.runs import run
from experiment_pipeline_tests.storage.test_provenance import git

MonkeyPatch, RunCell = pytest.MonkeyPatch, Callable[[str, str], None]
FILES = {
    "clinic/__init__.py": "y = 1\n",
    "clinic/models.py": "from . import helper\n\n\nclass Mine:\n    weight = helper.WEIGHT\n",
    "clinic/helper.py": "import numpy\n\nWEIGHT = 1\n",
    **dict.fromkeys(("clinic/unused.py", "large.csv", "b.bin", "latin.txt"), "x = 1\n"),
    ".gitignore": ".env\nlocal.py\n__pycache__/\n",
}
MINE, SECRET = "clinic.models.Mine", "hunter2hunter2"
SECRETS = {
    "a.py": f'password = "{SECRET}"\nSECRET_KEY = (\n    "{SECRET}"\n)\nk("x", api_key=\'{SECRET}\')',
    "b.py": f'token: str = """{SECRET}"""\nget("DB_PASSWORD", "{SECRET}")\nu = "x://me@it:p@{SECRET}@host"',
    "c.py": f'get("//x?token={SECRET}")\n-----BEGIN PRIVATE KEY-----\n{SECRET}\n',
    "d.yaml": f"db:\n  password: {SECRET}  # of the test server\nexport AWS_ACCESS_KEY={SECRET}",
    "e.ipynb": f'  "secret = \\"{SECRET}\\"\\n",',
}
HARMLESS = 'TOKENIZER = "words"\nmax_tokens = 512\npassword = os.environ["PASSWORD"]\n'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: MonkeyPatch) -> Path:
    """A committed project with a package of its own, which a test imports as
    users do.
    """
    folder = tmp_path / "project"
    (folder / "clinic").mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    git(tmp_path, "init", "--quiet", str(folder))
    git(folder, "add", ".")
    git(folder, "-c", "user.name=me", "-c", "user.email=me@here", "commit", "-m", "one")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "clinic", raising=False)
    return folder


@pytest.fixture
def run_cell(monkeypatch: MonkeyPatch) -> RunCell:
    """Run a cell as a kernel does, by name and text, in a notebook of the
    test's own.
    """
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))

    def run_in_main(name: str, text: str) -> None:
        monkeypatch.setitem(
            linecache.cache, name, (len(text), None, text.splitlines(True), name)
        )
        exec(compile(text, name, "exec"), vars(sys.modules["__main__"]))

    return run_in_main


def code_of(project: Path, *paths: str) -> run_code.RunCode:
    """The code of an experiment that tries these algorithms."""
    return run_code.run_code(
        scenario.spec(search=[{"algorithm": one} for one in paths]), project
    )


def test_own_modules_are_kept(project: Path, monkeypatch: MonkeyPatch) -> None:
    """Modules of the same folder are kept, others named with their version; git is not
    needed.
    """
    found = code_of(project, MINE, "skops.io.Own", "sklearn.svm.SVC", "no.such.One")
    assert found.files == {f"code/{name}": FILES[name] for name in [*FILES][:3]}
    assert found.packages == {"skops": pytest.importorskip("skops").__version__}
    assert (found.provenance.dirty, found.left_out) == (False, "")
    shutil.rmtree(project / ".git")
    assert code_of(project, MINE).files == found.files
    monkeypatch.setenv("PATH", "")
    assert code_of(project, MINE).files == found.files


def test_the_patch_gives_back_what_was_not_committed(project: Path) -> None:
    """Changed, deleted and used new files come back by `git apply`; what cannot be kept
    is named.
    """
    models = FILES["clinic/models.py"] + "\n# é, without an end of line"
    changed = {
        "clinic/models.py": models.encode(),
        "clinic/added.py": HARMLESS.encode(),
    }
    changed["clinic/helper.py"] = b"from clinic import added\n\nWEIGHT = 2\n"
    lost = {"large.csv": b"1,2\n" * 400_000, "b.bin": b"\0", "latin.txt": b"caf\xe9\n"}
    for name, content in (changed | lost | {"notes.txt": b"private"}).items():
        (project / name).write_bytes(content)
    (project / "clinic/unused.py").unlink()
    for name in ("noprefix", "mnemonicPrefix", "suppressBlankEmpty"):
        git(project, "config", f"diff.{name}", "true")
    found, clean = code_of(project, MINE), project.with_name("clean")
    git(project, "clone", "--quiet", str(project), str(clean))
    (clean / PATCH).write_text(found.files[PATCH])
    git(clean, "apply", PATCH)
    assert {name: (clean / name).read_bytes() for name in changed} == changed
    assert not (clean / "clinic/unused.py").exists()
    assert "private" not in str(found)
    assert found.left_out.count("not text, or beyond 1 MB") == len(lost)


def test_secrets_are_not_kept(project: Path) -> None:
    """Lines that look like secrets are masked; what is ignored, or named like a secret,
    is left out.
    """
    forbidden = ("deploy.pem", "my_credentials.json", ".env", "clinic/local.py")
    for name, text in (SECRETS | dict.fromkeys(forbidden, SECRET)).items():
        (project / name).write_text(f"{text}\n")
    git(project, "add", *SECRETS, *forbidden[:2])
    own = f'from clinic import local\n{HARMLESS}dsn = "mysql://me:{SECRET}@host"\nclass Mine: ...\n'
    (project / "clinic/models.py").write_text(own)
    found = code_of(project, MINE)
    assert SECRET not in str(found)
    assert HARMLESS in found.files["code/clinic/models.py"]
    left_out = (
        "code/clinic/local.py: ignored by git",
        "deploy.pem: named like a file of secrets",
    )
    assert [why in found.left_out for why in left_out] == [True, True]
    assert found.files[PATCH].count("***") > len(SECRETS)
    assert not [name for name in forbidden if f"b/{name}" in found.files[PATCH]]


def test_a_class_of_a_notebook_is_its_text(project: Path, run_cell: RunCell) -> None:
    """The class alone is kept, not the rest of its cell; one without a known source is
    named.
    """
    text = "@marked\nclass Cell:\n    def fit(self): ...\n"
    run_cell("<cell 1>", f"def marked(one):\n    return one\n{text}x = 1\n")
    found = code_of(project, "__main__.Cell", "__main__.Gone")
    assert found.files == {"code/__main__/Cell.py": text}
    assert "code/__main__/Gone.py: its source is unknown" in found.left_out


CELLS = {
    "<cell 2>": "import numpy as np\nfrom sklearn.linear_model import Ridge as Base\ny = [1]\n",
    "<cell 3>": "def halved(y):\n    return np.asarray(y) / 2\n",
    "<cell 4>": "class Half(Base):\n    def fit(self, X, y):\n        return super().fit(X, halved(y))\n",
    "<cell 5>": "class Fixed(Half):\n    def fit(self, X, z):\n        return super().fit(X, y)\n",
}


def test_a_module_is_written_of_a_notebook(
    tmp_path: Path, monkeypatch: MonkeyPatch, run_cell: RunCell
) -> None:
    """With imports and functions that a class uses, in order; a table of the notebook
    is refused.
    """
    for name, cell in CELLS.items():
        run_cell(name, cell)
    (tmp_path / "written_of_cells.py").write_text(
        run_code.module_of_main(["Half", "halved"])
    )
    with pytest.raises(InvalidExperiment, match="Fixed uses y of the notebook"):
        run_code.module_of_main(["Fixed"])
    monkeypatch.syspath_prepend(tmp_path)
    half = importlib.import_module("written_of_cells").Half
    assert half(alpha=0).fit(
        [[0.0], [1.0]], [0.0, 4.0]
    ).coef_.tolist() == pytest.approx([2])


USED = """import numpy as np
from sklearn.linear_model import Lasso, Ridge as Base
DEPTH, DROPPED, WEIGHTS, FIRST = np.int64(3), {"id"}, np.array([1, 2]), Base(alpha=1)
def least(): return 1
class Own(Base): used = DEPTH, DROPPED, WEIGHTS, FIRST, least()
"""


def test_what_a_class_uses_of_a_notebook_is_its_code(run_cell: RunCell) -> None:
    """Another constant, function or base makes another class; what it does not use
    makes none.
    """
    changes = ("DEPTH = 4", "DROPPED = {'id', 'name'}", "WEIGHTS = np.array([1, 3])")
    changes += ("FIRST = Base(alpha=2)", "def least(): return 2", "Base = Lasso")
    found = []
    for number, cell in enumerate((USED, *changes)):
        run_cell(f"<cell {number}>", cell)
        found.append(run_code.source_digests(["__main__:Own"])["__main__:Own"])
        run_cell("<another cell>", f"other = {number}")
        assert run_code.own_code("__main__.Own")[run_code.SOURCE] == found[-1]
    assert len({*found}) == len(found)
    with pytest.raises(InvalidExperiment, match="__main__:Gone: its source is unknown"):
        run_code.own_code("__main__:Gone")


def test_where_the_code_is_kept(
    project: Path, storage: Path, monkeypatch: MonkeyPatch
) -> None:
    """In database, archive, version and commit, without secrets; an unused file makes
    no version.
    """
    repository = project.with_name("models.git")
    git(project, "init", "--bare", str(repository))
    helper = f'PASSWORD = "{SECRET}"\n\n\ndef same(rows):\n    return rows\n'
    (project / "clinic/helper.py").write_text(helper)
    spec = scenario.spec(
        url=str(scenario.write_csv(project / "visits.csv")),
        preparation=scenario.PREPARATION | {"function": "clinic.helper:same"},
        export={"repository": str(repository)},
    )
    monkeypatch.chdir(project)
    ids = list[str]()
    for line in ("x = 2\n", "x = 3\n"):
        (project / "clinic/unused.py").write_text(line)
        assert run(spec, scenario.SCHEMA).success
        ids.append(questions.run_of(spec.name)["run_id"])
    assert [one.what for one in compare(*ids).changes] == [PATCH]
    assert list(questions.versions(spec.name)["version"]) == ["v0001"]
    version = Registry(location(str(storage)), spec.name).model("v0001")
    assert version.read("code/clinic/helper.py").decode() == helper.replace(
        SECRET, "***"
    )
    for name in (PATCH, "code/clinic/helper.py"):
        shown = git(repository, "show", f"{spec.name}/v0001:models/{spec.name}/{name}")
        assert shown == version.read(name).decode().strip()
    before = [questions.files_of(questions.run_of(None, one)) for one in ids]
    assert not [
        f
        for f in storage.rglob("*")
        if f.is_file() and SECRET.encode() in f.read_bytes()
    ]
    monkeypatch.setenv(VARIABLE, f"sqlite:///{project}/another.sqlite")
    assert reindex(location(str(storage)), print) == 2
    assert [questions.files_of(questions.run_of(None, one)) for one in ids] == before


def test_a_module_that_was_edited_is_another_one(
    tmp_path: Path, monkeypatch: MonkeyPatch, run_cell: RunCell
) -> None:
    """A kernel lives on while its user edits: what was trained with the old text is not
    taken for the new.
    """
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "edited_twice.py").write_text("A = 1\n")
    run_cell(
        "<cell>",
        "import edited_twice\ndef prepared(rows): return rows * edited_twice.A\n",
    )
    paths = ["edited_twice:A", "__main__:prepared"]
    before = run_code.source_digests(paths)
    assert run_code.source_digests(paths) == before
    (tmp_path / "edited_twice.py").write_text("A = 2\n")
    after = run_code.source_digests(paths)
    assert [after[one] != before[one] for one in paths] == [True, True]
