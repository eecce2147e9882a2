"""A small Hub on this machine, which `huggingface_hub`'s own client talks to over HTTP.

    with HubServer() as hub:
        use(hub, tmp_path, monkeypatch)
        push_folder("patch", "someone/patch")
        hub.repos["someone/patch"].files()       # path -> content

It speaks the routes that publishing, fetching and searching need: create, branch, preupload, commit
(with plain files, which the server of a Hub may ask for), info, tree, resolve and list. Large files
go another way on the real Hub (LFS or Xet), which the client chooses when the server asks for it;
that way is not spoken here. `whoever` is in the token: `Bearer NAME`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import yaml
from huggingface_hub import constants

Files = dict[str, bytes]

_API = re.compile(r"/api/models/([^/]+/[^/]+)(?:/(\w+)/([^/]+).*)?")
_FILE = re.compile(r"/([^/]+/[^/]+)/(resolve)/([^/]+)/(.+)")


def metadata_of(card: str) -> dict[str, Any]:
    """The YAML block on top of a card."""
    found = re.match(r"---\n(.*?)\n---", card, re.DOTALL)
    data: dict[str, Any] = yaml.safe_load(found[1]) if found else {}
    return data


@dataclass
class Repo:
    """A repository: commits, and the branches that point at them."""

    owner: str
    private: bool = False
    gated: bool = False
    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: Files) -> str:
        """Make a commit the newest one of a branch."""
        text = repr((sorted(files.items()), len(self.commits)))
        oid = hashlib.sha1(text.encode()).hexdigest()
        self.commits[oid] = files
        self.branches[branch] = oid
        return oid

    def find(self, revision: str) -> str | None:
        """The commit of a branch or of a commit's own name."""
        oid = self.branches.get(revision, revision)
        return oid if oid in self.commits else None

    def files(self, revision: str = "main") -> Files:
        """Content by path."""
        return self.commits[self.find(revision) or ""]

    def tags(self) -> list[str]:
        """As the Hub makes them of the card."""
        data = metadata_of(self.files().get("README.md", b"").decode())
        tags = [*data.get("tags", []), data.get("library_name", "")]
        if "base_model" in data:
            tags.append(f"base_model:{data['base_model']}")
            relation = data.get("base_model_relation", "finetune")
            tags.append(f"base_model:{relation}:{data['base_model']}")
        return tags


class HubServer:
    """See the module.

    Attributes:
        repos: By name.
        requests: `METHOD path` of every request.
        breaks: Paths that are answered with a broken connection.
    """

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.requests: list[str] = []
        self.breaks: list[str] = []
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        # Asked often whether it is to end, so that no test waits for it.
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, name: str, files: Files, **options: Any) -> Repo:
        """A repository with one commit on main."""
        repo = Repo(name.partition("/")[0], **options)
        repo.commit("main", files)
        self.repos[name] = repo
        return repo


def use(hub: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch, token: str = "") -> None:
    """Let the client talk to this Hub, keep its cache in a folder, and be this user."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        hub.address + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "no-token"))


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing: a test reads `requests`."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self._answer("GET", {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        lines = [json.loads(line) for line in body.splitlines() or [b"{}"]]
        self._answer("POST", lines[0] if len(lines) == 1 else {"lines": lines})

    @property
    def who(self) -> str:
        """The name in the token; empty for nobody."""
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def _answer(self, method: str, body: dict[str, Any]) -> None:
        url = urlsplit(self.path)
        self.hub.requests.append(f"{self.command} {url.path}")
        if any(part in url.path for part in self.hub.breaks):
            self.close_connection = True
        elif url.path == "/api/models":
            self._json(self._listed(parse_qs(url.query)))
        elif url.path == "/api/repos/create":
            self._create(body)
        elif url.path == "/api/validate-yaml":
            self._validate(body["content"])
        else:
            found = _API.fullmatch(url.path) or _FILE.fullmatch(url.path)
            if found is not None:
                self._repository(method, *map(unquote, found.groups("")), body=body)
            else:  # the client asks for things beside the matter, too
                self._refuse(404)

    def _repository(
        self, method: str, name: str, verb: str, revision: str, path: str = "", *, body: Any
    ) -> None:
        """What is asked of one repository."""
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and self.who != repo.owner):
            return self._refuse(401, "RepoNotFound")
        if method == "POST" and self.who != repo.owner:
            return self._refuse(403 if self.who else 401)
        if verb == "branch":
            repo.branches.setdefault(revision, repo.branches["main"])
            return self._json({})
        oid = repo.find(revision or "main")
        if oid is None:
            return self._refuse(404, "RevisionNotFound")
        if verb == "resolve":
            return self._resolve(repo, oid, path)
        return self._json(getattr(self, f"_{verb or 'revision'}")(repo, name, revision, oid, body))

    def _revision(self, repo: Repo, name: str, revision: str, oid: str, body: Any) -> Any:
        siblings = [{"rfilename": path} for path in repo.commits[oid]]
        info = {"id": name, "sha": oid, "private": repo.private, "tags": repo.tags()}
        return {**info, "siblings": siblings}

    def _tree(self, repo: Repo, name: str, revision: str, oid: str, body: Any) -> Any:
        rows = []
        for path, content in repo.commits[oid].items():
            digest = hashlib.sha1(content).hexdigest()
            rows.append({"type": "file", "path": path, "size": len(content), "oid": digest})
        return rows

    def _preupload(self, repo: Repo, name: str, revision: str, oid: str, body: Any) -> Any:
        paths = [file["path"] for file in body["files"]]
        return {
            "files": [
                {"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in paths
            ]
        }

    def _commit(self, repo: Repo, name: str, revision: str, oid: str, body: Any) -> Any:
        files = dict(repo.commits[oid])
        for line in body["lines"]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        made = repo.commit(revision, files)
        return {"commitUrl": f"{self.hub.address}/{name}/commit/{made}", "commitOid": made}

    def _validate(self, content: str) -> None:
        """The client asks for this before it commits a card: the Hub's rules, as far as known."""
        data = metadata_of(content)
        wrong = []
        if data.get("license", "other") != data.get("license", "other").lower():
            wrong.append("license must be one of the Hub's words")
        if "/" not in data.get("base_model", "/") or "/" not in "".join(data.get("datasets", "/")):
            wrong.append("base_model and datasets are names on the Hub")
        errors = [{"message": text} for text in wrong]
        self._json({"errors": errors, "warnings": []}, 400 if wrong else 200)

    def _listed(self, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        rows = []
        for name, repo in self.hub.repos.items():
            seen = not repo.private or self.who == repo.owner
            fits = set(query.get("filter", [])) <= set(repo.tags())
            if seen and fits and query.get("search", [""])[0] in name:
                rows.append(
                    {"id": name, "tags": repo.tags(), "private": repo.private, "downloads": 3}
                )
        return rows[: int(query.get("limit", ["20"])[0])]

    def _create(self, body: dict[str, Any]) -> None:
        name = f"{body['organization']}/{body['name']}"
        if self.who != body["organization"]:
            return self._refuse(403 if self.who else 401)
        if name in self.hub.repos:
            self._json({"error": "exists", "url": f"{self.hub.address}/{name}"}, 409)
        else:
            files = {".gitattributes": b"*.safetensors filter=lfs\n"}
            self.hub.add(name, files, private=body.get("visibility") == "private")
            self._json({"url": f"{self.hub.address}/{name}"})
        return None

    def _resolve(self, repo: Repo, oid: str, path: str) -> None:
        if repo.gated and self.who != repo.owner:
            return self._refuse(403, "GatedRepo")
        content = repo.commits[oid].get(path)
        if content is None:
            return self._refuse(404, "EntryNotFound")
        headers = {"X-Repo-Commit": oid, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
        return self._send(200, content, headers)

    def _refuse(self, status: int, code: str = "") -> None:
        headers = {"X-Error-Code": code} if code else {}
        self._send(status, b'{"error": "no"}', headers)

    def _json(self, data: Any, status: int = 200) -> None:
        self._send(status, json.dumps(data).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
