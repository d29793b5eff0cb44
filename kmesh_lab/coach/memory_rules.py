"""Rejections that are about memory: pointers, packets, map values, the stack, and what has to be given back."""

from __future__ import annotations

from kmesh_lab.coach.rule import Rule

__all__ = ["MEMORY_RULES"]

_BEFORE = "Ask before this line."
_CHECK = "if (!{pointer})\n\t{go_on}"

MEMORY_RULES = (
    # ---- pointers that may be NULL
    Rule(
        "null-map-value",
        r"invalid mem access 'map_value_or_null'",
        "A lookup gives NULL when there is no such row (or no storage for this socket). This line uses the result "
        "without having asked.",
        _BEFORE,
        _CHECK,
    ),
    Rule(
        "null-record",
        r"invalid mem access 'ringbuf_mem_or_null'",
        "A ring buffer that is full gives NULL instead of a record. This line writes to the record without having "
        "asked.",
        _BEFORE,
        _CHECK,
    ),
    Rule(
        "null-record-submit",
        r"type=ringbuf_mem_or_null expected=ringbuf_mem",
        "The record that is handed in may be NULL, because the ring buffer may have been full.",
        _BEFORE,
        "if (!{pointer})\n\t{go_on}",
    ),
    Rule(
        "null-socket",
        r"invalid mem access '(sock|sock_common|tcp_sock)_or_null'",
        "There may be no socket here: not every packet or event has one. This line reads from it without having asked.",
        "Ask before this line; a field of the context goes into a variable first.",
        _CHECK,
    ),
    Rule(
        "null-socket-argument",
        r"type=(sock|sock_common|tcp_sock)_or_null expected=",
        "The socket that is handed to the helper may be NULL, and this helper does not take NULL.",
        "Take the socket into a variable of its own and ask before this line.",
        "struct bpf_sock *sk = {context}->sk;\n\nif (!sk)\n\t{go_on}",
    ),
    Rule(
        "null-arithmetic",
        r"pointer arithmetic on (?P<kind>\w+)_or_null prohibited",
        "The pointer may be NULL, and NULL plus something is no longer NULL: it could not be asked afterwards.",
        "Ask first, then add.",
        _CHECK,
    ),
    # ---- pointers that are no longer good, or never were
    Rule(
        "packet-moved",
        r"(?P<reg>R\d+) invalid mem access 'scalar'",
        "The helper {helper} may have moved the data. Every pointer into it that was read before is void.",
        "Read data and data_end again after the helper, and compare them again.",
        "{pointer} = {context}->data;\nif ({pointer} + 1 > ({type} *){context}->data_end)\n\t{go_on}",
        log=r"R\d+=pkt\((?:.|\n)*call (?P<helper>bpf_(?:msg|skb|xdp)_(?:push|pop|pull|adjust|change)\w*)#",
    ),
    Rule(
        "record-gone",
        r"(?P<reg>R\d+) invalid mem access 'scalar'",
        "The record was given back by {helper}: from then on it belongs to the reader.",
        "Write to the record before it is given back: move this line up.",
        log=r"=ringbuf_mem\((?:.|\n)*call (?P<helper>bpf_ringbuf_(?:submit|discard))#",
    ),
    Rule(
        "number-as-pointer",
        r"(?P<reg>R\d+) invalid mem access 'scalar'",
        "This line follows a number as if it were an address. A program may only follow pointers that the kernel gave "
        "it: the context, map values, records, sockets, packet data and its own stack.",
        "Use the number itself; an IPv4 address in the context is a value, not a place in memory.",
    ),
    # ---- the packet or message
    Rule(
        "packet-index",
        r"offset is outside of the packet",
        "The index into the packet may be any number. A comparison with data_end helps only where the sum of data and "
        "index is small enough not to overflow.",
        "Limit the index before the comparison with data_end; the kernel allows no packet of more than 65535 bytes.",
        "if ({index} > 1000)\n\t{go_on}",
        log=r"invalid access to packet, off=-?\d+ size=\d+, R\d+\(id=[1-9]",
    ),
    Rule(
        "packet-bounds",
        r"offset is outside of the packet",
        "This line uses the packet up to byte {end}, and nothing has shown yet that it has so many. The verifier wants "
        "to see the comparison with data_end on every way here.",
        "Compare before this line.",
        "if ({pointer} + {end} > ({type} *){context}->data_end)\n\t{go_on}",
        log=r"invalid access to packet, off=(?P<at>\d+) size=(?P<used>\d+)",
    ),
    Rule(
        "packet-read-only",
        r"cannot write into packet",
        "This hook may read packets, not change them.",
        "Leave the packet as it is. Programs of other hooks may write: sk_msg and tc.",
    ),
    # ---- maps and memory
    Rule(
        "index-unbounded",
        r"unbounded memory access, make sure to bounds check",
        "Nothing limits the index, so the line could reach beyond the memory.",
        "Compare the index before this line; it has to be the same variable.",
        "if ({index} >= {count})\n\t{go_on}",
    ),
    Rule(
        "index-negative",
        r"unbounded min value is not allowed|min value is negative",
        "The index may be negative: it is a signed number, and only its upper end was compared.",
        "Make the index unsigned (__u32), or compare with 0 as well.",
    ),
    Rule(
        "beyond-value",
        r"(?:min|max) value is outside of the allowed memory range",
        "The value of the map has {size} bytes, and this line may use {used} bytes from byte {at} on.",
        "Compare with < and the number of elements; the last index is one less.",
        log=r"invalid access to map value, value_size=(?P<size>\d+) off=(?P<at>-?\d+) size=(?P<used>\d+)",
    ),
    Rule(
        "beyond-record",
        r"(?:min|max) value is outside of the allowed memory range",
        "So much was reserved: {size} bytes. This line uses {used} bytes from byte {at} on.",
        "Reserve as much as you write, or write less.",
        log=r"invalid access to memory, mem_size=(?P<size>\d+) off=(?P<at>-?\d+) size=(?P<used>\d+)",
    ),
    Rule(
        "stack-index",
        r"invalid (?:unbounded )?variable-offset (?:read from|write to) stack",
        "The index into this array on the stack may reach beyond it.",
        "Compare the index before this line; it has to be the same variable.",
        "if ({index} >= {count})\n\t{go_on}",
    ),
    Rule(
        "socket-read-only",
        r"cannot write into (?:sock|tcp_sock|sock_common)$",
        "A program may read the fields of a socket, not write them.",
        "Remove the line. What a program wants to remember about a socket belongs into socket storage.",
    ),
    Rule(
        "socket-field",
        r"invalid (?:sock|tcp_sock|sock_common) access off=(?P<off>\d+) size=(?P<size>\d+)",
        "struct bpf_sock has no field of {size} bytes at byte {off}.",
        "Name the field, as in sk->family, instead of counting bytes.",
    ),
    Rule(
        "pointer-arithmetic",
        r"pointer arithmetic with (?P<operator>\S+) operator prohibited",
        "This line calculates with a pointer by {operator}. A program may add to a pointer and subtract from it, "
        "nothing else.",
        "Calculate with numbers, and add the result to the pointer.",
    ),
    # ---- what was taken has to be given back
    Rule(
        "record-kept",
        r"[Uu]nreleased reference|reference leak",
        "A record was reserved, and on a way to this line it is neither submitted nor discarded.",
        "Give it back on every way out: submit it, or discard it.",
        "bpf_ringbuf_discard({pointer}, 0);",
        log=r"call bpf_ringbuf_reserve#",
    ),
    Rule(
        "socket-kept",
        r"[Uu]nreleased reference|reference leak",
        "A socket was looked up, which takes a reference to it, and on a way to this line that is not given back.",
        "Give it back on every way out, if there is one.",
        "if (sk)\n\tbpf_sk_release(sk);",
        log=r"call bpf_sk\w*_lookup_\w+#",
    ),
)
