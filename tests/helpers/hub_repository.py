"""A repository of the stand-in for the Hub, in memory: commits, branches, and what the Hub says of a file."""

import hashlib
from dataclasses import dataclass, field
from uuid import uuid4

LARGE = (".safetensors", ".bin")  # what `.gitattributes` of a new repository sends to LFS


@dataclass
class Commit:
    oid: str
    parent: str | None
    message: str
    files: dict[str, bytes]


@dataclass
class Repository:
    owner: str
    private: bool = False
    commits: list[Commit] = field(default_factory=list)
    refs: dict[str, str] = field(default_factory=dict)

    def at(self, revision: str = "main") -> Commit | None:
        oid = self.refs.get(revision, revision)
        return next((commit for commit in self.commits if commit.oid == oid), None)

    def commit(self, files: dict[str, bytes | None], message: str = "by hand", branch: str = "main") -> Commit:
        """Adds files to what is there, or takes those away that are `None`."""
        parent = self.at(branch)
        every = {**(parent.files if parent else {}), **files}
        oid = uuid4().hex + "0" * 8  # another in each repository: clients keep what they fetched by it
        whole = {path: content for path, content in every.items() if content is not None}
        self.commits.append(Commit(oid, parent and parent.oid, message, whole))
        self.refs[branch] = oid
        return self.commits[-1]


def blob_of(path: str, content: bytes) -> dict:
    """What the Hub says of a file: its id in git, its size, and where it is large, that of its content."""
    about = {"size": len(content)}
    if path.endswith(LARGE):
        about["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        content = f"oid sha256:{about['lfs']['sha256']}".encode()  # git holds a pointer
    oid = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    return {**about, "blobId": oid, "oid": oid}
