"""One change that moves things between services: addresses, workloads, in any order."""

import pytest

from kmesh_lab.datapath.plan import Publication
from kmesh_lab.datapath.rows import pack_ip
from kmesh_lab.errors import LabError

pytestmark = pytest.mark.root


def test_a_workload_that_leaves_two_services_at_once_leaves_no_row(planner, workload, service):
    web, shop, a = service("web"), service("shop", "10.96.0.11"), workload("a", 1)
    planner.publish(Publication(web, (a,)), Publication(shop, (a,)))

    draft = planner.publish(Publication(web, ()), Publication(shop, ()))

    assert draft.writes["km_backend"] == {}
    assert pack_ip(a.address) not in draft.writes["km_frontend"]
    assert draft.retire["km_backend"] == {planner.id(a.uid)}
    assert draft.first == {pack_ip(a.address)}
    assert draft.gone() == [a.uid]


@pytest.mark.parametrize("turned", [False, True], ids=["leaving first", "coming first"])
def test_a_workload_that_goes_from_one_service_to_another_is_never_gone(planner, workload, service, turned):
    web, shop, a = service("web"), service("shop", "10.96.0.11"), workload("a", 1)
    planner.publish(Publication(web, (a,)), Publication(shop, ()))
    change = [Publication(web, ()), Publication(shop, (a,))]

    draft = planner.publish(*(reversed(change) if turned else change))

    key = planner.id(a.uid)
    assert draft.gone() == []
    assert draft.retire["km_backend"] - draft.writes["km_backend"].keys() == set()
    assert draft.first - draft.writes["km_frontend"].keys() == set()
    assert planner.rows.unpack_backend(draft.writes["km_backend"][key]).services == (planner.ids.id_of(shop.key),)


@pytest.mark.parametrize("turned", [False, True], ids=["giving first", "taking first"])
def test_a_vip_goes_from_one_service_to_another_in_one_change(planner, service, turned):
    planner.publish(Publication(service("web", "10.96.0.10"), ()), Publication(service("shop", "10.96.0.11"), ()))
    change = [Publication(service("web", "10.96.0.12"), ()), Publication(service("shop", "10.96.0.10"), ())]

    draft = planner.publish(*(reversed(change) if turned else change))

    assert {key.hex()[:8]: value for key, value in draft.writes["km_frontend"].items()} == {
        "0a60000c": planner.id(service("web").key),
        "0a60000a": planner.id(service("shop").key),
    }
    assert {key.hex()[:8] for key in draft.first - draft.writes["km_frontend"].keys()} == {"0a60000b"}


def test_two_services_swap_their_vips_in_one_change(planner, service):
    planner.publish(Publication(service("web", "10.96.0.10"), ()), Publication(service("shop", "10.96.0.11"), ()))

    draft = planner.publish(
        Publication(service("web", "10.96.0.11"), ()), Publication(service("shop", "10.96.0.10"), ())
    )

    assert {key.hex()[:8]: value for key, value in draft.writes["km_frontend"].items()} == {
        "0a60000b": planner.id(service("web").key),
        "0a60000a": planner.id(service("shop").key),
    }
    assert draft.first - draft.writes["km_frontend"].keys() == set()


def test_a_vip_belongs_to_one_service(planner, service):
    planner.publish(Publication(service("web"), ()))

    with pytest.raises(
        LabError,
        match=r"^service 'shop\.shop': VIP 10\.96\.0\.10 belongs to shop/web\.shop\.svc\.cluster\.local; choose",
    ):
        planner.draft().publish([Publication(service("shop"), ())])
    with pytest.raises(LabError, match=r"VIP 10\.96\.0\.12 belongs to shop/a\.shop"):
        planner.draft().publish([Publication(service(name, "10.96.0.12"), ()) for name in ("a", "b")])


def test_a_new_address_of_a_workload_takes_the_place_of_the_old_one(planner, workload, service):
    web = service("web")
    planner.publish(Publication(web, (workload("a", 1),)))

    draft = planner.publish(Publication(web, (workload("a", 2),)))

    assert {key.hex()[:8] for key in draft.first} == {"0af40101"}
    assert {key.hex()[:8] for key in draft.writes["km_frontend"]} == {"0a60000a", "0af40102"}


def test_the_vip_of_a_service_goes_before_the_same_address_of_a_pod(planner, workload, service):
    web, a = service("web", "10.244.1.1"), workload("a", 1)
    planner.publish(Publication(web, ()))

    draft = planner.publish(Publication(service("shop"), (a,)))
    assert pack_ip(a.address) not in draft.writes["km_frontend"]

    draft = planner.publish(Publication(service("shop"), ()))
    assert pack_ip(a.address) not in draft.first


def ten_services(planner, service, *workloads):
    services = [service(f"s{number}", f"10.96.0.{number}") for number in range(1, 11)]
    planner.publish(*(Publication(each, workloads) for each in services))
    return services


def test_an_eleventh_service_of_a_workload_is_refused(planner, workload, service):
    a = workload("a", 1)
    ten_services(planner, service, a)

    with pytest.raises(
        LabError,
        match=r"^workload 'a' would be behind 11 services: Kmesh has room for 10; take it out of one first$",
    ):
        planner.draft().publish([Publication(service("s11", "10.96.0.11"), (a,))])


@pytest.mark.parametrize("turned", [False, True], ids=["leaving first", "coming first"])
def test_one_of_ten_services_can_be_exchanged_for_another(planner, workload, service, turned):
    a = workload("a", 1)
    services = ten_services(planner, service, a)
    change = [Publication(services[0], ()), Publication(service("s11", "10.96.0.11"), (a,))]

    draft = planner.publish(*(reversed(change) if turned else change))

    behind = planner.rows.unpack_backend(draft.writes["km_backend"][planner.id(a.uid)]).services
    expected = [*services[1:], service("s11", "10.96.0.11")]
    assert behind == tuple(planner.ids.id_of(each.key) for each in expected)
