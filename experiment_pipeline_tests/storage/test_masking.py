"""What looks like a secret in a YAML file or an address; what only sounds like one."""

from pathlib import Path

import pytest

from experiment_pipeline.experiment.files import judged, secret_warnings
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.reading import YamlFile, to_yaml
from experiment_pipeline.storage.files import files_below, location, without_credentials
from experiment_pipeline.storage.masking import masked, masked_yaml, secret_lines
from experiment_pipeline.tracking import questions
from experiment_pipeline_tests import scenario
from experiment_pipeline_tests.runs import run_named

SECRET = "hunter2hunter2"
OPEN = """\
attributes:
  data: {url: "https://h/x.csv?zipcode=3&passengers=4", delimiter: ";"}
  exclude: {token: "known later", password: 'é: of the web shop'}
  preparation: {types: {secret: category, session: text}}
  features:
    arguments: {compass: north, api_key: "{{ env.K }}", author: ann}
  export: {repository: "https://me:{{ env.P }}@host/r.git"}
  mlflow: {tracking_uri: "https://host?token={{ env.T }}"}
"""
NAMES = "pwd pass passwd auth jwt code session sessionid password api_key token"


def test_names_of_columns_and_templates_are_no_secrets():
    """They stay as they are, in the text of a file and in what is warned of."""
    assert masked_yaml(OPEN) == OPEN
    assert secret_lines(OPEN) == []
    assert masked_yaml("") == ""


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (f"data: https://me:{SECRET}@host/x.csv", "data: https://***@host/x.csv"),
        (f"data: 'https://h/x?code={SECRET}'", "data: 'https://h/x?code=***'"),
        (f"features: {{arguments: {{passwd: {SECRET}}}}}", None),
        (f"features: {{arguments: {{Authorization: '{SECRET}'}}}}", None),
        (f"search: [{{hyperparameters: {{auth_token: {SECRET}}}}}]", None),
        (f"tags: {{note: ghp_{SECRET * 3}}}", None),
    ],
)
def test_a_secret_in_plain_text_is_masked_and_its_line_named(
    line: str, shown: str | None
):
    """The rest of the file stays, and stays YAML."""
    text = f"attributes:\n  # é\n  {line}\n  target: late\n"
    kept = masked_yaml(text)
    assert SECRET not in kept
    assert "***" in kept
    assert shown is None or kept.splitlines()[2].strip() == shown
    assert secret_lines(text) == [3]
    assert YamlFile(kept, "defs.yaml").values()["attributes"]["target"] == "late"


def test_addresses_show_no_secret_whatever_it_is_called():
    """Each usual name of a parameter, and a user's name or password."""
    for name in NAMES.split():
        address = f"https://host/x?{name}={SECRET}&y=1"
        assert without_credentials(address) == f"https://host/x?{name}=***&y=1"
    for name in ("pass", "auth", "jwt", "Authorization", "session_id"):
        assert SECRET not in masked(f'{{"{name}": "{SECRET}"}}', python=True)
    assert masked("bypass: north", python=False) == "bypass: north"


def yaml_of(spec: ExperimentSpec) -> str:
    """The defs.yaml of a specification."""
    attributes = spec.model_dump(mode="json", exclude_unset=True, exclude={"name"})
    return to_yaml({"type": "experiment_pipeline.Experiment", "attributes": attributes})


def with_secret(storage: Path) -> list[str]:
    """The files of a storage root that hold the secret."""
    return [
        path
        for path in files_below(location(str(storage)))
        if SECRET.encode() in (storage / path).read_bytes()
    ]


def test_templates_are_filled_in_and_a_secret_is_warned_of():
    """The warning has file and line."""
    spec = scenario.spec(
        tags={"owner": "{{ env('NOBODY', 'team') }}", "note": f"ghp_{SECRET * 3}"}
    )
    text = yaml_of(spec)
    named = judged(spec.name, YamlFile(text, "x/defs.yaml"), scenario.SCHEMA)
    assert named.spec.tags["owner"] == "team"
    [warning] = secret_warnings(named)
    line = text[: text.index("ghp_")].count("\n") + 1
    assert warning.startswith(f"x/defs.yaml:{line}: ")


def test_an_error_shows_the_template(storage: Path, tmp_path, monkeypatch):
    """A table that is not there is named in log, database and archive as declared."""
    monkeypatch.setenv("PLACE", str(tmp_path / SECRET))
    text = yaml_of(scenario.spec(url="{{ env.PLACE }}/visits.csv"))
    # with a schema: the table is read by the first stage
    named = judged("clinic", YamlFile(text, "defs.yaml"), scenario.SCHEMA)
    done = run_named(named)
    assert "{{ env.PLACE }}/visits.csv" in done.failure
    facts = questions.runs(status=["failed"], all_columns=True).iloc[0]
    assert "{{ env.PLACE }}" in facts["error"]
    assert SECRET not in f"{done.failure} {dict(facts)}"
    assert with_secret(storage) == []
