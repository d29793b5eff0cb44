"""A node without programs: its real maps, and the control plane that fills them."""

import pytest
from planner import Planner
from tables import Tables

from kmesh_lab.datapath.rows import Rows
from kmesh_lab.kernel.cgroup import LabCgroup
from kmesh_lab.kernel.compiler import BPF_DIR, compile_c
from kmesh_lab.mesh import Locality, Place, Service, Workload


@pytest.fixture
def make_tables():
    """Make the maps of a node: ``make_tables("cn-west/xian/a")``; without a place it does not know where it is."""
    made = []

    def make(locality=None, node="n1"):
        place = Place(Locality.parse(locality), node) if locality else None
        made.append(Tables(place))
        return made[-1]

    yield make
    for tables in made:
        tables.close()


@pytest.fixture
def tables(make_tables):
    return make_tables("cn-west/xian/a")


@pytest.fixture
def service():
    """A service of the namespace shop: ``service("inventory")`` has VIP 10.96.0.10 and port 80."""

    def make(name, vip="10.96.0.10", ports=None, load_balancing=None):
        more = {"load_balancing": load_balancing} if load_balancing else {}
        return Service(f"{name}.shop", vip, ports or {80: 8080}, **more)

    return make


@pytest.fixture
def workload():
    """A workload of node n1: ``workload("a", 1)`` has the address 10.244.1.1."""

    def make(name, number, locality="cn-west/xian/a", **more):
        return Workload(name, f"10.244.1.{number}", "n1", locality, **more)

    return make


@pytest.fixture
def cgroup():
    with LabCgroup.create() as lab:
        yield lab.child("n1")


@pytest.fixture(scope="session")
def rows():
    """The rows of the programs as bcc lays them out."""
    image = compile_c(BPF_DIR / "kmesh.c", {})
    return Rows({name: (spec.key, spec.value) for name, spec in image.maps.items()})


@pytest.fixture
def planner(rows):
    return Planner(rows)
