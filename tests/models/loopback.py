"""A Hugging Face Hub on this machine that serves one folder, and misbehaves by repository name."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"
#: Longer than the clients of the tests wait.
STALL_S = 4.0

#: Larger files are not read to name them.
HASHED_BYTES = 64 << 20

#: Status and headers with which the real hub refuses.
REFUSALS: dict[str, tuple[int, dict[str, str]]] = {
    "gated": (403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}),
    "private": (401, {"X-Error-Code": "RepoNotFound"}),
    "bad-token": (401, {"X-Error-Message": "Invalid credentials in Authorization header"}),
    "forbidden": (403, {"X-Error-Message": "Forbidden"}),
    "absent": (404, {"X-Error-Code": "RepoNotFound"}),
    "busy": (429, {}),
    "broken": (500, {}),
}


@dataclass
class Hub:
    """What is served, how often each thing was asked for, and which tokens came along.

    ``sent`` has the bytes of each file that went out, ``requests`` every request in order, and
    ``elsewhere`` the tokens that came to the host to which ``redirects`` leads.
    """

    folder: Path
    endpoint: str = ""
    asked: Counter[str] = field(default_factory=Counter)
    tokens: set[str] = field(default_factory=set)
    sent: Counter[str] = field(default_factory=Counter)
    requests: list[str] = field(default_factory=list)
    elsewhere: set[str] = field(default_factory=set)


@contextmanager
def serve(folder: Path) -> Iterator[Hub]:
    """Serve a pipeline folder as ``tiny/<behaviour>`` until the block ends."""
    hub = Hub(folder)

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.state.tokens.add(self.headers.get("Authorization", ""))
        path = unquote(self.path.split("?")[0])
        behaviour = path.removeprefix("/api/models/").removeprefix("/").split("/")[1]
        self.state.asked[behaviour] += 1
        self.state.requests.append(f"{self.command} {path}")
        if behaviour in REFUSALS:
            status, headers = REFUSALS[behaviour]
            self._answer(status, b"{}", headers)
        elif behaviour == "stalls":
            time.sleep(STALL_S)
        elif behaviour == "resets" or (behaviour == "flaky" and self.state.asked["flaky"] == 1):
            if behaviour == "flaky":
                self._answer(500, b"{}", {})
            self.close_connection = True
        elif path.startswith("/api/models/"):
            self._describe(path, behaviour)
        else:
            self._file(path, behaviour)

    def _describe(self, path: str, behaviour: str) -> None:
        revision = path.partition("/revision/")[2]
        if revision not in {"", "main", COMMIT}:
            self._answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            return
        folder = self.state.folder
        files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
        files += [f"{name.removesuffix('.safetensors')}.bin" for name in files if "saf" in name]
        files += ["README.md", "flux1-dev.safetensors", "vae/diffusion_pytorch_model.msgpack"]
        if behaviour == "no-index":
            files.remove("model_index.json")
        if behaviour == "pickled":
            files = [name for name in files if not name.endswith(".safetensors")]
        if behaviour == "code":
            files.append("unet/my_unet.py")
        repository = f"tiny/{behaviour}"
        answer = {"id": repository, "modelId": repository, "sha": COMMIT}
        siblings = [{"rfilename": name} for name in files]
        self._answer(200, json.dumps({**answer, "siblings": siblings}).encode(), {})

    def _file(self, path: str, behaviour: str) -> None:
        name = path.partition("/resolve/")[2].partition("/")[2]
        place = self.state.folder / name
        if not place.is_file():
            self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        if behaviour == "redirects" and name.endswith(".safetensors"):
            host, _, port = self.headers["Host"].partition(":")
            if host == "127.0.0.1":
                self._answer(302, b"", {"Location": f"http://localhost:{port}{self.path}"})
                return
            self.state.elsewhere.add(self.headers.get("Authorization", ""))
        if behaviour == "gated-files":
            self._answer(*_with_body(REFUSALS["gated"]))
            return
        weights = name.endswith(".safetensors")
        size = place.stat().st_size
        if behaviour == "corrupt" and name.startswith("unet/") and weights:
            size -= 8
        first = self.command == "GET" and self.state.asked[f"{behaviour} {name}"] == 0
        self.state.asked[f"{behaviour} {name}"] += self.command == "GET"
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{_digest(place, size)}"'}
        begin, end, status = 0, size, 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked and behaviour != "knows-no-ranges":
            begin, end = int(asked[1]), min(size, int(asked[2] or size) + 1)
            status = 206
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
        cut = behaviour == "truncates" and first and weights
        self._span(status, place, (begin, end), headers, cut=cut, name=name)

    def _span(
        self,
        status: int,
        place: Path,
        span: tuple[int, int],
        headers: dict[str, str],
        *,
        cut: bool,
        name: str,
    ) -> None:
        begin, end = span
        self._head(status, end - begin, headers)
        if self.command != "GET":
            return
        left = (end - begin) // 2 if cut else end - begin
        with place.open("rb") as file:
            file.seek(begin)
            while left:
                try:
                    self.wfile.write(block := file.read(min(left, 1 << 16)))
                except ConnectionError:
                    self.close_connection = True
                    return  # whoever asked has seen enough
                left -= len(block)
                self.state.sent[name] += len(block)
        if cut:
            self.close_connection = True

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self._head(status, len(body), headers)
        if self.command == "GET":
            self.wfile.write(body)

    def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the tests look at standard error."""


def _with_body(refusal: tuple[int, dict[str, str]]) -> tuple[int, bytes, dict[str, str]]:
    return refusal[0], b"{}", refusal[1]


def _digest(place: Path, size: int) -> str:
    if size > HASHED_BYTES:
        return sha256(f"{place.name} {size}".encode()).hexdigest()
    return sha256(place.read_bytes()[:size]).hexdigest()
