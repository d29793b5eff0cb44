"""All rules, and those that are about the context, the helpers and the way through a program."""

from __future__ import annotations

from kmesh_lab.coach.memory_rules import MEMORY_RULES
from kmesh_lab.coach.rule import Rule

__all__ = ["COMPILER_RULES", "RULES"]

_PROGRAM_RULES = (
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

RULES = (*MEMORY_RULES, *_PROGRAM_RULES)
"""The first that fits is taken."""

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
