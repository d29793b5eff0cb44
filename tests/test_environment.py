"""One set of versions: environment.yml, the lock files, pyproject.toml, apt.txt, and who reads them."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement

TOP = Path(__file__).parents[1]
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]


def locked(name: str) -> dict[str, str]:
    """The version that a lock file pins for each package."""
    return dict(re.findall(r"^([a-z0-9.-]+)==([^ ;\\]+)", (TOP / name).read_text(), re.MULTILINE))


def conda() -> tuple[dict[str, str], list[str]]:
    """The packages that environment.yml takes from conda-forge with their versions, and what pip installs there."""
    environment: dict[str, Any] = yaml.safe_load((TOP / "environment.yml").read_text())
    assert environment["channels"] == ["conda-forge"]
    *packages, pip = environment["dependencies"]
    return dict(package.partition("=")[::2] for package in packages if package != "pip"), pip["pip"]


def test_the_conda_environment_has_what_the_project_asks_for_in_the_versions_of_the_lock_file() -> None:
    packages, (*others, project) = conda()
    del packages["python"]
    by_pip = [Requirement(text) for text in others]
    packages |= {each.name: str(each.specifier).removeprefix("==") for each in by_pip}
    asked = {Requirement(text).name for text in PROJECT["dependencies"]}
    assert packages == {name: version for name, version in locked("requirements.lock").items() if name in asked}
    assert project == "--editable ."


def test_what_conda_forge_does_not_have_comes_by_pip_and_only_where_there_is_a_wheel() -> None:
    assert [str(Requirement(text).marker) for text in conda()[1][:-1]] == ['sys_platform == "linux"']


def test_the_conda_environment_has_the_oldest_python_that_the_project_takes() -> None:
    assert f">={conda()[0]['python']}" == PROJECT["requires-python"]


def test_bcc_is_in_no_list_of_python_packages_because_that_name_is_another_project_there() -> None:
    lists = [conda()[0], locked("requirements.lock"), locked("requirements-dev.lock")]
    assert not [packages for packages in lists if "bcc" in packages]


def test_what_runs_the_lab_is_the_same_for_a_learner_and_for_the_tests() -> None:
    run, test = locked("requirements.lock"), locked("requirements-dev.lock")
    assert run == {name: test[name] for name in run}


def test_the_image_is_made_from_the_same_lists_and_brings_no_compiler_and_no_headers() -> None:
    dockerfile = (TOP / "Dockerfile").read_text()
    assert "FROM debian:bookworm-slim\n" in dockerfile
    assert "--require-hashes -r requirements.lock" in dockerfile
    assert 'part == "run" || part == "image"' in dockerfile
    part, packages = "", {}
    for line in (TOP / "apt.txt").read_text().splitlines():
        if line.startswith("# ---"):
            part = line.split()[2]
        elif line and not line.startswith("#"):
            packages[line.split()[0]] = part
    assert not [
        name for name, part in packages.items() if part in ("run", "image") and re.search("clang|headers", name)
    ]
    assert "tini" in packages


def test_only_what_runs_the_notebooks_goes_into_the_image() -> None:
    lines = [line for line in (TOP / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    allowed = [line[1:] for line in lines if line.startswith("!")]
    assert not {".git", "tests", ".venv"} & set(allowed)
    assert all((TOP / path).exists() for path in allowed)


def test_the_dev_container_is_the_image_with_its_privileges() -> None:
    configuration = json.loads((TOP / ".devcontainer" / "devcontainer.json").read_text())
    assert (TOP / ".devcontainer" / configuration["build"]["dockerfile"]).resolve() == TOP / "Dockerfile"
    assert configuration["privileged"] is True
    for command in ("postCreateCommand", "postStartCommand", "postAttachCommand"):
        [script, *_] = configuration[command].split()
        assert (TOP / script).exists() or script == "pip"
