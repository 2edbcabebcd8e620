"""Repositories of the stand-in for the Hugging Face hub: what its client asks for to read, create and write them."""

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

MAIN = "main"


@dataclass
class LoopbackRepository:
    """A repository of models with its branches and commits."""

    private: bool = False
    gated: bool = False
    """Whether its files need access that nobody has."""
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], branch: str = MAIN) -> str:
        told = json.dumps({name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())})
        name = hashlib.sha1(f"{len(self.commits)} {told}".encode()).hexdigest()
        self.commits[name], self.branches[branch] = dict(files), name
        return name

    def files(self, branch: str = MAIN) -> dict[str, bytes]:
        return self.commits[self.branches[branch]]

    def resolve(self, revision: str) -> str | None:
        """The commit that a revision means."""
        return self.branches.get(revision, revision if revision in self.commits else None)


@dataclass
class Answer:
    status: int = 200
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: object, status: int = 200) -> "Answer":
        return cls(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    @classmethod
    def error(cls, status: int, code: str, message: str = "") -> "Answer":
        headers = {"X-Error-Code": code} if code else {}
        return cls(status, b"", headers | ({"X-Error-Message": message} if message else {}))


@dataclass
class Repositories:
    """All repositories, and who may write."""

    known: dict[str, LoopbackRepository] = field(default_factory=dict)
    token: str = "hf_writer"
    """The token that may read and write everything; another is refused."""
    reader: str = "hf_reader"
    """A token that may read what is public."""
    objects: dict[str, bytes] = field(default_factory=dict)

    def answer(self, method: str, path: str, body: bytes, authorization: str | None, url: str) -> Answer | None:
        """The answer to a request; None if it isn't about a repository that is known here, or to be made."""
        given = (authorization or "").removeprefix("Bearer ") or None
        if given not in (None, self.token, self.reader):
            return Answer.error(401, "", "Invalid credentials in Authorization header")
        if path == "/api/validate-yaml":
            return Answer.json({"errors": [], "warnings": []})
        if found := re.fullmatch(r"/objects/(\w+)", path):
            assert hashlib.sha256(body).hexdigest() == found[1]
            self.objects[found[1]] = body
            return Answer()
        if path == "/api/repos/create":
            return self._create(json.loads(body), given, url)
        found = re.fullmatch(r"/(?:api/models/)?([\w.-]+/[\w.-]+?)(?:\.git)?(?:/(.*))?", path)
        if found is None or (found[1] not in self.known and not path.startswith("/api/") and "/resolve/" not in path):
            return None
        repository = self.known.get(found[1])
        if repository is None or (repository.private and given != self.token):
            return Answer.error(401 if given is None else 404, "RepoNotFound", "Repository not found")
        return self._about(repository, found[1], method, found[2] or "", body, given, url)

    def _create(self, asked: dict[str, Any], given: str | None, url: str) -> Answer:
        name = f"{asked['organization']}/{asked['name']}"
        if given is None:
            return Answer.error(401, "", "Invalid username or password.")
        if given != self.token:
            return Answer.error(403, "", "You don't have the rights to create a model under this namespace")
        if name in self.known:
            return Answer.json({"error": "exists", "url": f"{url}/{name}"}, 409)
        private = asked.get("visibility") == "private" or asked.get("private", False)
        self.known[name] = made = LoopbackRepository(private=private)
        made.commit({".gitattributes": b""})
        return Answer.json({"url": f"{url}/{name}", "name": name})

    def _about(
        self, found: LoopbackRepository, name: str, method: str, what: str, body: bytes, given: str | None, url: str
    ) -> Answer:
        verb, _, rest = what.partition("/")
        if verb == "resolve":
            revision, _, file = rest.partition("/")
            return _file(found, revision, file)
        if verb in ("", "revision", "tree"):
            return _listing(found, name, verb, rest.partition("/")[0] or MAIN)
        if given != self.token:
            return Answer.error(403, "", "Forbidden: pass a token with write access")
        if verb == "branch":
            known = rest in found.branches
            found.branches.setdefault(rest, found.branches[MAIN])
            return Answer.json({}, 409 if known else 200)
        if verb == "preupload":
            files = json.loads(body)["files"]
            fixed = {"shouldIgnore": False, "oid": None}
            modes = [fixed | {"path": one["path"], "uploadMode": _upload_mode(one["path"])} for one in files]
            return Answer.json({"files": modes})
        if what == "info/lfs/objects/batch":
            wanted = json.loads(body)["objects"]
            return Answer.json(
                {"objects": [{**one, "actions": {"upload": {"href": f"{url}/objects/{one['oid']}"}}} for one in wanted]}
            )
        assert verb == "commit", (method, what)
        return self._commit(found, name, rest, body, url)

    def _commit(self, found: LoopbackRepository, name: str, branch: str, body: bytes, url: str) -> Answer:
        if branch not in found.branches:
            return Answer.error(404, "RevisionNotFound")
        files = dict(found.files(branch))
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            match entry["key"]:
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.objects[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        commit = found.commit(files, branch)
        address = f"{url}/{name}/commit/{commit}"
        return Answer.json({"commitUrl": address, "commitOid": commit, "success": True})


def _upload_mode(path: str) -> str:
    return "lfs" if path.endswith((".safetensors", ".png")) else "regular"


def _file(found: LoopbackRepository, revision: str, file: str) -> Answer:
    commit = found.resolve(revision)
    if commit is None:
        return Answer.error(404, "RevisionNotFound")
    if found.gated:
        return Answer.error(403, "GatedRepo", "Access to this model is restricted")
    content = found.commits[commit].get(file)
    if content is None:
        missing = Answer.error(404, "EntryNotFound")
        missing.headers["X-Repo-Commit"] = commit
        return missing
    digest = hashlib.sha256(content).hexdigest()
    headers = {"X-Repo-Commit": commit, "ETag": f'"{digest}"', "X-Linked-Etag": f'"{digest}"'}
    return Answer(200, content, headers | {"X-Linked-Size": str(len(content)), "Accept-Ranges": "bytes"})


def _listing(found: LoopbackRepository, name: str, verb: str, revision: str) -> Answer:
    commit = found.resolve(revision)
    if commit is None:
        return Answer.error(404, "RevisionNotFound")
    files = found.commits[commit]
    if verb == "tree":
        entries = [
            {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for path, content in files.items()
        ]
        return Answer.json(entries)
    about = {"id": name, "modelId": name, "sha": commit, "private": found.private, "gated": False, "disabled": False}
    return Answer.json(about | {"tags": [], "downloads": 0, "likes": 0, "siblings": [{"rfilename": f} for f in files]})
