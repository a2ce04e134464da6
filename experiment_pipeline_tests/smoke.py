"""A small experiment by the installed package alone: in this process, and by Dagster in
a project of somebody's.

`make versions` runs it with the oldest and the newest versions of the libraries. In: a
folder to write to.
"""

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd


def table(rows: int) -> pd.DataFrame:
    """Return made-up rows with a number, a text and a date that tell of a binary
    target.
    """
    draw = np.random.default_rng(0)
    made = pd.DataFrame(
        {"x": draw.normal(size=rows), "plan": draw.choice(list("abc"), rows)}
    )
    made["day"] = pd.date_range("2024-01-01", periods=rows, freq="h").astype(str)
    signal = made["x"] + (made["plan"] == "a") + draw.normal(size=rows)
    return made.assign(left=np.where(signal > 0, "yes", "no"))


def main(folder: Path) -> None:
    """Run, predict, save, run again by Dagster; AssertionError: something else came
    out.
    """
    import dagster as dg

    import experiment_pipeline as ep

    os.chdir(folder)
    os.environ |= {"DAGSTER_DISABLE_TELEMETRY": "1", "DAGSTER_HOME": str(folder)}
    rows = table(600)
    rows.to_csv("rows.csv", index=False)
    search = [{"algorithm": "lightgbm"}, {"algorithm": "linear"}]
    result = ep.run("rows.csv", target="left", name="left", search=search)
    assert result.accepted
    assert len(result.model.predict(rows.drop(columns="left")).predictions) == len(rows)

    Path("pyproject.toml").write_text(
        '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "host"\n'
    )
    result.save("host/defs/left")
    sys.path.insert(0, str(folder))
    (folder / "host" / "__init__.py").touch()
    (folder / "host" / "defs" / "__init__.py").touch()
    defs = dg.load_from_defs_folder(path_within_project=folder / "host")
    with dg.instance_for_test() as instance:
        run = defs.resolve_job_def("left").execute_in_process(instance=instance)
    assert run.success
    assert len(ep.versions("left")) == 1, (
        "Dagster reuses what is trained, and publishes nothing"
    )
    print(
        f"experiment_pipeline {ep.__version__} with dagster {dg.__version__}: "
        "accepted, reused"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
