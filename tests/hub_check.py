"""A JupyterHub with three users who run notebooks at the same time: ``make hub-check``, as root.

The hub is started with deploy/jupyterhub/jupyterhub_config.py, but with servers that are plain processes of this
machine. That is the harder case for the labs: no container keeps them apart, they share one kernel, one cgroup tree and
all addresses. Exit status 1 if a user sees anything of another's lab. It needs packages of its own, so it is not a part
of `make test`.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import nbformat
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.websocket import WebSocketClientConnection, websocket_connect

TOP = Path(__file__).resolve().parents[1]
BIN = Path(sys.prefix) / "bin"
USERS = ("alice", "bob", "carol")
NOTEBOOKS = sorted(TOP.glob("notebooks/[0-9]*.ipynb"))[:3]

LOCAL_SPAWNER = """
import os
from jupyterhub.spawner import SimpleLocalProcessSpawner

class RootSpawner(SimpleLocalProcessSpawner):  # a lab needs root; every user has a home of its own
    def make_preexec_fn(self, name):
        return lambda: os.chdir(self.home_dir)

load_subconfig("CONFIG")
c = get_config()
c.JupyterHub.spawner_class = RootSpawner
c.JupyterHub.hub_ip = "127.0.0.1"
c.JupyterHub.hub_port = HUB_PORT
c.JupyterHub.db_url = "sqlite://"
c.JupyterHub.cookie_secret_file = "FOLDER/cookie_secret"
c.ConfigurableHTTPProxy.command = ["PROXY"]
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:PROXY_PORT"
c.ConfigurableHTTPProxy.pid_file = "FOLDER/proxy.pid"
c.SimpleLocalProcessSpawner.home_dir_template = "FOLDER/{username}"
c.Spawner.cmd = ["BIN/jupyterhub-singleuser", "--allow-root"]
c.Spawner.notebook_dir = "~"
c.JupyterHub.services = [{"name": "prover", "api_token": "TOKEN"}]
scopes = ["admin:users", "admin:servers", "access:servers"]
c.JupyterHub.load_roles = [{"name": "prover", "scopes": scopes, "services": ["prover"]}]
"""

# The same names and addresses for everybody; only the VIP with the user's number is the user's own.
OPEN = """
import json
import kmesh_lab as km
lab = km.Lab()
n1, n2 = lab.node("n1", "cn-west/xian/a"), lab.node("n2", "cn-west/xian/b")
shop, near = lab.pod("shop", n1), lab.pod("USER", n1, listen=8080)
lab.apply(km.Service("inventory.shop", "10.96.0.10", {80: 8080}), [near])
lab.apply(km.Service("own.shop", "10.96.0.NUMBER", {80: 8080}), [near])
print(shop.address, near.address)
"""
CONNECT = """
with lab.events() as events:
    found = {vip: shop.connect_many(vip, 80, count=100) for vip in [f"10.96.0.{last}" for last in (10, 1, 2, 3)]}
print(json.dumps({vip: {**each, **each.refused} for vip, each in found.items()}))
print(len(events))
"""
CLOSE = "print(lab.close().left)"


class Hub:
    """A running hub, and requests to it."""

    def __init__(self, folder: Path) -> None:
        self.token, self.password = secrets.token_hex(16), secrets.token_hex(8)
        port, hub_port, proxy_port = _free_ports(3)
        self.url = f"http://127.0.0.1:{port}"
        text = LOCAL_SPAWNER
        for word, value in {
            "CONFIG": TOP / "deploy" / "jupyterhub" / "jupyterhub_config.py",
            "HUB_PORT": hub_port,
            "PROXY_PORT": proxy_port,
            "PROXY": _proxy(),
            "FOLDER": folder,
            "BIN": BIN,
            "TOKEN": self.token,
        }.items():
            text = text.replace(word, str(value))
        config = folder / "config.py"
        config.write_text(text)
        environment = {**os.environ, "KMESH_LAB_PASSWORD": self.password, "KMESH_LAB_HUB_URL": self.url}
        self.log = folder / "log"
        with self.log.open("w") as log:
            command = [str(BIN / "jupyterhub"), "-f", str(config)]
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    async def request(self, path: str, method: str = "GET", body: Any = None, token: str = "") -> HTTPResponse:
        headers = {"Authorization": f"token {token or self.token}"}
        data = json.dumps(body) if body is not None else "" if method in ("POST", "PUT") else None
        request = HTTPRequest(f"{self.url}{path}", method, headers, data, request_timeout=60)
        return await AsyncHTTPClient().fetch(request, raise_error=False)

    async def wait(self, path: str, status: int = 200) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            try:
                if (await self.request(path)).code == status:
                    return
            except OSError:
                pass
            await asyncio.sleep(0.2)
        raise AssertionError(f"{path} does not answer:\n{self.log.read_text()[-3000:]}")


class User:
    """A user with a server and a kernel of their own."""

    def __init__(self, hub: Hub, name: str, number: int) -> None:
        self.hub, self.name, self.number = hub, name, number
        self._kernel = ""
        self._socket: WebSocketClientConnection | None = None

    async def start(self) -> None:
        for path in (f"/hub/api/users/{self.name}", f"/hub/api/users/{self.name}/server"):
            reply = await self.hub.request(path, "POST")
            assert reply.code in (201, 202), (path, reply.code, reply.body)
        await self.hub.wait(f"/user/{self.name}/api/status")

    async def open_kernel(self) -> None:
        """A new kernel in place of the one before."""
        kernels = f"/user/{self.name}/api/kernels"
        if self._kernel:
            await self.hub.request(f"{kernels}/{self._kernel}", "DELETE")
        reply = await self.hub.request(kernels, "POST", {"name": "python3"})
        self._kernel = json.loads(reply.body)["id"]
        url = f"{self.hub.url}{kernels}/{self._kernel}/channels".replace("http", "ws", 1)
        headers = {"Authorization": f"token {self.hub.token}"}
        self._socket = await websocket_connect(HTTPRequest(url, headers=headers), max_message_size=1 << 27)

    async def run(self, code: str) -> str:
        """Execute a cell and return what it printed; `AssertionError` with the traceback if it failed."""
        assert self._socket is not None
        own = uuid.uuid4().hex
        header = {"msg_id": own, "msg_type": "execute_request", "username": self.name, "session": own, "version": "5.3"}
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        await self._socket.write_message(json.dumps({**message, "buffers": []}))
        printed = ""
        while True:
            text = await asyncio.wait_for(self._socket.read_message(), 60)
            assert text is not None, f"the kernel of {self.name} went away"
            reply = json.loads(text) if isinstance(text, str) else {}
            if reply.get("parent_header", {}).get("msg_id") != own:
                continue
            said = reply["content"]
            assert reply["msg_type"] != "error", f"{self.name}: {said['ename']}: {said['evalue']}\n{code}"
            if reply["msg_type"] == "stream":
                printed += said["text"]
            if reply["msg_type"] == "status" and said["execution_state"] == "idle":
                return printed.strip()

    async def run_notebook(self, path: Path) -> None:
        reply = await self.hub.request(f"/user/{self.name}/api/contents/{path.name}")
        for cell in nbformat.from_dict(json.loads(reply.body)["content"]).cells:
            if cell.cell_type == "code" and "raises-exception" not in cell.metadata.get("tags", []):
                await self.run(cell.source)


async def prove(hub: Hub, folder: Path) -> None:
    await hub.wait("/hub/api/")
    users = [User(hub, name, number) for number, name in enumerate(USERS, 1)]
    for user in users:
        (folder / user.name).mkdir()
        for path in NOTEBOOKS:
            (folder / user.name / path.name).write_bytes(path.read_bytes())
    start = time.monotonic()
    await asyncio.gather(*(user.start() for user in users))
    print(f"{len(users)} servers are ready after {time.monotonic() - start:.1f} s")
    for token, expected in (("wrong", 403), (hub.token, 200)):
        assert (await hub.request("/user/alice/api/contents", token=token)).code == expected
    print("without a valid token a server answers 403")

    for path in NOTEBOOKS:
        start = time.monotonic()
        await asyncio.gather(*(user.open_kernel() for user in users))
        await asyncio.gather(*(user.run_notebook(path) for user in users))
        print(f"{path.stem}: all cells of all users, at the same time, in {time.monotonic() - start:.1f} s")

    await asyncio.gather(*(user.open_kernel() for user in users))
    codes = [OPEN.replace("USER", user.name).replace("NUMBER", str(user.number)) for user in users]
    addresses = await asyncio.gather(*(user.run(code) for user, code in zip(users, codes, strict=True)))
    assert set(addresses) == {"10.244.1.1 10.244.1.2"}, addresses
    for user, printed in zip(users, await asyncio.gather(*(user.run(CONNECT) for user in users)), strict=True):
        counts, events = printed.splitlines()
        own = {f"10.96.0.{user.number}": {user.name: 100}, "10.96.0.10": {user.name: 100}}
        others = {f"10.96.0.{other.number}": {"EHOSTUNREACH": 100} for other in users if other is not user}
        assert json.loads(counts) == {**own, **others}, printed
        assert int(events) == 4 * 200, printed  # established and closed, at both ends, of the own ones only
        print(
            f"{user.name}: 200 connects to {user.name}'s pod, 200 to the others' services go nowhere; {events} events"
        )
    print(f"one user takes {_memory(folder, users) / 1e6:.0f} MB: a server, a kernel and a lab (PSS)")
    assert await asyncio.gather(*(user.run(CLOSE) for user in users)) == ["()"] * len(users)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="kmesh-lab-hub-") as name:
        folder = Path(name)
        hub = Hub(folder)
        try:
            asyncio.run(prove(hub, folder))
        except AssertionError as error:
            print(f"FAILED: {error}\n{hub.log.read_text()[-2000:]}")
            return 1
        finally:
            hub.process.terminate()
            hub.process.wait(timeout=30)
            with suppress(ProcessLookupError):
                os.killpg(hub.process.pid, signal.SIGTERM)  # the proxy, if the hub could not end it
    from kmesh_lab.kernel.cgroup import abandoned

    print("the hub has ended; nothing is left" if not abandoned() else f"left behind: {abandoned()}")
    return 0


def _memory(folder: Path, users: list[User]) -> float:
    """Proportional memory of everything that belongs to one user: what has the user's home in its environment."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
            if any(f"HOME={folder}/{user.name}\0".encode() in environment for user in users):
                rollup = (process / "smaps_rollup").read_text()
                total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) * 1024
        except (OSError, StopIteration):
            continue
    return total / len(users)


def _proxy() -> Path:
    return Path(sys.prefix) / "node_modules" / ".bin" / "configurable-http-proxy"


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


if __name__ == "__main__":
    sys.exit(main())
