"""What every value of the mesh promises: one line of text, a safe HTML table, examples that are true."""

import ast
import doctest
import inspect
import pathlib
import sys

import pytest

import kmesh_lab.mesh
from kmesh_lab.mesh import (
    IdTable,
    LoadBalancing,
    Locality,
    Place,
    Policy,
    Scope,
    ScopeMatch,
    Service,
    Workload,
    identity,
    locality,
    model,
)

MARKUP = "<b>&\"'\n" + 100 * "x"


def hostile_values():
    ids = IdTable()
    ids.id_of(MARKUP)
    every_scope = [scope.name for scope in Scope]
    long_name = f"{'a' * 63}.{'b' * 63}"
    ten_vips = [f"10.96.0.{number}" for number in range(1, 11)]
    return [
        ids,
        Locality(MARKUP, MARKUP, MARKUP),
        Place(Locality(MARKUP), MARKUP, MARKUP, MARKUP),
        ScopeMatch(Scope.NODE, MARKUP, MARKUP, True),
        LoadBalancing("FAILOVER", every_scope),
        Service(long_name, ten_vips, range(60001, 60011), LoadBalancing("FAILOVER", every_scope)),
        Workload(MARKUP, "10.244.1.2", MARKUP, Locality(MARKUP), MARKUP, MARKUP, MARKUP),
    ]


@pytest.mark.parametrize("value", hostile_values(), ids=lambda value: type(value).__name__)
def test_a_repr_is_one_line_of_less_than_100_columns(value):
    text = repr(value)

    assert text.isprintable()
    assert len(text) < 100
    assert text.endswith((">", ")"))


@pytest.mark.parametrize("value", hostile_values(), ids=lambda value: type(value).__name__)
def test_a_table_is_html_with_every_string_escaped(value):
    table = value._repr_html_()

    assert table.startswith("<table>")
    assert table.endswith("</table>")
    assert "<b>" not in table
    assert not isinstance(value, (Locality, Place, Workload, IdTable)) or "&lt;b&gt;&amp;&quot;&#x27;" in table


def test_every_public_class_is_among_these_values():
    public = {value for name in kmesh_lab.mesh.__all__ if inspect.isclass(value := getattr(kmesh_lab.mesh, name))}

    # An Enum cannot have a _repr_html_: Python reserves such names there. Its repr, <Policy.STRICT: 1>, says it all.
    assert public == {type(value) for value in hostile_values()} | {Policy, Scope}


def test_the_table_of_a_workload_shows_where_it_is():
    table = Workload("inventory-a", "10.244.1.2", "n1", "cn-west/xian/a")._repr_html_()

    assert table == (
        "<table><caption>Workload inventory-a</caption>"
        "<tr><th>uid</th><td>Kubernetes//Pod/default/inventory-a</td></tr>"
        "<tr><th>address</th><td>10.244.1.2</td></tr>"
        "<tr><th>healthy</th><td>True</td></tr>"
        "<tr><th>region</th><td>cn-west</td></tr>"
        "<tr><th>zone</th><td>xian</td></tr>"
        "<tr><th>subzone</th><td>a</td></tr>"
        "<tr><th>node</th><td>n1</td></tr>"
        "<tr><th>cluster</th><td>Kubernetes</td></tr>"
        "<tr><th>network</th><td></td></tr></table>"
    )


@pytest.mark.parametrize("module", [identity, locality, model], ids=lambda module: module.__name__)
def test_the_examples_in_docstrings_are_true(module):
    results = doctest.testmod(module)

    assert results.attempted > 0
    assert results.failed == 0


def test_the_package_exports_exactly_what_is_visible():
    modules = {name for name, value in vars(kmesh_lab.mesh).items() if inspect.ismodule(value)}
    visible = {name for name in vars(kmesh_lab.mesh) if not name.startswith("_")} - modules

    assert set(kmesh_lab.mesh.__all__) == visible
    assert len(kmesh_lab.mesh.__all__) == len(visible)


def test_the_mesh_imports_only_the_standard_library_itself_and_how_to_show_values():
    for path in pathlib.Path(kmesh_lab.mesh.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                known = name.startswith(("kmesh_lab.mesh", "kmesh_lab.errors", "kmesh_lab.display"))
                assert known or name.split(".")[0] in sys.stdlib_module_names, f"{path.name} imports {name}"
