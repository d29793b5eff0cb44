"""Policies and routing preferences, and where istiod gets them from."""

import pytest

from kmesh_lab.mesh import LoadBalancing, Policy, Scope


def test_policies_have_the_numbers_of_km_service():
    assert {policy.name: policy.value for policy in Policy} == {"RANDOM": 0, "STRICT": 1, "FAILOVER": 2}


def test_the_default_is_random_without_a_preference():
    assert LoadBalancing().policy is Policy.RANDOM
    assert LoadBalancing().routing_preference == ()


def test_names_and_members_mean_the_same():
    by_name = LoadBalancing("FAILOVER", routing_preference=["REGION", "ZONE"])
    by_member = LoadBalancing(Policy.FAILOVER, routing_preference=(Scope.REGION, Scope.ZONE))

    assert by_name == by_member
    assert hash(by_name) == hash(by_member)
    assert by_name.policy is Policy.FAILOVER
    assert by_name.routing_preference == (Scope.REGION, Scope.ZONE)


def test_random_may_carry_a_preference_that_it_does_not_use():
    load_balancing = LoadBalancing("RANDOM", ["NODE"])

    assert load_balancing.routing_preference == (Scope.NODE,)
    assert str(load_balancing) == "RANDOM"


@pytest.mark.parametrize("policy", ["STRICT", "FAILOVER"])
def test_a_locality_policy_may_have_no_preference(policy):
    assert LoadBalancing(policy).routing_preference == ()


def test_load_balancing_cannot_be_changed():
    with pytest.raises(AttributeError):
        LoadBalancing().policy = Policy.STRICT


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("FAILVOER", "unknown policy 'FAILVOER': expected RANDOM, STRICT or FAILOVER"),
        ("failover", "unknown policy 'failover': expected RANDOM, STRICT or FAILOVER"),
        (2, "unknown policy 2: expected RANDOM, STRICT or FAILOVER"),
        (Scope.ZONE, "unknown policy <Scope.ZONE: 2>: expected RANDOM, STRICT or FAILOVER"),
    ],
)
def test_an_unknown_policy_is_refused(refused, policy, message):
    with refused(message):
        LoadBalancing(policy)


def test_an_unknown_scope_is_refused(refused):
    with refused("unknown scope 'REGOIN': expected REGION, ZONE, SUBZONE, NODE, CLUSTER or NETWORK"):
        LoadBalancing("FAILOVER", ["REGOIN"])


def test_a_repeated_scope_is_refused(refused):
    with refused("scope REGION is in the routing preference twice: name each scope once"):
        LoadBalancing("FAILOVER", ["REGION", "ZONE", Scope.REGION])


@pytest.mark.parametrize(
    ("preference", "shown"),
    [("REGION", "'REGION'"), ({"REGION"}, "{'REGION'}"), (None, "None"), (Scope.NODE, "<Scope.NODE: 4>")],
)
def test_a_preference_without_an_order_is_refused(refused, preference, shown):
    with refused(f"routing_preference {shown} is not a list of scopes such as ['REGION']"):
        LoadBalancing("FAILOVER", preference)


@pytest.mark.parametrize(
    ("value", "preference"),
    [
        ("PreferClose", ["NETWORK", "REGION", "ZONE", "SUBZONE"]),
        ("PreferSameZone", ["NETWORK", "REGION", "ZONE"]),
        ("PreferSameNode", ["NETWORK", "REGION", "ZONE", "SUBZONE", "NODE"]),
    ],
)
def test_a_traffic_distribution_becomes_failover(value, preference):
    assert LoadBalancing.from_traffic_distribution(value) == LoadBalancing("FAILOVER", preference)


def test_an_unknown_traffic_distribution_is_refused(refused):
    with refused("unknown traffic distribution 'PreferNear': expected PreferClose, PreferSameZone or PreferSameNode"):
        LoadBalancing.from_traffic_distribution("PreferNear")


def test_a_local_internal_traffic_policy_becomes_strict_by_node():
    assert LoadBalancing.internal_traffic_policy_local() == LoadBalancing("STRICT", ["NODE"])


def test_load_balancing_reads_as_a_line():
    every_scope = LoadBalancing("FAILOVER", ["REGION", "ZONE", "SUBZONE", "NODE", "CLUSTER", "NETWORK"])

    assert repr(every_scope) == (
        "LoadBalancing('FAILOVER', ['REGION', 'ZONE', 'SUBZONE', 'NODE', 'CLUSTER', 'NETWORK'])"
    )
    assert repr(LoadBalancing("STRICT")) == "LoadBalancing('STRICT')"
    assert str(LoadBalancing("STRICT")) == "STRICT"
    assert str(LoadBalancing("FAILOVER", ["REGION", "ZONE"])) == "FAILOVER by REGION, ZONE"
