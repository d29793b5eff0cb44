"""The maps of a node in human terms: read, written, shown."""

import re
from ipaddress import ip_address

import pytest
from IPython.lib.pretty import pretty

from kmesh_lab.datapath.plan import Publication
from kmesh_lab.datapath.rows import BackendRow, EndpointKey, ServiceRow
from kmesh_lab.errors import LabError
from kmesh_lab.mesh import LoadBalancing

pytestmark = pytest.mark.root

FAILOVER = LoadBalancing("FAILOVER", ["REGION"])


@pytest.fixture
def web(service):
    return service("web", load_balancing=FAILOVER)


@pytest.fixture
def near(workload):
    return workload("near", 1)


@pytest.fixture
def far(workload):
    return workload("far", 2, "eu/oslo/a")


@pytest.fixture
def refused():
    """Expect a ``ValueError`` with exactly this message."""
    return lambda message: pytest.raises(ValueError, match=f"^{re.escape(message)}$")


@pytest.fixture
def views(tables, web, near, far):
    tables.apply(web, near, far)
    return tables.views


def test_a_row_is_found_by_object_by_name_and_by_number(views, web, near):
    number, uid = views.id_of(web), views.id_of(near)

    for key in (web, "web.shop", number):
        assert views.service[key] == ServiceRow((1, 1, 0, 0, 0, 0, 0), 2, ((80, 8080),), None)
    for key in ("10.96.0.10", ip_address("10.96.0.10")):
        assert views.frontend[key] == number
    for key in (near, "near", uid):
        assert views.backend[key] == BackendRow(ip_address("10.244.1.1"), (number,), None)
    for key in ((web, 0, 1), ("web.shop", 0, 1), EndpointKey(number, 0, 1)):
        assert views.endpoint[key] == uid


def test_the_rows_are_a_mapping(views, web, near, far):
    number = views.id_of(web)

    assert dict(views.endpoint) == {(number, 0, 1): views.id_of(near), (number, 1, 1): views.id_of(far)}
    assert list(views.endpoint) == [EndpointKey(number, 0, 1), EndpointKey(number, 1, 1)]
    assert next(iter(views.endpoint)).index == 1
    assert dict(views.service) == {number: views.service[web]}
    assert dict(views.frontend) == {
        ip_address("10.96.0.10"): number,
        ip_address("10.244.1.1"): views.id_of(near),
        ip_address("10.244.1.2"): views.id_of(far),
    }
    assert (len(views.backend), len(views.manage)) == (2, 0)


def test_what_is_not_there_is_a_key_error_and_what_nobody_knows_a_lab_error(views, workload, service):
    with pytest.raises(KeyError, match=r"km_frontend has no row for '10\.96\.0\.99'"):
        views.frontend["10.96.0.99"]
    with pytest.raises(KeyError, match="km_endpoint has no row for"):
        del views.endpoint["web.shop", 0, 2]
    with pytest.raises(LabError, match=r"^nothing on this node is called 'wep'$"):
        views.service["wep"]
    with pytest.raises(LabError, match=r"is not published on this node; `lab\.apply` publishes it$"):
        views.backend[workload("unknown", 9)]


@pytest.mark.parametrize(
    ("name", "key", "expected"),
    [
        ("frontend", "web", "an address such as '10.96.0.10'"),
        ("service", -1, "a service, a pod, a workload, the name of one, or an id of 32 bits"),
        ("service", 1 << 32, "a service, a pod, a workload, the name of one, or an id of 32 bits"),
        ("endpoint", "web.shop", "(service, prio, index), such as (inventory, 0, 1)"),
        ("endpoint", ("web.shop", 0), "(service, prio, index), such as (inventory, 0, 1)"),
        ("endpoint", ("web.shop", 0, "1"), "(service, prio, index), such as (inventory, 0, 1)"),
        ("endpoint", 5, "(service, prio, index), such as (inventory, 0, 1)"),
        ("manage", -1, "an address, or the cookie of a network namespace"),
        ("manage", "shop", "an address, or the cookie of a network namespace"),
    ],
)
def test_what_cannot_be_a_key_is_named_with_its_map_and_what_it_may_be(views, refused, name, key, expected):
    view = getattr(views, name)
    message = f"km_{name}: {key!r} is no key; expected {expected}"
    with refused(message):
        view[key]
    with refused(message):
        view[key] = 1
    with refused(message):
        del view[key]
    assert key not in view


@pytest.mark.parametrize(
    "value", [5, None, ServiceRow((1,) * 8, 0, ()), ServiceRow((-1,), 0, ()), ServiceRow((), 0, ((65536, 80),))]
)
def test_what_cannot_be_a_value_is_named_and_the_row_stays(views, web, refused, value):
    before = views.service[web]
    with refused(f"km_service: {value!r} is no value; expected a ServiceRow, with numbers that fit its fields"):
        views.service[web] = value
    assert views.service[web] == before


def test_membership_asks_and_does_not_complain(views, web, near, workload, service):
    assert web in views.service
    assert "near" in views.backend
    assert ("web.shop", 1, 1) in views.endpoint
    assert service("other") not in views.service
    assert "other" not in views.backend
    assert 7 not in views.service
    assert ("web.shop", 1, 2) not in views.endpoint
    assert "web.shop" not in views.frontend
    assert web not in views.endpoint


def test_rows_can_be_written_and_deleted_as_a_learner_does(tables, views, web, near, far):
    views.endpoint[web, 0, 1] = far
    views.frontend["10.96.0.77"] = "near"
    views.service[web] = ServiceRow((0,) * 7, 3, ((81, 9),), (ip_address("10.96.0.20"), 15008))
    del views.endpoint[web, 1, 1]

    assert tables.names(web) == {(0, 1): "far"}
    assert tables.hex("km_frontend")["0a60004d" + 24 * "0"] == tables.rows.pack_id(views.id_of(near)).hex()
    assert views.service[web] == ServiceRow((0,) * 7, 3, ((81, 9),), (ip_address("10.96.0.20"), 15008))
    assert len(views.endpoint) == 1


def test_raw_gives_the_bytes_of_key_and_value(tables, views, web, near):
    key, value = views.endpoint.raw((web, 0, 1))

    assert key == tables.rows.pack_endpoint_key(views.id_of(web), 0, 1)
    assert value == tables.rows.pack_id(views.id_of(near))
    assert views.frontend.raw("10.96.0.10")[0].hex() == "0a60000a" + 24 * "0"


def test_a_key_of_km_manage_is_a_namespace_or_an_address(tables):
    manage = tables.views.manage
    for who in (0x62, "10.9.0.1", "fd00::1"):
        manage[who] = 0

    assert tables.hex("km_manage").keys() == {
        "62000000000000000000000000000000",
        "0a090001000000000000000000000000",
        "fd000000000000000000000000000001",
    }
    assert set(manage) == {0x62, ip_address("10.9.0.1"), ip_address("fd00::1")}
    assert 0x62 in manage
    assert "10.9.0.2" not in manage
    del manage[0x62], manage["fd00::1"]
    assert manage.pop("10.9.0.2", None) is None
    assert list(manage) == [ip_address("10.9.0.1")]


def test_numbers_are_in_order_also_above_255(tables, service, workload):
    pods = [workload(f"p{number}", 1 + number % 250) for number in range(300)]
    tables.apply(service("web"), *pods)

    assert [key.index for key in tables.views.endpoint] == list(range(1, 301))
    assert [row[2] for row in tables.views.endpoint.table()[1:]] == [str(index) for index in range(1, 51)]
    assert list(tables.views.backend) == sorted(tables.views.backend)


def test_a_name_that_is_gone_is_a_number_again(tables, views, web, far, near):
    uid = views.id_of(far)
    tables.apply(web, near)

    assert views.name_of(uid) == f"unknown id {uid}"
    assert views.name_of(views.id_of(web)) == "web.shop"


def test_a_view_shows_its_rows_with_names(views, web, near, far):
    number = views.id_of(web)

    assert views.service.table() == [
        ("service_id", "is", "policy", "endpoints per priority", "ports", "waypoint"),
        (str(number), "web.shop", "FAILOVER", "1 1 0 0 0 0 0", "80→8080", ""),
    ]
    assert views.endpoint.table()[1:] == [
        ("web.shop", "0", "1", str(views.id_of(near)), "near"),
        ("web.shop", "1", "1", str(views.id_of(far)), "far"),
    ]
    assert repr(views.frontend) == "<km_frontend: 3 of at most 105,000 rows>"
    assert pretty(views.service).splitlines()[0] == "<km_service: 1 of at most 5,000 rows>"
    assert pretty(views.service).splitlines()[2].split() == [
        *(str(number), "web.shop", "FAILOVER"),
        *("1", "1", "0", "0", "0", "0", "0", "80→8080"),
    ]
    assert "<td>web.shop</td><td>FAILOVER</td>" in views.service._repr_html_()
    assert repr(views) == "<Maps km_frontend: 3, km_service: 1, km_endpoint: 2, km_backend: 2, km_manage: 0>"


def test_a_waypoint_is_shown_with_its_port(tables, service, near):
    tables.apply(service("web"), near, waypoint=(ip_address("10.96.0.20"), 15008))

    assert tables.views.service.table()[1][-1] == "10.96.0.20:15008"


def test_reading_waits_for_a_publication_that_is_being_finished(tables, views, web, near):
    tables.publisher.apply([Publication(web, (near,))]).commit()

    assert len(views.endpoint) == 1
