"""Question 7: the TLV."""

from __future__ import annotations

import ipaddress

from kmesh_lab.interview.claim import Claim, Record
from kmesh_lab.interview.question import Answer, FollowUp, Question
from kmesh_lab.interview.stage import Stage
from kmesh_lab.interview.text import Text, Verdict
from kmesh_lab.traffic.tlv import split

__all__ = ["QUESTION"]

_MARK = bytes([0x01, 0, 0, 0, 6])  # type and length of an IPv4 TLV


def _before_tcp(stage: Stage, it: Record) -> None:
    stage.behind_waypoint()
    with stage.waypoint.capture(port=15019) as capture, stage.open() as connection:
        stage.served(connection)
        ports = connection.socket.getsockname()[1], connection.peer[1]
    first = next(packet for packet in capture.segments if bytes(packet["TCP"].payload).startswith(_MARK))
    raw = bytes(first["IP"])
    header = 4 * (raw[0] & 15)
    it.claimed(
        "behind the IP header come the TLV's bytes",
        "IP 头之后紧接着是 TLV 字节",
        raw[header : header + 5].hex(" "),
        raw[header : header + 5] == _MARK,
    )
    length = 4 * (raw[header + 12] >> 4)
    it.instead(
        "behind it comes a TCP header, with the ports of the connection",
        "IP 头之后是 TCP 头，里面是连接的端口",
        f"ports of the socket: {(first['TCP'].sport, first['TCP'].dport) == ports}",
        (first["TCP"].sport, first["TCP"].dport) == ports,
    )
    it.instead(
        "the TLV is the first of TCP's payload",
        "TLV 是 TCP 载荷的开头",
        raw[header + length : header + length + 5].hex(" "),
        raw[header + length : header + length + 5] == _MARK,
    )


def _extensible(stage: Stage, it: Record) -> None:
    known = bytes.fromhex("01 00000006 0a60000a 0050 fe 00000000")
    longer = bytes.fromhex("01 00000012 fd000096000000000000000000000010 0050 fe 00000000")
    found = [split(each + b"GET") for each in (known, longer)]
    it.claimed(
        "the length tells a reader where a TLV ends: 6 bytes for IPv4, 18 for IPv6",
        "长度字段告诉读者 TLV 在哪里结束：IPv4 为 6 字节，IPv6 为 18 字节",
        ", ".join(f"{len(each[0])} bytes, rest {each[1]!r}" for each in found if each),
        all(each is not None and each[1] == b"GET" for each in found),
    )
    unknown = bytes.fromhex("02 00000002 abcd") + known
    before = _outcomes(stage)
    answer = _tell_waypoint(stage, unknown + b"GET /stock/42 HTTP/1.1\r\nHost: shop\r\n\r\n")
    it.claimed(
        "a reader skips a TLV whose type it does not know",
        "读者会跳过不认识的类型",
        f"answer {answer!r}, outcomes {_outcomes(stage) - before}",
        bool(answer),
    )


def _tell_waypoint(stage: Stage, data: bytes) -> bytes:
    """What the waypoint answers to bytes that no sk_msg program has touched."""
    with stage.phone.connect(stage.waypoint.address, 15019) as connection:
        connection.send(data)
        try:
            return connection.recv(64)
        except ConnectionError:
            return b""


def _outcomes(stage: Stage) -> int:
    """How many connections the waypoint has refused."""
    counts = stage.waypoint.process.request("captured")["counts"]
    return sum(number for outcome, number in counts.items() if outcome != "forwarded")


def _carries(stage: Stage, it: Record) -> None:
    stage.behind_waypoint()
    with stage.open() as connection:
        stage.served(connection)
    packet = stage.waypoint.captured()
    data = bytes(packet)[:16]
    it.claimed(
        "bytes 5 to 8 are the address that the shop asked for",
        "第 5 到 8 字节是 shop 请求的地址",
        f"{data[5:9].hex(' ')} = {ipaddress.ip_address(data[5:9])}",
        ipaddress.ip_address(data[5:9]) == stage.inventory.vips[0],
    )
    it.claimed(
        "bytes 9 and 10 are its port",
        "第 9、10 字节是端口",
        f"{data[9:11].hex(' ')} = {int.from_bytes(data[9:11], 'big')}",
        int.from_bytes(data[9:11], "big") == 80,
    )


def _every_send(stage: Stage, it: Record) -> None:
    stage.behind_waypoint()
    with stage.waypoint.capture(port=15019) as capture, stage.open() as connection:
        for _ in range(3):
            stage.served(connection)
    sent = b"".join(bytes(packet["TCP"].payload) for packet in capture.segments if packet["TCP"].dport == 15019)
    it.claimed(
        "three requests on one connection carry three TLVs",
        "一条连接上的三个请求带三个 TLV",
        f"{sent.count(b'GET /stock/42')} requests, {sent.count(_MARK)} TLV",
        sent.count(_MARK) == 3,
    )
    it.instead(
        "one, in front of the first bytes; the socket remembers that it was sent",
        "只有一个，在第一批字节前面；套接字记得已经发过",
        sent[:16].hex(" "),
        sent.count(_MARK) == 1 and sent.startswith(_MARK),
    )


QUESTION = Question(
    7,
    Text(
        "What is the TLV, byte by byte, why is it needed when TCP already has addresses, who adds it, who reads it, how "
        "often?",
        "TLV 的每个字节是什么？TCP 已经有地址了，为什么还需要它？谁添加、谁读取、添加几次？",
    ),
    Answer(
        Text(
            "Sixteen bytes in front of the client's first data: type 01, length 6, the original address and port, then an "
            "end mark fe with length 0. TCP's addresses name the waypoint, so it could not know which service was meant. "
            "The sk_msg program adds it, once per socket; the waypoint reads and removes it.",
            "客户端第一批数据前面的 16 个字节：类型 01，长度 6，原始地址和端口，然后是结束标记 fe 和长度 0。"
            "TCP 头里的目的地址已经是 waypoint，它无从得知客户端要访问哪个服务。由 sk_msg 程序添加，每个套接字一次；由 waypoint 读取并去掉。",
        ),
        Text(
            "Byte 0: type, 01. 1–4: length, big-endian, 6 for IPv4 and 18 for IPv6. 5–8: address. 9–10: port, network order. "
            "11: end type fe. 12–15: length 0. IPv6 makes 28 bytes. The connect hook kept the original destination in "
            "km_sockstorage and marked the socket via_waypoint; sockops put it into km_socket when established; sk_msg "
            "pushes the bytes at the first send. Trigger is the client's first data, so a protocol in which the server "
            "speaks first waits for ever. If the push fails the data leaves without it, and the waypoint closes.",
            "第 0 字节：类型 01。1–4：长度，大端，IPv4 为 6、IPv6 为 18。5–8：地址。9–10：端口，网络字节序。11：结束类型 fe。"
            "12–15：长度 0。IPv6 共 28 字节。connect 钩子把原始目的地址存进 km_sockstorage 并标记 via_waypoint；建连时 sockops 把套接字"
            "放进 km_socket；第一次发送时 sk_msg 插入这些字节。由客户端的第一批数据触发，所以服务端先发言的协议会一直等待。"
            "插入失败时数据不带 TLV 发出，waypoint 会关闭连接。",
        ),
        Text(
            "01 │ 00 00 00 06 │ 0a 60 00 0a │ 00 50 │ fe │ 00 00 00 00 │ GET /stock/42 …\n"
            "type  length        10.96.0.10    80      end  length 0       the client's own bytes",
            "01 │ 00 00 00 06 │ 0a 60 00 0a │ 00 50 │ fe │ 00 00 00 00 │ GET /stock/42 …\n"
            "类型  长度          10.96.0.10    80      结束  长度 0          客户端自己的数据",
        ),
    ),
    (
        FollowUp(
            Text("Why not the PROXY protocol?", "为什么不用 PROXY 协议？"),
            Text(
                "It would do: stock Envoy understands it, while Kmesh's TLV needs a filter of its own in the waypoint's "
                "Envoy. The TLV is shorter and has room for other types.",
                "也可以：原生 Envoy 就支持 PROXY 协议，而 Kmesh 的 TLV 需要在 waypoint 的 Envoy 里加一个专用过滤器。TLV 更短，也留了其他类型的空间。",
            ),
        ),
    ),
    (
        Text("01, length 6, address, port, fe, length 0: 16 bytes", "01、长度 6、地址、端口、fe、长度 0：共 16 字节"),
        Text(
            "in front of the first payload, once per socket, by sk_msg",
            "在第一批载荷前，每个套接字一次，由 sk_msg 添加",
        ),
        Text("needed because the destination now names the waypoint", "因为目的地址已变成 waypoint，所以需要它"),
    ),
    (
        Claim(
            "7.1",
            Text("It is put in front of the TCP header.", "它被放在 TCP 头前面。"),
            Verdict.WRONG,
            Text(
                "it is in front of the first payload. sk_msg works on the bytes of send(2); the TCP header is made later "
                "and is an ordinary one.",
                "它在第一批载荷前面。sk_msg 处理的是 send(2) 的字节，TCP 头是之后才生成的，没有任何特殊之处。",
            ),
            ("bpf/kmesh/workload/sendmsg.c:145-178",),
            _before_tcp,
            varies=True,
        ),
        Claim(
            "7.2",
            Text("It is extensible because it describes its own length.", "它自带长度，所以是可扩展的。"),
            Verdict.CORRECTED,
            Text(
                "the format could be extended. Today's readers refuse any type but 01 and fe, so both ends must be "
                "changed together.",
                "格式本身可以扩展。但现有的读取方只认 01 和 fe，遇到其他类型就拒绝，所以两端必须一起升级。",
            ),
            ("bpf/kmesh/workload/sendmsg.c:19-79", "kmesh-net/waypoint, kmesh_tlv.cc"),
            _extensible,
        ),
        Claim(
            "7.3",
            Text("It carries the original destination address and port.", "它携带原始目的地址和端口。"),
            Verdict.HOLDS,
            Text(
                "both in network order, as the client gave them to connect(2).",
                "都是网络字节序，与客户端传给 connect(2) 的一致。",
            ),
            ("bpf/kmesh/workload/sendmsg.c:145-178",),
            _carries,
        ),
        Claim(
            "7.4",
            Text("Every send of the client gets one.", "客户端每次发送都会带上它。"),
            Verdict.WRONG,
            Text(
                "one per socket: has_encoded is set before the first.",
                "每个套接字只有一个：第一次之前就置位 has_encoded。",
            ),
            ("bpf/kmesh/workload/sendmsg.c:90-111",),
            _every_send,
        ),
    ),
)
