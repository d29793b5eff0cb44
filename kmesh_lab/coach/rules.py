"""The rejections that the coach knows: how the verifier says it, what it means, and the smallest change that helps.

``says`` is searched for in the verifier's last words, ``log`` in its whole log; the first rule that fits is taken, so
the narrower one stands first. In ``means``, ``fix`` and ``code`` a {name} is a named group of either, or one of

    {pointer}   what the line of C dereferences, if that is one thing; else "pointer"
    {type}      what it points to
    {index}  {count}  the index of an array in the line, and the number of its elements; else "index" and "N"
    {context}   the argument of the program
    {go_on}     how the hook lets a connection go on
    {readable}  {writable}  the fields of the hook's context

Each rule has a file of the same name in tests/coach/rejections: C that the kernel refuses, and with the fix does not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["COMPILER_RULES", "RULES", "Rule"]


@dataclass(frozen=True)
class Rule:
    """One kind of rejection; ``source``, if given, must fit the blamed line of C."""

    name: str
    says: str
    means: str
    fix: str
    code: str = ""
    log: str = ""
    source: str = ""

    def match(self, reason: str, log: str, source: str) -> Mapping[str, str] | None:
        """The named groups, if this is the rule for these words; None if not."""
        said = re.search(self.says, reason)
        wider = re.search(self.log, log, re.MULTILINE) if said else None
        if said is None or wider is None or not re.search(self.source, source):
            return None
        return {**wider.groupdict(), **said.groupdict()}


_BEFORE = "Ask before this line."
_CHECK = "if (!{pointer})\n\t{go_on}"

RULES = (
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
    # ---- the context
    Rule(
        "context-part",
        r"invalid bpf_context access off=(?P<off>\d+) size=[12]$",
        "A field of the context is written as a whole, and this line writes a part of it.",
        "Write the whole field: assign to it without a cast.",
        log=r"\*\(u(?:8|16) \*\)\(r\d+ \+?(?P<at>-?\d+)\) = ",
    ),
    Rule(
        "context-read-only",
        r"invalid bpf_context access off=(?P<off>\d+) size=\d+$",
        "This hook may not write this field of the context. It may write {writable}.",
        "Remove the line, or write a field that the hook may change.",
        log=r"\*\(u\d+ \*\)\(r\d+ \+?(?P<at>-?\d+)\) = .*\ninvalid bpf_context",
    ),
    Rule(
        "context-field",
        r"invalid bpf_context access off=(?P<off>\d+) size=\d+$",
        "The context of this hook does not have this field, or not in this size. It has {readable}.",
        "Read a field that this hook has.",
    ),
    Rule(
        "context-index",
        r"variable ctx access",
        "The place in the context is only known when the program runs. The verifier rewrites each access to the "
        "context, so it has to know the field beforehand.",
        "Name the field; for an array in the context, write each index as a number.",
    ),
    Rule(
        "context-moved",
        r"dereference of modified ctx ptr",
        "The pointer to the context was changed by an addition before it was used.",
        "Keep {context} as it came, and name the field after it.",
    ),
    Rule(
        "context-atomic",
        r"BPF_ATOMIC stores into R\d+ ctx is not allowed",
        "An atomic operation needs real memory. The context is none: the verifier translates each access to it.",
        "Read the field, calculate, and assign the result.",
    ),
    # ---- helpers
    Rule(
        "helper-not-here",
        r"(?:program of this type cannot use helper|unknown func) (?P<helper>\w+)#\d+",
        "The kernel does not offer {helper} to programs of this hook.",
        "Remove the call, or do this work in a program of a hook that has the helper.",
    ),
    Rule(
        "key-in-context",
        r"(?P<reg>R\d+) type=ctx expected=fp",
        "A helper wants memory here, and a field of the context is none: the verifier translates each access to it.",
        "Copy the value into a variable and hand that over.",
        "struct frontend_key key = {{}};\n\nkey.addr.ip4 = {context}->user_ip4;",
    ),
    Rule(
        "number-as-argument",
        r"(?P<reg>R\d+) type=scalar expected=(?P<expected>\w+)",
        "A helper wants a pointer here and gets a number.",
        "Put the number into a variable and hand over the address of that, with &.",
    ),
    Rule(
        "wants-context",
        r"R\d+ type=(?P<given>\w+) expected=ctx",
        "This helper wants the context of the hook, the argument of the program, and gets something else.",
        "Hand {context} over.",
    ),
    Rule(
        "length-maybe-zero",
        r"(?P<reg>R\d+) invalid zero-sized read",
        "The length may be 0, and this helper does not accept 0. An unsigned number that nobody has compared may be "
        "anything.",
        "Give a length that is known when the program is compiled: the size of the memory that you hand over.",
        "sizeof(buffer)",
    ),
    Rule(
        "length-unbounded",
        r"unbounded memory access, use 'var &= const'",
        "The length may be larger than any memory that you have.",
        "Give a length that is known when the program is compiled: the size of the memory that you hand over.",
        "sizeof(buffer)",
    ),
    Rule(
        "argument-too-long",
        r"invalid (?:indirect )?(?:write to|read from|access to) stack R\d+ off=-(?P<off>\d+) size=(?P<size>\d+)",
        "The helper would use {size} bytes from an address that has {off} bytes of stack behind it.",
        "Give the size of the variable that you hand over: sizeof(...), not a number.",
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
    # ---- the way through the program
    Rule(
        "loop-endless",
        r"infinite loop detected",
        "This loop comes back to where it was with nothing changed: it never ends.",
        "Count, and end at a number that is known when the program is compiled.",
        "for (int i = 0; i < 8; i++)",
    ),
    Rule(
        "loop-too-long",
        r"The sequence of \d+ jumps is too complex|BPF program is too large",
        "The verifier walks every way through the program, each round of a loop anew, and gave up. Loops are allowed; "
        "this one has too many rounds, or no end that is known beforehand.",
        "Let the loop end at a small number.",
    ),
    Rule(
        "return-missing",
        r"R0 !read_ok",
        "The program ends here without a result, and the result tells the kernel what to do.",
        "End with a result.",
        "{go_on}",
        source=r"^}",
    ),
    Rule(
        "uninitialised",
        r"(?P<reg>R\d+) !read_ok",
        "This line uses a variable that has no value yet on one of the ways here.",
        "Give the variable a value where it is declared.",
    ),
    Rule(
        "return-range",
        r"At program exit the register R0 .*should have been in \[(?P<low>-?\d+), (?P<high>-?\d+)\]",
        "The result of this hook is a number from {low} to {high}, and this one may be something else. In user space "
        "a negative errno is an answer; here it is not.",
        "Return a number that the hook knows.",
        "{go_on}",
    ),
    Rule(
        "call-through-pointer",
        r"unknown opcode 8d",
        "The program calls a function by a pointer. A BPF program can call helpers and what is compiled into it, "
        "nothing else.",
        "Call the functions by their names, with if or switch.",
    ),
    Rule(
        "call-not-inlined",
        r"last insn is not an exit or jmp",
        "The program calls a function that was not compiled into it. bcc makes each program from one function and what "
        "is inlined there.",
        "Write this in front of the function that is called; a function that calls itself cannot be inlined.",
        "static __always_inline",
    ),
)

COMPILER_RULES = (
    Rule(
        "stack-too-large",
        r"BPF stack limit of 512 bytes is exceeded",
        "All variables of a program share a stack of 512 bytes, and these do not fit.",
        "Make the large variable smaller, or keep it in a map.",
    ),
    Rule(
        "library-function",
        r"call to built-in function '(?P<name>\w+)'",
        "The kernel has no C library: there is no {name} to call.",
        "Write a loop with a known number of rounds, or copy a fixed, small size, which is done without a call.",
    ),
    Rule(
        "unknown-function",
        r"(?:implicit declaration of|implicitly declaring library) function '(?P<name>\w+)'",
        "There is no function {name}, neither in this cell nor among the helpers of the kernel.",
        "Helpers begin with bpf_; for example bpf_trace_printk instead of printf.",
    ),
    Rule(
        "header-missing",
        r"'(?P<name>[^']+)' file not found",
        "There is no header {name}: programs are compiled without kernel headers and without a C library.",
        "Remove the #include. The types of the hooks, the helpers and the lab's own headers are there already.",
    ),
)
