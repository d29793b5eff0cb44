"""Every exercise, on the real kernel: its starter fails, its solution passes, wrong answers are told what is wrong."""

from __future__ import annotations

import ast
import importlib.util
import ipaddress
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import pytest

import kmesh_lab as km
from kmesh_lab.comparison import INVENTORY, PATHS, Route
from kmesh_lab.exercises import Verdict, exercise, exercises
from kmesh_lab.traffic import split

pytestmark = pytest.mark.root

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NUMBERS = [each.id for each in exercises()]
NEAREST = km.LoadBalancing("FAILOVER", routing_preference=["REGION", "ZONE", "SUBZONE"])

each_exercise = pytest.mark.parametrize("number", NUMBERS)


def notebook_of(number: str) -> Any:
    (path,) = NOTEBOOKS.glob(f"{number[:2]}-*.ipynb")
    return nbformat.read(path, as_version=4)


def starter_of(number: str) -> str:
    cells = [cell.source for cell in notebook_of(number).cells if "exercise" in cell.metadata.get("tags", [])]
    (source,) = [source for source in cells if f'exercise("{number}")' in source]
    return source


def run(source: str) -> Any:
    """Run a cell as Jupyter does: the value is that of its last expression."""
    module = ast.parse(source)
    last = module.body.pop()
    assert isinstance(last, ast.Expr), "the last line of an exercise cell displays the verdict"
    names: dict[str, Any] = {"km": km, "exercise": exercise, "nearest": NEAREST}
    names |= {"INVENTORY": INVENTORY, "Route": Route}
    exec(compile(module, "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


def solutions(number: str) -> dict[str, Any]:
    (path,) = (NOTEBOOKS / "solutions").glob(f"{number[:2]}-*.py")
    spec = importlib.util.spec_from_file_location("solution", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ANSWERS


def service(ports: dict[int, int], vip: str = "10.96.0.10", balancing: km.LoadBalancing = NEAREST) -> km.Service:
    return km.Service("inventory.shop", vip, ports, balancing)


def guesses(number: str, wrong: Mapping[str, Any]) -> dict[str, Any]:
    """The right guesses, but for the cases whose names contain these."""
    right = dict(solutions(number)[number])
    return right | {next(name for name in right if case in name): guess for case, guess in wrong.items()}


def first_priority_only(maps: Any, address: Any, port: int) -> Any:
    service = maps.service.get(maps.frontend.get(address, 0))
    if service is None or port not in dict(service.ports):
        return address, port
    return maps.backend[maps.endpoint[(maps.frontend[address], 0, 1)]].address, dict(service.ports)[port]


def any_port(maps: Any, address: Any, port: int) -> Any:
    answer = solutions("01.3")["01.3"](maps, address, 80)
    return (answer[0], 8080) if answer != (address, 80) else (address, port)


def tlv(length: str, address: str, port: str, end: str = "fe 00000000") -> bytes:
    return bytes.fromhex(f"01 {length} {address} {port} {end}") + b"GET /stock/42"


WAREHOUSE = "fd00 0010 0096 0000 0000 0000 0000 0020"


def split_once(sock: socket.socket) -> Any:
    """The tempting reader: one recv is one message."""
    packet, rest = split(sock.recv(4096)) or (None, b"")
    return packet.addr, packet.port, rest  # type: ignore[union-attr]


def sixteen(sock: socket.socket) -> Any:
    data = sock.recv(16, socket.MSG_WAITALL)
    return data[5:9].hex(), int.from_bytes(data[9:11], "big"), b""


def patient(sock: socket.socket) -> Any:
    """Right but for two things: it does not notice the end of the stream, and it believes every length."""
    data = b""
    while len(data) < 5 or len(data) < 10 + int.from_bytes(data[1:5], "big"):
        data += sock.recv(4096)
    length = int.from_bytes(data[1:5], "big")
    return (
        ipaddress.ip_address(data[5 : 3 + length]),
        int.from_bytes(data[3 + length : 5 + length]),
        data[10 + length :],
    )


def little_endian(sock: socket.socket) -> Any:
    address, port, rest = solutions("04.3")["04.3"](sock)
    return address, socket.ntohs(port), rest


def forgetful(sock: socket.socket) -> Any:
    return *solutions("04.3")["04.3"](sock)[:2], b""


def both_sides(events: Any) -> Any:
    return {event.source[0]: event.sent_bytes for event in events if event.state == "CLOSE"}


def with_the_tlv(events: Any) -> Any:
    without = [event for event in events if event.destination[1] != 15019]
    if len(without) == len(events):
        return solutions("05.3")["05.3"](events)
    return {event.source[0]: event.sent_bytes - 2 for event in events if event.direction == "OUTBOUND"}


def closed_ones_only(events: Any) -> Any:
    return solutions("05.3")["05.3"]([event for event in events if event.state == "CLOSE"])


WRONG_GUESSES: dict[str, list[tuple[str, Any, str]]] = {  # part of the case's name, the guess, its mistake
    "01.1": [
        ("visitor", "inventory-a", "n2 has maps"),
        ("stranger", "nobody", "the mesh leaves the destination as it is"),
        ("shop to 10.96.0.10", "inventory-a", "8080 is the target port"),
    ],
    "02.1": [
        ("km_backend", "nobody", "this destination exists"),
        ("km_frontend", "nobody", "never comes back to km_frontend"),
    ],
    "03.1": [
        ("STRICT", ["p", "q", "r", "s"], "STRICT does not fall back"),
        ("p deleted", "q", "behind a zone that differs the subzone is not compared"),
        ("q and r", "r", "REGION is compared first"),
        ("FAILOVER, all", "nobody", "FAILOVER goes on to the next priority"),
    ],
    "04.1": [
        ("::ffff", 16, "msg->family decides, and it is the socket's"),
        ("a pod of the service", 16, "The waypoint belongs to the service"),
        ("own address", 16, "The shop asked for the waypoint, so nothing was lost"),
        ("connected before", 16, "decided in connect(2), once"),
        ("taken away", 0, "The maps are not asked again"),
        ("stranger", 16, "No program handles the stranger"),
    ],
    "05.1": [
        ("closed port", 2, "A refused connect is never established"),
        ("stranger", 4, "its own side is silent"),
        ("received_bytes", 7, "the SYN came before the accepting socket existed"),
        ("through a waypoint", 7, "The TLV has been sent by this socket"),
    ],
    "06.1": [
        ("sidecars tcp", 1, "must open a connection for each one that it gets"),
        ("sidecars http, kept", 2, "Three connections lie on the way"),
        ("accepts", 1, "its Envoy keeps one to it"),
    ],
    "07.1": [
        ("a second service", "shop", "Every Envoy is told, the server's too"),
        ("with a sidecar", "newcomer", "whether it has a sidecar or not"),
        ("policy", "km_service", "One row of km_service is replaced"),
    ],
    "08.1": [
        ("no end mark", "killed", "nothing behind them is compared"),
        ("length 8", "survives", "takes any length but 6 for IPv6"),
    ],
}
WRONG = [
    ("04.1", lambda: guesses("04.1", {"stranger": 17}), "expected names among 16, 28, 0"),
    ("01.2", lambda: service({81: 8080}), "no slot for port 80"),
    ("01.2", lambda: service({80: 8080, 81: 81}), "sends port 81 to their port 81, where nobody listens"),
    ("01.2", lambda: service({80: 8080, 81: 8080}, balancing=km.LoadBalancing("RANDOM")), "policy has changed"),
    ("01.2", lambda: service({80: 8080, 81: 8080}, vip="10.96.0.11"), "clients ask for 10.96.0.10"),
    ("01.3", lambda: first_priority_only, "FAILOVER takes the first priority whose count is not 0"),
    ("01.3", lambda: any_port, "No slot has this port"),
    ("01.3", lambda: lambda maps, address, port: None, "It returned None: expected an address and a port"),
    ("02.2", lambda: ("endpoint", ("inventory.shop", 0, 0), "inventory-b"), "indices count from 1"),
    ("02.2", lambda: ("service", "inventory.shop", "inventory-b"), "km_service does not take"),
    ("02.2", lambda: ("endpoint", ("inventory.shop", 0, 1), 12345), "names 12345, and km_backend has no such row"),
    ("02.3", lambda: [("frontend", "10.96.0.30", "inventory-b")], "leads to the pod inventory-b, not to a service"),
    ("02.3", lambda: solutions("02.3")["02.3"][1:], "looked for row (77, 0, 1) of km_endpoint"),
    ("02.3", lambda: [("frontend", "10.96.0.30", "inventory.shop")], "The rows lead to inventory-a"),
    ("03.2", lambda: km.LoadBalancing("RANDOM"), "RANDOM does not look at places"),
    ("03.2", lambda: km.LoadBalancing("STRICT", ["REGION", "ZONE"]), "STRICT takes priority 0 only"),
    ("03.2", lambda: km.LoadBalancing("FAILOVER", ["ZONE", "REGION"]), "The order decides"),
    ("03.2", lambda: km.LoadBalancing("FAILOVER", ["REGION"]), "nothing tells them apart"),
    (
        "03.3",
        lambda: {"x": "cn-west/xian/a", "y": "cn-west/chengdu/a", "z": "cn-east/beijing/a"},
        "x is in the shop's own",
    ),
    (
        "03.3",
        lambda: {"x": "cn-west/xian/b", "y": "cn-east/xian/a", "z": "cn-east/beijing/a"},
        "y is in another region",
    ),
    ("07.2", lambda: dict.fromkeys(("shop", "cart", "inventory-a", "orders-a"), True), "who sends it (cart has one)"),
    ("07.2", lambda: solutions("07.2")["07.2"] | {"inventory-a": False}, "who gets it (inventory-a has not one)"),
    ("07.2", lambda: {"shop": True}, "expected a dict with True or False for shop, cart"),
    ("07.3", lambda: lambda pods, services: pods * 17e6, "Every Envoy keeps every service"),
    ("07.3", lambda: lambda pods, services: 17e6 + 66e3 * services, "Every pod has an Envoy of its own"),
    ("07.3", lambda: lambda pods, services: 66e3 * services * pods, "before it knows anything"),
    ("03.3", lambda: {"x": "cn-west//b", "y": "cn-west", "z": "cn-east"}, "has an empty part"),
    ("04.2", lambda: tlv("00000006", WAREHOUSE, "1f91"), "The length says 6, which means IPv4"),
    ("04.2", lambda: tlv("0000001c", WAREHOUSE, "1f91"), "Type, length and end mark are not in it"),
    ("04.2", lambda: tlv("12000000", WAREHOUSE, "1f91"), "The length is in network order, too"),
    ("04.2", lambda: tlv("00000012", WAREHOUSE, "911f"), "Network order puts the high byte first: 8081 is 0x1f91"),
    ("04.2", lambda: tlv("00000012", WAREHOUSE, "1f91", ""), "expected the end mark fe 00 00 00 00"),
    ("04.2", lambda: tlv("00000012", WAREHOUSE, "1f91")[:-13], "GET /stock/42 has to follow it"),
    ("04.2", lambda: tlv("00000012", WAREHOUSE, "0050"), "your bytes say [fd00:10:96::20]:80"),
    ("04.2", lambda: b"GET /stock/42", "The type of the original destination is 01"),
    ("04.3", lambda: split_once, "recv returns what has come, here one byte"),
    ("04.3", lambda: sixteen, "The length says 18"),
    ("04.3", lambda: patient, "after 2 s it still reads. At the end of a stream recv returns b''"),
    ("04.3", lambda: little_endian, "Network order puts the high byte first"),
    ("04.3", lambda: forgetful, "Of the request 0 of 13 bytes are left"),
    ("05.2", lambda: 1927, "One connect is more than one record"),
    ("05.2", lambda: 963, "Both sides are on n1"),
    ("05.2", lambda: 480, "480 is not the largest"),
    ("05.3", lambda: both_sides, "Count one side only"),
    ("05.3", lambda: with_the_tlv, "the first sixteen bytes are the TLV"),
    ("05.3", lambda: closed_ones_only, "of one connection only the newest counts"),
    ("06.2", lambda: {"sidecar": "tcp", "mtls": True}, "not where a request does"),
    ("06.2", lambda: {"sidecar": False}, "Both pods shall keep their sidecars"),
    ("06.3", lambda: PATHS["sidecars http"].lay, "it does what the kernel could do for it"),
    ("06.3", lambda: PATHS["kernel"].lay, "Which pod needs a sidecar?"),
    ("06.3", lambda: PATHS["direct"].lay, "expected the service, 10.96.0.10 port 80"),
    ("08.2", lambda: solutions("08.2")["08.2"][:1], "a waypoint finds sixteen strange bytes in mid-stream"),
    ("08.2", lambda: [lambda shop: shop.no_such_thing], "the kernel failed – AttributeError"),
    ("08.2", lambda: [lambda shop, tlv: None], "asks for 'tlv': a test of tlv can ask for lab, n1, shop"),
    ("08.3", lambda: solutions("08.3")["08.3"][1:2], "STRICT goes on to further priorities"),
    ("08.3", lambda: [], "There is no test yet"),
]


def test_each_notebook_has_three_exercises_predict_change_build() -> None:
    kinds = {number[:2]: [each.kind for each in exercises() if each.id[:2] == number[:2]] for number in NUMBERS}

    chapters = [path.name[:2] for path in NOTEBOOKS.glob("0[1-8]-*.ipynb")]  # 00 is the way in, 09 the interview
    assert kinds == {part: ["predict", "change", "build"] for part in chapters}


@each_exercise
def test_the_task_stands_above_the_cell_word_by_word(number: str) -> None:
    text = "".join(cell.source for cell in notebook_of(number).cells if cell.cell_type == "markdown")

    assert " ".join(exercise(number).task.split()) in " ".join(text.split())


@each_exercise
def test_the_starter_in_the_notebook_is_not_right_yet(number: str) -> None:
    verdict = run(starter_of(number))

    assert isinstance(verdict, Verdict)
    assert not verdict
    assert verdict.why


@each_exercise
def test_the_solution_is_right(number: str) -> None:
    verdict = exercise(number).check(solutions(number)[number])

    assert verdict, str(verdict)
    assert verdict.outcome == "right"


@pytest.mark.parametrize("number", WRONG_GUESSES)
def test_each_wrong_guess_is_told_its_mistake(number: str) -> None:
    wrong = WRONG_GUESSES[number]
    verdict = exercise(number).check(guesses(number, {case: guess for case, guess, _ in wrong}))

    assert not verdict
    for case, _, mistake in wrong:
        (finding,) = [finding for finding in verdict.findings if case in finding.case and finding.outcome == "wrong"]
        assert mistake in finding.why
    assert [finding.outcome for finding in verdict.findings].count("wrong") == len(wrong)


@pytest.mark.parametrize(("number", "answer", "mistake"), WRONG, ids=[f"{number} {text}" for number, _, text in WRONG])
def test_a_wrong_answer_is_told_its_mistake(number: str, answer: Any, mistake: str) -> None:
    verdict = exercise(number).check(answer())

    assert not verdict
    assert mistake in str(verdict)


@each_exercise
@pytest.mark.parametrize(
    "junk",
    [None, 7, "nobody", [], {}, [None], object(), lambda: 1 / 0],
    ids=["None", "number", "text", "list", "dict", "list of None", "object", "function that raises"],
)
def test_whatever_the_answer_is_there_is_a_verdict(number: str, junk: Any) -> None:
    verdict = exercise(number).check(junk)

    assert not verdict
    assert verdict.why


def test_an_error_in_the_learners_code_is_shown_with_its_line() -> None:
    names: dict[str, Any] = {}
    exec(compile("def walk(maps, address, port):\n    return maps.frontent[address]", "cell", "exec"), names)

    verdict = exercise("01.3").check(names["walk"])

    assert not verdict
    assert "Your code raised AttributeError" in str(verdict)
    assert "(in walk, line 2)" in str(verdict)


def test_a_check_leaves_no_process_behind() -> None:
    before = children()

    assert exercise("02.2").check(("endpoint", ("inventory.shop", 0, 1), "inventory-b"))

    assert children() <= before


def children() -> set[str]:
    """The processes that this one has started and that have not ended."""
    return {pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}
