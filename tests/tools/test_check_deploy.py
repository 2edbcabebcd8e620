"""The files of deploy/: what linters say of them, and that they are true to the command and to each other."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml

from segvoc.cli.serve import serve
from segvoc_annotate.projects.project import Project
from tools.check_deploy import CHART, CHECKS, DEPLOY, REFUSED, ROOT, VALUES, Missing, with_key

LINES = [line for path in DEPLOY.rglob("*") if path.is_file() for line in path.read_text("utf-8").splitlines()]
OPTIONS = {name for parameter in serve.params for name in parameter.opts} | {"--project"}  # segvoc-annotate has it


@pytest.mark.parametrize("name", CHECKS)
def test_each_linter_that_there_is_finds_nothing(name: str):
    try:
        CHECKS[name]()
    except Missing as error:
        pytest.skip(str(error))


def test_every_option_is_one_of_the_command():
    used = {
        option
        for line in LINES
        if not line.lstrip().startswith("#")
        for option in re.findall(r"(?:serve .*?|- |\")(--[a-z-]+)", line)
    }
    named = {"--host", "--api-key-file", "--project"}
    assert named <= used and used <= OPTIONS
    unit = next(line for line in LINES if line.startswith("ExecStart="))
    assert set(re.findall(r"--[a-z-]+", unit)) <= OPTIONS


def test_values_follow_the_schema_without_helm_too():
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    defaults = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(schema)
    # each value is described, and each description is of a value
    assert schema["properties"].keys() - {"global"} == defaults.keys()

    def merged(values: dict) -> dict:
        return {
            name: default | values[name] if isinstance(default, dict) and name in values else values.get(name, default)
            for name, default in defaults.items()
        } | {name: value for name, value in values.items() if name not in defaults}

    for values in VALUES.values():
        validator.validate(merged(with_key(values)))
    for name in ("no host", "a value that there isn't"):
        assert not validator.is_valid(merged(with_key(REFUSED[name][0])))


def test_the_first_start_makes_a_project_and_the_next_ones_keep_it(tmp_path):
    steps = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]["project"]["entrypoint"]
    unit = (DEPLOY / "systemd" / "segvoc.service").read_text("utf-8")
    of_unit = re.search(r'^ExecStartPre=\S+ -c "(.*)" ', unit, re.MULTILINE)[1]
    assert steps[:2] == ["python", "-c"] and of_unit.replace("'", '"') == steps[2]
    for text in ((CHART / "templates" / "deployment.yaml").read_text("utf-8"),):
        assert steps[2] in " ".join(text.split())
    for _ in range(2):
        subprocess.run([sys.executable, "-c", steps[2], str(tmp_path / "project")], check=True)
    assert Project.open(tmp_path / "project").record.name == "labels"


def test_the_image_is_built_from_all_that_the_package_needs():
    copied = [line.split()[1:-1] for line in LINES if line.startswith("COPY ") and "--from" not in line]
    sources = {source.rstrip("/") for names in copied for source in names}
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").split("\n")
    let_in = [line[1:].rstrip("/") for line in ignored if line.startswith("!")]

    def among(path: str, places) -> bool:
        return any(Path(path).is_relative_to(place) for place in places)

    assert all((ROOT / source).exists() and among(source, let_in) for source in sources)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    project, hatch = settings["project"], settings["tool"]["hatch"]
    build = hatch["build"]
    needed = ["pyproject.toml", project["readme"], *project["license-files"], hatch["version"]["path"]]
    needed += [*build["targets"]["wheel"]["packages"], *(hook["path"] for hook in build["hooks"].values())]
    assert len(needed) > 5 and all(among(path, sources) for path in needed)
