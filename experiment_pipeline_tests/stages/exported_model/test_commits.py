"""Git that is away: the version counts, and the next run commits what git missed."""

from pathlib import Path

from experiment_pipeline.storage.files import location
from experiment_pipeline.storage.provenance import git
from experiment_pipeline.storage.registry import Registry
from experiment_pipeline.tracking import questions
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.runs import succeeded


def test_the_next_run_commits_what_git_did_not_get(storage: Path, tmp_path):
    """While git is away the champion changes, and the run says so; the next one commits
    each version, the oldest first.
    """
    repository = tmp_path / "models.git"
    url = str(scenario.write_csv(tmp_path / "visits.csv"))
    away, back = (
        scenario.spec(
            url=url,
            seed=seed,
            search=[{"algorithm": "linear"}],
            export={"repository": str(repository)},
            baseline=False,
            acceptance=[{"metric": "roc_auc", "at_least": 0.1}],
            not_worse_than_champion="off",
        )
        for seed in (0, 1)
    )
    done = succeeded(away, scenario.SCHEMA)
    assert "not committed to git yet" in done.metadata("exported_model")["repository"]
    registry = Registry(location(str(storage)), "clinic")
    assert registry.due_commits() == ["v0001"]
    git(tmp_path, "init", "--quiet", "--bare", str(repository))
    succeeded(back, scenario.SCHEMA)
    assert [*questions.runs()["status"]] == ["accepted", "accepted"]
    assert [*questions.versions("clinic")["version"]] == ["v0001", "v0002"]
    assert registry.due_commits() == []
    tags = git(repository, "tag", "--list", "--sort=creatordate").split()
    assert tags == ["clinic/v0001", "clinic/v0002"]
    branch = git(repository, "log", "--format=%s", "experiment-pipeline/clinic")
    assert branch.splitlines() == ["clinic v0002", "clinic v0001"]
