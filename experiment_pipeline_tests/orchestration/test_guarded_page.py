"""What `dagster.yaml` names: an instance whose page answers no foreign one."""

import dagster as dg
import yaml
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget

from experiment_pipeline_tests.end_to_end.project import ROOT
from experiment_pipeline_tests.tracking.test_server import OWN, answer_of

MUTATION = "mutation{setAutoMaterializePaused(paused: true)}"


def test_no_page_but_its_own_drives_dagster(tmp_path, monkeypatch) -> None:
    """With each documented instance, Dagster executes no mutation that an image could
    send.
    """
    # Two seconds of imports, which neither the other processes nor the collection of
    # tests need.
    from dagster_webserver.app import create_app_from_workspace_process_context
    from dagster_webserver.webserver import DagsterWebserver

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        DagsterWebserver, "build_middleware", DagsterWebserver.build_middleware
    )
    ours, remote = (
        yaml.safe_load((ROOT / name).read_text())["instance_class"]
        for name in ("dagster.yaml", "docs/cluster/ssh/dagster.yaml")
    )
    (tmp_path / "dagster.yaml").write_text(yaml.dump({"instance_class": ours}))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        instance.optimize_for_webserver(15_000, 3_600, 20)
        with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as context:
            page = create_app_from_workspace_process_context(context)
            image = OWN | {"method": "GET", "query": f"query={MUTATION}".encode()}
            form = OWN | {"origin": "https://attacker.example"}
            for forged in (image, form, form | {"type": "websocket"}):
                assert answer_of(page, forged)["status"] == 403
            asked = OWN | {"content-type": "application/json"}
            assert answer_of(page, asked, b'{"query": "{version}"}')["status"] == 200
    assert remote == ours
