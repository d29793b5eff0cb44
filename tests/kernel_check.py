"""Try the lab on the kernel that Debian 12 ships: ``python3 tests/kernel_check.py`` or `make kernel-check`.

Programs that one kernel takes are refused by another, and the machine at hand seldom has the one that is asked for. So
Debian's is booted in QEMU, which emulates the processor: notebooks take minutes each, so this is not a part of `make
test`. (``ACCEL=kvm`` is faster where it works; in a virtual machine the guest may hang.) The guest sees this machine's
files, read-only, with a layer of memory above, and has no network. Arguments are notebooks by number (``01 06``);
without any, all are tried. One line for each thing that was tried; exit status 1 if one of them failed. x86-64 only.
"""

from __future__ import annotations

import gzip
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
PACKAGE = os.environ.get("KERNEL", "linux-image-amd64")
WORK = TOP / "build" / "kernel"
# What the root of the guest is made of; the rest is loaded by the guest itself when it is asked for.
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio-rng")
BUSYBOX = "/bin/busybox"

# The first process of the guest, until the files of this machine are its root.
INIT = r"""#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc; $b mount -t devtmpfs dev /dev
for module in /modules/*; do $b insmod $module; done
$b mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=262144 root /lower
$b mount -t tmpfs -o size=75% memory /upper; $b mkdir /upper/files /upper/work
$b mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /root
exec $b switch_root /root /bin/sh WORK/guest
"""
# And from there on. A line of ours begins with @@: the console has other lines, too.
GUEST = r"""
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
ln -s /proc/self/fd /dev/fd
mkdir -p /dev/pts /dev/shm; mount -t devpts pts /dev/pts; mount -t tmpfs shm /dev/shm; mount -t tmpfs run /run
mount -t cgroup2 none /sys/fs/cgroup; mount -t bpf bpf /sys/fs/bpf; mount -t tracefs none /sys/kernel/tracing
mkdir -p /usr/lib/modules; mount -o bind WORK/root/lib/modules /usr/lib/modules
ip link set lo up
cd TOP
echo "@@ kernel $(uname -rv)"
try() {
    name=$1; shift; since=$(cut -d. -f1 /proc/uptime)
    if "$@" >/run/said 2>&1; then verdict=ok; else verdict=FAILED; fi
    echo "@@ $verdict $(($(cut -d. -f1 /proc/uptime) - since)) $name: $(tail -n 1 /run/said)"
    [ $verdict = ok ] || tail -n 60 /run/said
}
STEPS
echo "@@ end"
echo o >/proc/sysrq-trigger; sleep 60
"""


def main(numbers: Sequence[str]) -> int:
    """Boot it, and show what it says."""
    if platform.machine() != "x86_64":
        sys.exit("make kernel-check knows only x86-64")
    every = sorted((TOP / "notebooks").glob("[0-9]*.ipynb"))
    notebooks = [path for path in every if not numbers or path.name[:2] in numbers]
    steps = ["try 'kmesh-lab check' .venv/bin/kmesh-lab check"]
    steps.append("try 'recorded behaviour of Kmesh' .venv/bin/python tests/replay_vectors.py tests/data/vectors/*.json")
    steps += [
        f"try notebooks/{path.name} .venv/bin/kmesh-lab run --timeout 900 notebooks/{path.name}" for path in notebooks
    ]
    kernel = _unpack()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # and the guest with us
    guest = GUEST.replace("STEPS", "\n".join(steps))
    (WORK / "guest").write_text(guest.replace("WORK", str(WORK)).replace("TOP", str(TOP)))
    failed, begun, ended = 0, False, False
    for line in _boot(kernel):
        _, ours, text = line.partition("@@ ")
        begun |= bool(ours)
        ended |= text == "end"
        failed += text.startswith("FAILED")
        if ours and (found := re.fullmatch(r"(ok|FAILED) (\d+) (.*)", text)):
            print(f"{int(found[2]):6} s  {found[1]}  {found[3]}", flush=True)
        elif begun and not ended:
            print(text if ours else line, flush=True)
    if not ended:
        print("the guest ended before its time")
    print(f"{len(steps) - failed} passed, {failed} failed" if ended else "not all was tried")
    return 1 if failed or not ended else 0


def _unpack() -> Path:
    """The kernel of the package, and an initramfs with the modules that lead to a root."""
    found = _said("apt-cache", "depends", PACKAGE)
    name = next((word for word in found.split() if re.match(r"linux-image-\d", word)), PACKAGE)
    WORK.mkdir(parents=True, exist_ok=True)
    root = WORK / "root"
    kernel = root / "boot" / name.replace("linux-image-", "vmlinuz-")
    if not kernel.exists():
        subprocess.run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", name], cwd=WORK, check=True)
        subprocess.run(["dpkg-deb", "-x", *map(str, WORK.glob(f"{name}_*.deb")), str(root)], check=True)
    version = kernel.name.removeprefix("vmlinuz-")
    subprocess.run(["depmod", "-b", str(root), version], check=True)
    files = {"init": (0o755, INIT.replace("WORK", str(WORK)).encode())}
    files["bin/busybox"] = (0o755, Path(BUSYBOX).read_bytes())
    for module in MODULES:
        shown = _said("modprobe", "-d", str(root), "-S", version, "--show-depends", module)
        for path in (Path(line.split()[1]) for line in shown.splitlines() if line.startswith("insmod ")):
            number = sum(name.startswith("modules/") for name in files)
            if not any(name.endswith(f"-{path.name}") for name in files):
                files[f"modules/{number:02}-{path.name}"] = (0o644, path.read_bytes())
    folders = dict.fromkeys(("bin", "modules", "proc", "dev", "lower", "upper", "root"), (0o40755, b""))
    (WORK / "initramfs").write_bytes(gzip.compress(_cpio(folders | files), 1))
    return kernel


def _cpio(files: dict[str, tuple[int, bytes]]) -> bytes:
    """An archive in the kernel's format, "newc": Documentation/driver-api/early-userspace/buffer-format.rst."""
    archive = b""
    for number, (name, (mode, data)) in enumerate([*files.items(), ("TRAILER!!!", (0, b""))]):
        mode |= 0 if mode & 0o170000 else 0o100000
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        archive += header + bytes(-len(header) % 4) + data + bytes(-len(data) % 4)
    return archive


def _boot(kernel: Path) -> Iterator[str]:
    """What the guest prints, line by line."""
    console = "console=ttyS0 quiet panic=-1"
    share = "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap"
    command = ["qemu-system-x86_64", "-accel", os.environ.get("ACCEL", "tcg,thread=multi"), "-cpu", "max"]
    command += [
        "-smp",
        "2",
        "-m",
        "4096",
        "-nographic",
        "-no-reboot",
        "-nic",
        "none",
        "-device",
        "virtio-rng-pci",
        "-virtfs",
        share,
    ]
    command += ["-kernel", str(kernel), "-initrd", str(WORK / "initramfs"), "-append", console]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, text=True, errors="replace", **pipes) as guest:  # type: ignore[call-overload]
        assert guest.stdout is not None
        try:
            for line in guest.stdout:
                yield line.rstrip()
        finally:
            guest.kill()


def _said(*command: str) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
