"""Units, images and manifests: what can be known of them without the machines that they are for."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.commands import check_line
from tests.house import PYPROJECT, ROOT
from tests.started import own_environment

DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "jetson" / "clasp-trt.service"
IMAGES = sorted((DEPLOY / "docker").glob("Dockerfile*"))
MANIFESTS = DEPLOY / "kubernetes" / "clasp-trt.yaml"
DRAIN_S = 60
"""What ``clasp-trt serve`` takes at its end unless it is told otherwise."""


def unit() -> Mapping[str, list[str]]:
    """The values of each key of the unit, in their order."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def resources() -> dict[str, Any]:
    return {each["kind"]: each for each in yaml.safe_load_all(MANIFESTS.read_text())}


def test_the_unit_runs_a_command_that_is_there() -> None:
    (line,) = unit()["ExecStart"]
    program, *words = shlex.split(line)
    assert program.endswith("/bin/clasp-trt")
    check_line(words)
    assert int(unit()["TimeoutStopSec"][0]) > DRAIN_S
    assert "LoadCredential" in unit(), "the key is in no file that the service's user could list"


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """All but that the program is not there."""
    tool = ["systemd-analyze", "verify"]
    try:
        subprocess.run(["systemd-analyze", "--version"], check=True, capture_output=True, env=own_environment())
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs systemd-analyze")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/clasp-trt/venv/bin/clasp-trt", sys.executable))
    done = subprocess.run([*tool, copy], capture_output=True, text=True, env=own_environment(), check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.name)
def test_images_are_made_of_what_is_there(path: Path) -> None:
    text = path.read_text()
    assert "Never built" in text
    entry, command = (
        shlex.split(re.sub(r"[\[\],]", " ", match[1]))
        for match in (re.search(rf"^{name} (.+)$", text, re.MULTILINE) for name in ("ENTRYPOINT", "CMD"))
        if match is not None
    )
    assert entry == ["clasp-trt"]
    check_line(command)
    extras = {
        name
        for said in re.findall(r"EXTRAS=([\w,-]+)|/src\[([\w,-]+)\]", text)
        for name in ",".join(said).split(",")
        if name
    }
    assert "serve" in extras
    assert extras <= set(PYPROJECT["project"]["optional-dependencies"])
    assert re.findall(r"^USER (\S+)$", text, re.MULTILINE) == ["10001"]
    # a constraint beside another bound of the same package is an error of pip's
    assert not ("cuda-bindings<" in text and "-c /src/constraints.txt" in text)


def test_the_pod_runs_a_command_that_is_there_and_is_asked_where_it_answers() -> None:
    pod = resources()["Deployment"]["spec"]["template"]["spec"]
    (server,) = pod["containers"]
    check_line(server["args"])
    paths = {server[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
    from clasp_trt.runtime.serving.app import router

    routes = {getattr(route, "path", None) for route in router.routes}
    assert paths <= routes, routes
    assert pod["terminationGracePeriodSeconds"] > DRAIN_S
    mounts = {each["name"] for each in server["volumeMounts"]}
    assert mounts == {each["name"] for each in pod["volumes"]}
    given = [word for word in server["args"] if word.startswith("/")]
    places = [each["mountPath"] for each in server["volumeMounts"]]
    assert all(any(f"{word}/".startswith(f"{place}/") for place in places) for word in given)


def test_manifests_name_each_other_rightly() -> None:
    found = resources()
    pod = found["Deployment"]["spec"]["template"]
    labels, volumes = pod["metadata"]["labels"], {each["name"]: each for each in pod["spec"]["volumes"]}
    assert found["Service"]["spec"]["selector"] == labels
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert found["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    claim = volumes["bundle"]["persistentVolumeClaim"]["claimName"]
    assert claim == found["PersistentVolumeClaim"]["metadata"]["name"]
    assert volumes["key"]["secret"]["secretName"] == found["Secret"]["metadata"]["name"]
    assert found["Service"]["spec"]["ports"][0]["targetPort"] == pod["spec"]["containers"][0]["ports"][0]["name"]


def test_the_page_asks_for_metrics_that_are_there() -> None:
    from clasp_trt.runtime.serving.house import House
    from clasp_trt.runtime.serving.life import Life
    from clasp_trt.runtime.serving.meters import Meters

    there = Meters(House([]), Life()).page().decode()
    named = set(re.findall(r"\bclasp_[a-z_]+", (ROOT / "docs" / "deploying.md").read_text())) - {"clasp_trt"}
    assert len(named) > 8
    stems = {re.sub(r"_(?:bucket|sum|count|total)$", "", name) for name in named}
    assert {stem for stem in stems if not re.search(rf"^# TYPE {stem}(?:_total)? ", there, re.MULTILINE)} == set()


@pytest.mark.slow
def test_manifests_are_of_the_schemas_of_kubernetes() -> None:
    """With ``pip install kubernetes-validate``, 108 MB of schemas, which are in no extra for their size."""
    pytest.importorskip("kubernetes_validate")
    done = subprocess.run(
        [sys.executable, "-m", "kubernetes_validate", "--strict", MANIFESTS],
        capture_output=True, text=True, env=own_environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
