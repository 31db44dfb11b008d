"""A stand-in of the Hugging Face Hub: its HTTP interface for models, as the client of `huggingface_hub` uses it.

Repositories with commits, branches and tags, private ones among them, regular and LFS files, in memory. Answers are the
Hub's: statuses, `X-Error-Code`, ETags, a redirect to another host for LFS files, 412 for a commit whose parent is not
the branch's last one. Xet, the Hub's newer storage, is not there; clients are started with `HF_HUB_DISABLE_XET=1`.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from .hub_repository import LARGE, Commit, Repository, blob_of

USERS = {"hf_me": "me", "hf_other": "other"}  # by token


class Answer(Exception):
    """An answer that ends the handling of a request."""

    def __init__(self, status: int, content: bytes | dict | list = b"", **headers: str):
        self.status, self.headers = status, {name.replace("_", "-"): value for name, value in headers.items()}
        self.content = content if isinstance(content, bytes) else json.dumps(content).encode()


class Hub:
    """
    Attributes:
        requests: method and path of each request, in their order.
        meanwhile: called with method and path when a request has come and before it is answered: what others do then.
    """

    def __init__(self):
        self.repositories: dict[str, Repository] = {}
        self.blobs: dict[str, bytes] = {}  # uploaded by LFS, by their SHA-256
        self.stored: dict[str, str] = {}  # in which file that content was asked for
        self.requests: list[tuple[str, str]] = []
        self.meanwhile: Callable[[str, str], None] = lambda method, path: None
        self.lock = threading.RLock()
        self.port = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def storage(self) -> str:
        """Another host than the Hub, as its storage is: clients have to keep their tokens from it."""
        return f"http://localhost:{self.port}"

    def start(self) -> None:
        """On the network, again at the port that it had."""
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.hub, self.server.daemon_threads, self.port = self, True, self.server.server_port
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def add(self, repo_id: str, folder: Path, private: bool = False) -> Repository:
        """A repository that holds a folder's files."""
        files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        repository = self.repositories[repo_id] = Repository(repo_id.split("/")[0], private)
        repository.commit(files, "as the folder")
        return repository

    def fetched(self) -> list[str]:
        """The files whose content was sent, in their order."""
        names = []
        for path in (path for method, path in self.requests if method == "GET"):
            small = re.fullmatch(r"/[^/]+/[^/]+/resolve/[^/]+/(.+)", path)
            if path.startswith("/lfs/"):
                names.append(self.stored[path.removeprefix("/lfs/")])
            elif small and not small[1].endswith(LARGE):
                names.append(small[1])
        return names

    def answer(self, method: str, path: str, query: dict, headers, body: bytes) -> None:
        """Raises the `Answer` to a request."""
        user = USERS.get((headers.get("authorization") or "").removeprefix("Bearer "))
        for pattern, handle in ROUTES.items():
            if match := re.fullmatch(pattern, f"{method} {path}"):
                handle(self, user, headers, query, body, *map(unquote, match.groups()))
        raise Answer(404, {"error": f"the stand-in has no {method} {path}"})

    def find(self, user: str | None, repo_id: str) -> Repository:
        repository = self.repositories.get(repo_id)
        if repository is None or (repository.private and user != repository.owner):
            # A client without a token does not learn which repositories exist.
            raise Answer(401 if user is None else 404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        return repository

    def find_commit(self, user: str | None, repo_id: str, revision: str) -> Commit:
        commit = self.find(user, repo_id).at(revision)
        if commit is None:
            raise Answer(404, {"error": f"Invalid rev id: {revision}"}, X_Error_Code="RevisionNotFound")
        return commit

    def find_to_write(self, user: str | None, repo_id: str, proposed: bool = False) -> Repository:
        repository = self.find(user, repo_id)
        if user is None:
            raise Answer(401, {"error": "Invalid username or password."})
        if user != repository.owner and not proposed:
            raise Answer(403, {"error": "You don't have the rights"}, X_Error_Message="You don't have the rights")
        return repository


def create(hub: Hub, user, headers, query, body):
    asked = json.loads(body)
    if user is None:
        raise Answer(401, {"error": "Invalid username or password."})
    owner = asked.get("organization") or user
    repo_id = f"{owner}/{asked['name']}"
    url = {"url": f"{hub.endpoint}/{repo_id}"}
    if repo_id in hub.repositories:
        raise Answer(409, {**url, "error": "You already created this model repo"})
    if owner != user:
        raise Answer(403, {"error": "no rights"}, X_Error_Message="You don't have the rights to create a model there")
    hub.repositories[repo_id] = Repository(owner, asked.get("visibility") == "private")
    hub.repositories[repo_id].commit({".gitattributes": b"*.safetensors filter=lfs\n"}, "initial commit")
    raise Answer(200, url)


def info(hub: Hub, user, headers, query, body, repo_id, revision="main"):
    commit = hub.find_commit(user, repo_id, revision)
    siblings = [{"rfilename": path} for path in commit.files]
    if "blobs" in query:
        siblings = [{"rfilename": path, **blob_of(path, content)} for path, content in commit.files.items()]
    raise Answer(200, {"id": repo_id, "sha": commit.oid, "siblings": siblings, "tags": [], "downloads": 0, "likes": 0})


def tree(hub: Hub, user, headers, query, body, repo_id, revision, folder=""):
    commit = hub.find_commit(user, repo_id, revision)
    paths = [path for path in commit.files if path.startswith(f"{folder}/" if folder else "")]
    if not paths:
        raise Answer(404, {"error": f"{folder} does not exist"}, X_Error_Code="EntryNotFound")
    blobs = {path: blob_of(path, commit.files[path]) for path in paths}
    for blob in blobs.values():
        if "lfs" in blob:
            blob["lfs"]["oid"] = blob["lfs"].pop("sha256")  # its name in this answer
    raise Answer(200, [{"type": "file", "path": path, **blob} for path, blob in blobs.items()])


def resolve(hub: Hub, user, headers, query, body, repo_id, revision, path):
    commit = hub.find_commit(user, repo_id, revision)
    if path not in commit.files:
        known = {"X_Error_Code": "EntryNotFound", "X_Repo_Commit": commit.oid}
        raise Answer(404, b"Entry not found", **known)
    content = commit.files[path]
    blob = blob_of(path, content)
    if "lfs" not in blob:
        raise Answer(200, content, ETag=f'"{blob["blobId"]}"', X_Repo_Commit=commit.oid)
    oid = blob["lfs"]["sha256"]
    hub.blobs[oid], hub.stored[oid] = content, path
    linked = {"X_Linked_Size": str(len(content)), "X_Linked_ETag": f'"{oid}"', "X_Repo_Commit": commit.oid}
    raise Answer(302, b"", Location=f"{hub.storage}/lfs/{oid}", **linked)


def preupload(hub: Hub, user, headers, query, body, repo_id, revision):
    repository = hub.find_to_write(user, repo_id, proposed=is_proposed(query, revision))
    there = getattr(repository.at(revision), "files", {})
    answers = []
    for file in json.loads(body)["files"]:
        path = file["path"]
        about = {"path": path, "uploadMode": "lfs" if path.endswith(LARGE) else "regular", "shouldIgnore": False}
        if path in there:
            blob = blob_of(path, there[path])
            about["oid"] = blob["lfs"]["sha256"] if "lfs" in blob else blob["blobId"]
        answers.append(about)
    raise Answer(200, {"files": answers})


def lfs_batch(hub: Hub, user, headers, query, body, repo_id):
    hub.find_to_write(user, repo_id, proposed=True)
    objects = []
    for asked in json.loads(body)["objects"]:
        upload = {"actions": {"upload": {"href": f"{hub.storage}/lfs/{asked['oid']}"}}}
        objects.append(asked | ({} if asked["oid"] in hub.blobs else upload))
    raise Answer(200, {"transfer": "basic", "objects": objects})


def lfs_put(hub: Hub, user, headers, query, body, oid):
    _require_no_token(headers)
    if hashlib.sha256(body).hexdigest() != oid:
        raise Answer(400, {"error": "another content than was announced"})
    hub.blobs[oid] = body
    raise Answer(200)


def lfs_get(hub: Hub, user, headers, query, body, oid):
    _require_no_token(headers)
    content = hub.blobs[oid]
    if part := re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range") or ""):
        start, end = int(part[1]), min(int(part[2] or len(content)), len(content) - 1)
        sent = {"Content_Range": f"bytes {start}-{end}/{len(content)}"}
        raise Answer(206, content[start : end + 1], **sent)
    raise Answer(200, content, ETag=f'"{oid}"')


def commit(hub: Hub, user, headers, query, body, repo_id, revision):
    repository = hub.find_to_write(user, repo_id, proposed=is_proposed(query, revision))
    lines = [json.loads(line) for line in body.splitlines()]
    header = lines[0]["value"]
    last = hub.find_commit(user, repo_id, revision)
    branch, request = revision, None
    if "create_pr" in query:
        number = 1 + sum(ref.startswith("refs/pr/") for ref in repository.refs)
        branch, request = f"refs/pr/{number}", f"{hub.endpoint}/{repo_id}/discussions/{number}"
        repository.refs[branch] = header.get("parentCommit", last.oid)
    elif header.get("parentCommit", last.oid) != last.oid:
        raise Answer(412, {"error": "A commit has happened since. Please refresh and try again."})
    files = {}
    for line in lines[1:]:
        value = line["value"]
        if line["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif line["key"] == "lfsFile":
            files[value["path"]] = hub.blobs[value["oid"]]
        else:
            files[value["path"]] = None
    made = repository.commit(files, header["summary"], branch)
    url = f"{hub.endpoint}/{repo_id}/commit/{made.oid}"
    raise Answer(200, {"commitUrl": url, "commitOid": made.oid, "pullRequestUrl": request})


def is_proposed(query: dict, revision: str) -> bool:
    """Whether a commit opens a pull request, or goes into one, for which nobody needs rights."""
    return "create_pr" in query or revision.startswith("refs/pr/")


def branch(hub: Hub, user, headers, query, body, repo_id, name):
    repository = hub.find_to_write(user, repo_id)
    if name in repository.refs:
        raise Answer(409, {"error": "Reference already exists"})
    repository.refs[name] = repository.at(json.loads(body or b"{}").get("startingPoint", "main")).oid
    raise Answer(200)


def validate(hub: Hub, user, headers, query, body):
    raise Answer(200, {"errors": [], "warnings": []})


def _require_no_token(headers):
    if headers.get("authorization"):
        raise Answer(400, {"error": "a token was sent to the storage"})


REPO = "([^/]+/[^/]+?)"
ROUTES = {
    "POST /api/repos/create": create,
    "POST /api/validate-yaml": validate,
    f"GET /api/models/{REPO}": info,
    f"GET /api/models/{REPO}/revision/([^/]+)": info,
    f"GET /api/models/{REPO}/tree/([^/]+)": tree,
    f"GET /api/models/{REPO}/tree/([^/]+)/(.+)": tree,
    f"(?:GET|HEAD) /{REPO}/resolve/([^/]+)/(.+)": resolve,
    f"POST /api/models/{REPO}/preupload/([^/]+)": preupload,
    f"POST /api/models/{REPO}/commit/([^/]+)": commit,
    f"POST /api/models/{REPO}/branch/([^/]+)": branch,
    rf"POST /{REPO}\.git/info/lfs/objects/batch": lfs_batch,
    "PUT /lfs/([0-9a-f]{64})": lfs_put,
    "(?:GET|HEAD) /lfs/([0-9a-f]{64})": lfs_get,
}


@contextmanager
def serving():
    """A `Hub` that listens at its `endpoint`."""
    hub = Hub()
    hub.start()
    yield hub
    hub.stop()


class Handler(BaseHTTPRequestHandler):
    def handle_any(self):
        hub, split = self.server.hub, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        with hub.lock:
            path = unquote(split.path)
            hub.requests.append((self.command, path))
            hub.meanwhile(self.command, path)
            try:
                hub.answer(self.command, split.path, parse_qs(split.query), self.headers, body)
            except Answer as answer:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer.content)

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def log_message(self, *args):
        pass
