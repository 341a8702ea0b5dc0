"""A stand-in for the Hugging Face hub: the few addresses that a download asks for. Tests use it through fixtures."""

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True)
class Repository:
    """What the stand-in serves.

    Attributes:
        name: `owner/name`.
        files: path in the repository to contents.
        kind: `dataset` or `model`.
        commit: its only commit.
        status: what a request for its description is answered with.
        gated: described to everybody, but its files are for none.
        stalled: described, but a request for a file is never answered.
    """

    name: str
    files: Mapping[str, bytes]
    kind: str = "dataset"
    commit: str = "0123456789abcdef0123456789abcdef01234567"
    status: int = 200
    gated: bool = False
    stalled: bool = False

    @property
    def api(self) -> str:
        return f"/api/{self.kind}s/{self.name}"

    @property
    def resolve(self) -> str:
        return f"/{'datasets/' if self.kind == 'dataset' else ''}{self.name}/resolve/"


@contextmanager
def serving(*repositories: Repository) -> Iterator[str]:
    """Serve repositories; the value is what `HF_ENDPOINT` must be. Others do not exist there."""
    closing = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self, repositories, closing)

        do_HEAD = do_GET

        def log_message(self, *args: object) -> None:
            """Nothing: standard error is tested."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def black_hole(asked: list[object] | None = None) -> Iterator[str]:
    """A hub that takes every connection and never says a word; the value is what `HF_ENDPOINT` must be.

    Args:
        asked: gets an entry for each connection, once the hub is gone.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:  # the kernel accepts, nobody reads
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.setblocking(False)
        with suppress(BlockingIOError):
            while asked is not None:
                connection, address = listener.accept()
                connection.close()
                asked.append(address)


def answer(handler: BaseHTTPRequestHandler, repositories: tuple[Repository, ...], closing: threading.Event) -> None:
    path = unquote(urlsplit(handler.path).path)
    for repository in repositories:
        if path == repository.api or path.startswith(f"{repository.api}/revision/"):
            if repository.status != 200:
                return refuse(handler, repository.status, "")
            if path not in (
                repository.api,
                *(f"{repository.api}/revision/{rev}" for rev in ("main", repository.commit)),
            ):
                return refuse(handler, 404, "RevisionNotFound")
            return send_json(handler, describe(repository))
        if path.startswith(f"{repository.api}/tree/"):
            return send_json(handler, tree(repository))
        if path.startswith(repository.resolve):
            if repository.stalled:
                closing.wait()
                return None
            if repository.gated:
                return refuse(handler, 403, "GatedRepo")
            file = path.removeprefix(repository.resolve).split("/", 1)[1]
            return send(handler, repository, file)
    return refuse(handler, 404, "RepoNotFound")


def describe(repository: Repository) -> object:
    siblings = [{"rfilename": name} for name in repository.files]
    return {"id": repository.name, "sha": repository.commit, "private": False, "siblings": siblings}


def tree(repository: Repository) -> object:
    return [
        {"type": "file", "path": name, "size": len(data), "oid": sha1(data).hexdigest()}
        for name, data in repository.files.items()
    ]


def send(handler: BaseHTTPRequestHandler, repository: Repository, file: str) -> None:
    if file not in repository.files:
        return refuse(handler, 404, "EntryNotFound")
    data = repository.files[file]
    headers = {"ETag": f'"{sha256(data).hexdigest()}"', "X-Repo-Commit": repository.commit}
    return reply(handler, 200, data, headers)


def send_json(handler: BaseHTTPRequestHandler, value: object) -> None:
    reply(handler, 200, json.dumps(value).encode(), {"Content-Type": "application/json"})


def refuse(handler: BaseHTTPRequestHandler, status: int, code: str) -> None:
    reply(handler, status, b"", {"X-Error-Code": code})


def reply(handler: BaseHTTPRequestHandler, status: int, data: bytes, headers: Mapping[str, str]) -> None:
    handler.send_response(status)
    for name, value in {**headers, "Content-Length": str(len(data))}.items():
        handler.send_header(name, value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(data)
