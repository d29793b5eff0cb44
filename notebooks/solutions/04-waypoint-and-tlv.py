"""Solutions of notebook 04. ``python notebooks/solutions/04-waypoint-and-tlv.py`` has them checked."""

import ipaddress

from kmesh_lab.exercises import exercise

# 04.1 predict: connect(2) decides who is told, and the family of the socket how long it is.
sizes = {
    "shop to 10.96.0.10:80": 16,
    "shop to ::ffff:10.96.0.10 port 80": 28,
    "shop to 10.244.1.2:8080, a pod of the service": 0,
    "shop to 10.96.255.1:15008, the waypoint's own address": 0,
    "connected before inventory.shop got its waypoint, sent afterwards": 0,
    "connected through the waypoint, sent after it was taken away": 16,
    "stranger, which is not enrolled, to the waypoint's pod, port 15019": 0,
}

# 04.2 change: the length is 18 now, hex 12; the address has sixteen bytes; 8081 is 0x1f91, high byte first.
changed = bytes.fromhex("01 00000012 fd00 0010 0096 0000 0000 0000 0000 0020 1f91 fe 00000000") + b"GET /stock/42"


# 04.3 build: read on until the bytes that the length asks for are there, believe no length but two, keep what is left.
def read(sock):
    """Return the original address, the port, and what came along of the request."""
    data = b""

    def need(size):
        nonlocal data
        while len(data) < size:
            more = sock.recv(4096)
            if not more:
                raise EOFError(f"the client closed after {len(data)} bytes")
            data += more

    need(1)
    if data[0] != 0x01:
        raise ValueError(f"no TLV: the first byte is {data[0]:#04x}")
    need(5)
    length = int.from_bytes(data[1:5], "big")
    if length not in (6, 18):
        raise ValueError(f"no TLV: the length is {length}")
    end = 5 + length + 5
    need(end)
    if data[end - 5 : end] != b"\xfe\x00\x00\x00\x00":
        raise ValueError("no TLV: the end mark is missing")
    value = data[5 : 5 + length]
    return ipaddress.ip_address(value[:-2]), int.from_bytes(value[-2:], "big"), data[end:]


ANSWERS = {"04.1": sizes, "04.2": changed, "04.3": read}

if __name__ == "__main__":
    for number, answer in ANSWERS.items():
        print(exercise(number).check(answer))
