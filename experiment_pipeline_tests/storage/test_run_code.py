"""The code of a run: own modules, uncommitted changes, and no secret among them."""

import importlib
import linecache
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import pytest

from experiment_pipeline.errors import InvalidExperiment
from experiment_pipeline.experiment.files import judged
from experiment_pipeline.spec.reading import YamlFile
from experiment_pipeline.storage import run_code
from experiment_pipeline.storage.files import location
from experiment_pipeline.storage.provenance import PATCH
from experiment_pipeline.storage.registry import Registry
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.comparison import compare
from experiment_pipeline.tracking.database.archive import reindex
from experiment_pipeline.tracking.database.connection import VARIABLE
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.runs import run_named
from experiment_pipeline_tests.storage.test_masking import SECRET, with_secret, yaml_of
from experiment_pipeline_tests.storage.test_provenance import git

RunCell = Callable[[str, str], None]
OWN = {
    "clinic/__init__.py": "y = 1\n",
    "clinic/models.py": (
        "from . import helper\n\n\nclass Mine:\n    weight = helper.WEIGHT\n"
    ),
    "clinic/helper.py": "import numpy\n\nWEIGHT = 1\n",
}
UNUSED = ("clinic/unused.py", "large.csv", "b.bin", "latin.txt")
FILES = {
    **OWN,
    **dict.fromkeys(UNUSED, "x = 1\n"),
    ".gitignore": ".env\nlocal.py\n__pycache__/\n",
}
MINE = "clinic.models.Mine"
SECRETS = {
    "a.py": f"""password = "{SECRET}"
SECRET_KEY = (
    "{SECRET}"
)
k("x", api_key='{SECRET}')
""",
    "b.py": f"""token: str = \"""{SECRET}\"""
get("DB_PASSWORD", "{SECRET}")
u = "x://me@it:p@{SECRET}@host"
""",
    "c.py": f"""get("//x?token={SECRET}")
-----BEGIN PRIVATE KEY-----
{SECRET}
""",
    "d.yaml": f"""db:
  password: {SECRET}  # of the test server
export AWS_ACCESS_KEY={SECRET}
""",
    "e.ipynb": f"""  "secret = \\"{SECRET}\\"\\n",
""",
}
HARMLESS = """TOKENIZER = "words"
max_tokens = 512
password = os.environ["PASSWORD"]
"""


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A committed project with a package of its own, which a test imports as users
    do.
    """
    folder = tmp_path / "project"
    (folder / "clinic").mkdir(parents=True)
    write(folder, FILES)
    git(tmp_path, "init", "--quiet", str(folder))
    git(folder, "add", ".")
    git(folder, "-c", "user.name=me", "-c", "user.email=me@here", "commit", "-m", "one")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "clinic", raising=False)
    return folder


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write texts by name."""
    for name, text in files.items():
        (folder / name).write_text(text)


@pytest.fixture
def run_cell(monkeypatch) -> RunCell:
    """Run a cell as a kernel does, by name and text, in a notebook of its own."""
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))

    def run_in_main(name: str, text: str) -> None:
        cached = (len(text), None, text.splitlines(True), name)
        monkeypatch.setitem(linecache.cache, name, cached)
        exec(compile(text, name, "exec"), vars(sys.modules["__main__"]))

    return run_in_main


def code_of(project: Path, *paths: str) -> run_code.RunCode:
    """The code of an experiment that tries these algorithms."""
    spec = scenario.spec(search=[{"algorithm": path} for path in paths])
    return run_code.run_code(spec, project)


def test_own_modules_are_kept(project: Path, monkeypatch):
    """Modules of the same folder are kept up to 1 MB together, others named with their
    version; git is not needed.
    """
    code = code_of(project, MINE, "skops.io.Own", "sklearn.svm.SVC", "no.such.One")
    assert code.files == {f"code/{name}": text for name, text in OWN.items()}
    assert code.packages == {"skops": pytest.importorskip("skops").__version__}
    assert (code.provenance.dirty, code.left_out) == (False, "")
    shutil.rmtree(project / ".git")
    assert code_of(project, MINE).files == code.files
    monkeypatch.setenv("PATH", "")
    assert code_of(project, MINE).files == code.files
    write(project, {"clinic/helper.py": "#" * run_code.MOST_CHARACTERS})
    left_out = "code/clinic/helper.py: not text, or beyond 1 MB"
    assert left_out in code_of(project, MINE).left_out


def test_the_patch_gives_back_what_was_not_committed(project: Path):
    """Changed, deleted and used new files come back by `git apply`; what cannot be kept
    is named.
    """
    changed = {
        "clinic/models.py": FILES["clinic/models.py"] + "\n# é, without an end of line",
        "clinic/helper.py": "from clinic import added\n\nWEIGHT = 2\n",
        "clinic/added.py": HARMLESS,
    }
    write(project, changed | {"notes.txt": "private"})
    (project / "clinic/unused.py").unlink()
    lost = {"large.csv": b"1,2\n" * 400_000, "b.bin": b"\0", "latin.txt": b"caf\xe9\n"}
    for name, content in lost.items():
        (project / name).write_bytes(content)
    for name in ("noprefix", "mnemonicPrefix", "suppressBlankEmpty"):
        git(project, "config", f"diff.{name}", "true")
    code, clone = code_of(project, MINE), project.with_name("clone")
    git(project, "clone", "--quiet", str(project), str(clone))
    write(clone, {PATCH: code.files[PATCH]})
    git(clone, "apply", PATCH)
    assert {name: (clone / name).read_text() for name in changed} == changed
    assert not (clone / "clinic/unused.py").exists()
    assert "private" not in str(code.files)
    assert code.left_out.count("not text, or beyond 1 MB") == len(lost)


def test_secrets_are_not_kept(project: Path):
    """Lines that look like secrets are masked; what is ignored, or named like a secret,
    is left out.
    """
    named = ("deploy.pem", "my_credentials.json")
    forbidden = (*named, ".env", "clinic/local.py")
    connection = f'dsn = "mysql://me:{SECRET}@host"\n'
    models = f"from clinic import local\n{HARMLESS}{connection}class Mine: ...\n"
    files = SECRETS | dict.fromkeys(forbidden, SECRET) | {"clinic/models.py": models}
    write(project, files)
    git(project, "add", *SECRETS, *named)
    code = code_of(project, MINE)
    assert SECRET not in str(code.files)
    assert HARMLESS in code.files["code/clinic/models.py"]
    assert "code/clinic/local.py: ignored by git" in code.left_out
    assert "deploy.pem: named like a file of secrets" in code.left_out
    assert code.files[PATCH].count("***") > len(SECRETS)
    assert not [name for name in forbidden if f"b/{name}" in code.files[PATCH]]


def test_a_class_of_a_notebook_is_its_text(project: Path, run_cell: RunCell):
    """The class alone is kept, not the rest of its cell; one without a known source is
    named.
    """
    text = "@marked\nclass Cell:\n    def fit(self): ...\n"
    run_cell("<cell 1>", f"def marked(kind):\n    return kind\n{text}x = 1\n")
    code = code_of(project, "__main__.Cell", "__main__.Gone")
    assert code.files == {"code/__main__/Cell.py": text}
    assert "code/__main__/Gone.py: its source is unknown" in code.left_out


def test_a_class_of_a_script_is_its_text(project: Path, run_cell: RunCell, monkeypatch):
    """One without functions, which would name the script, is found there as well."""
    text = "class Plain:\n    weight = 1\n"
    script = project / "script.py"
    script.write_text(f"x = 1\n{text}")
    run_cell("<cell 1>", "y = 1\n")
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "__file__", str(script), raising=False)
    exec(compile(script.read_text(), script, "exec"), vars(main))
    assert code_of(project, "__main__.Plain").files["code/__main__/Plain.py"] == text


CELLS = (
    "import numpy as np\nfrom sklearn.linear_model import Ridge as Base\ny = [1]\n",
    "def halved(y):\n    return np.asarray(y) / 2\n",
    """class Half(Base):
    def fit(self, X, y):
        return super().fit(X, halved(y))
""",
    """class Fixed(Half):
    def fit(self, X, z):
        return super().fit(X, y)
""",
)


def test_a_module_is_written_of_a_notebook(tmp_path, monkeypatch, run_cell):
    """With imports and functions that a class uses, in order; a table of the notebook
    is refused.
    """
    for number, cell in enumerate(CELLS):
        run_cell(f"<part {number}>", cell)
    write(tmp_path, {"of_cells.py": run_code.module_of_main(["Half", "halved"])})
    with pytest.raises(InvalidExperiment, match="Fixed uses y of the notebook"):
        run_code.module_of_main(["Fixed"])
    monkeypatch.syspath_prepend(tmp_path)
    half = importlib.import_module("of_cells").Half(alpha=0)
    assert half.fit([[0.0], [1.0]], [0.0, 4.0]).coef_.tolist() == pytest.approx([2])


USED = """import numpy as np
from sklearn.linear_model import Lasso, Ridge as Base
DEPTH, DROPPED = np.int64(3), {"id"}
WEIGHTS, FIRST = np.array([1, 2]), Base(alpha=1)
def least(): return 1
class Own(Base): used = DEPTH, DROPPED, WEIGHTS, FIRST, least()
"""
CHANGES = (
    "DEPTH = 4",
    "DROPPED = {'id', 'name'}",
    "WEIGHTS = np.array([1, 3])",
    "FIRST = Base(alpha=2)",
    "def least(): return 2",
    "Base = Lasso",
)


def test_what_a_class_uses_of_a_notebook_is_its_code(run_cell: RunCell):
    """Another constant, function or base makes another class; what it does not use
    makes none.
    """
    digests = []
    for number, cell in enumerate((USED, *CHANGES)):
        run_cell(f"<cell {number}>", cell)
        digests.append(run_code.source_digests(["__main__:Own"])["__main__:Own"])
        run_cell("<another cell>", f"unused = {number}")
        assert run_code.own_code("__main__.Own")[run_code.SOURCE] == digests[-1]
    assert len({*digests}) == len(digests)
    with pytest.raises(InvalidExperiment, match="__main__:Gone: its source is unknown"):
        run_code.own_code("__main__:Gone")


def test_what_is_kept_of_a_run_holds_no_secret(
    project: Path, storage: Path, monkeypatch
):
    """Database, archive, version, commit and pages hold masked code and templates; an
    unused file makes no version.
    """
    repository = project.with_name(f"{SECRET}.git")
    git(project, "init", "--bare", str(repository))
    monkeypatch.setenv("PLACE", str(repository))
    table = scenario.write_csv(project.with_name(f"{SECRET}.csv"))
    monkeypatch.setenv("TABLE", str(table))
    helper = f'PASSWORD = "{SECRET}"\n\n\ndef same(rows):\n    return rows\n'
    write(project, {"clinic/helper.py": helper})
    spec = scenario.spec(
        url="{{ env.TABLE }}",
        search=[{"algorithm": "linear"}],
        preparation=scenario.PREPARATION | {"function": "clinic.helper:same"},
        export={"repository": "{{ env.PLACE }}"},
        tags={"note": f"ghp_{SECRET * 3}"},
    )
    named = judged(spec.name, YamlFile(yaml_of(spec), "defs.yaml"), scenario.SCHEMA)
    monkeypatch.chdir(project)
    run_ids = []
    for line in ("x = 2\n", "x = 3\n"):
        write(project, {"clinic/unused.py": line})
        assert run_named(named).success
        run_ids.append(questions.run_of(spec.name)["run_id"])
    assert [change.what for change in compare(*run_ids).changes] == [PATCH]
    assert list(questions.versions(spec.name)["version"]) == ["v0001"]
    root = location(str(storage))
    version = Registry(root, spec.name).model("v0001")
    masked = helper.replace(SECRET, "***")
    assert version.read("code/clinic/helper.py").decode() == masked
    assert "{{ env.TABLE }}" in version.read("experiment.yaml").decode()
    for name in (PATCH, "code/clinic/helper.py", "experiment.yaml"):
        shown = git(repository, "show", f"{spec.name}/v0001:models/{spec.name}/{name}")
        assert shown == version.read(name).decode().strip()
    assert with_secret(storage) == []
    before = recorded(run_ids)
    assert SECRET not in f"{dict(questions.run_of(spec.name))} {before}"
    monkeypatch.setenv(VARIABLE, f"sqlite:///{project}/another.sqlite")
    assert reindex(root, print) == 2
    assert recorded(run_ids) == before


def recorded(run_ids: list[str]) -> list:
    """What the database holds of the code of runs."""
    return [questions.files_of(questions.run_of(None, run_id)) for run_id in run_ids]


def test_a_module_that_was_edited_is_another_one(tmp_path, monkeypatch, run_cell):
    """A kernel lives on while its user edits: what was trained with the old text is not
    taken for the new.
    """
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path, {"edited_twice.py": "A = 1\n"})
    prepared = "def prepared(rows): return rows * edited_twice.A\n"
    run_cell("<cell>", f"import edited_twice\n{prepared}")
    paths = ["edited_twice:A", "__main__:prepared"]
    before = run_code.source_digests(paths)
    assert run_code.source_digests(paths) == before
    write(tmp_path, {"edited_twice.py": "A = 2\n"})
    after = run_code.source_digests(paths)
    assert not [path for path in paths if after[path] == before[path]]
