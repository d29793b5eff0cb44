"""A pod's process with an Envoy: what Envoy asks for, what it is told, and what happens to its answers."""

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from kmesh_lab.traffic.envoy import Envoy
from kmesh_lab.traffic.redirect import rules

pytestmark = pytest.mark.root

NOTHING = {"clusters": [], "listeners": []}
BROKEN = [{"@type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": "broken"}]


@pytest.fixture
def pod(start):
    return start("shop", "proxy")


@pytest.fixture
def envoy(pod):
    envoy = Envoy(pod)
    envoy.start(NOTHING)
    return envoy


def test_envoy_runs_as_a_user_of_its_own_in_the_pods_namespace(pod, envoy):
    status = Path(f"/proc/{envoy.pid}/status").read_text()

    assert "Uid:\t1337\t1337\t1337\t1337\n" in status
    assert "CapEff:\t0000000000000000\n" in status
    assert f"PPid:\t{pod.pid}\n" in status
    assert envoy.admin("/ready") == "LIVE\n"


def test_a_change_comes_with_a_new_version_and_what_is_the_same_is_not_sent_again(pod, envoy):
    listener = {**BROKEN[0], "name": "one", "address": {"socket_address": {"address": "127.0.0.1", "port_value": 7}}}
    listener["filter_chains"] = [{"filters": []}]

    def versions():
        found = json.loads(envoy.admin("/stats?format=json&filter=version_text$"))["stats"]
        return {each["name"].split(".")[1]: each["value"] for each in found}

    assert versions() == {"cds": "1", "lds": "1"}
    envoy.configure({"clusters": [], "listeners": []})
    assert versions() == {"cds": "1", "lds": "1"}
    listener["address"]["socket_address"]["port_value"] = 7777
    envoy.configure({"clusters": [], "listeners": [listener]})
    assert versions() == {"cds": "1", "lds": "2"}


def test_a_refused_change_leaves_envoy_as_it_was_and_the_next_one_is_taken(envoy):
    with pytest.raises(Exception, match=r"the Envoy of pod 'shop' refused its configuration. It said: REST config"):
        envoy.configure({"clusters": [], "listeners": BROKEN})

    envoy.configure(NOTHING)
    assert envoy.alive


def test_the_socket_is_found_from_the_pods_namespace_only(pod, envoy):
    with socket.socket(socket.AF_UNIX) as here, pytest.raises(ConnectionRefusedError):
        here.connect("\0xds")


def test_an_envoy_that_was_killed_gets_everything_when_it_starts_again(pod, envoy):
    pid = envoy.pid
    os.kill(pid, signal.SIGKILL)
    while envoy.alive:
        pass

    envoy.restart()

    assert envoy.pid != pid
    assert envoy.admin("/ready") == "LIVE\n"


@pytest.mark.parametrize("family", [4, 6])
def test_the_rules_leave_envoy_and_the_loopback_alone(family):
    lines = rules(family).splitlines()
    order = [line for line in lines if line.startswith("-A ISTIO_OUTPUT")]

    assert order[0].endswith("-o lo -j RETURN")
    assert "--uid-owner 1337 -j RETURN" in rules(family)
    assert order[-1] == "-A ISTIO_OUTPUT -j ISTIO_REDIRECT"
    assert lines[0] == "*nat"
    assert lines[-1] == "COMMIT"
