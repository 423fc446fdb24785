"""Download a model from the Hugging Face Hub, or take the complete copy in its cache.

What the hub client says is never shown: its messages may hold signed addresses, and a malformed
token is quoted by the HTTP library (fault matrix F14).
"""

from __future__ import annotations

import difflib
import errno
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from autotune.errors import AutotuneError, BadInput, ModelUnavailable, shorten
from autotune.models.catalog import load_catalog
from autotune.models.index import INDEX, SMALL_FILES, Index, read_index, refuse_code
from autotune.models.weights import weight_files

#: One more try for what may pass: a restart, a lost packet (F10, F13).
TRIES = 2
PAUSE_S = 1.0

T = TypeVar("T")


class OutOfReach(ModelUnavailable):
    """The hub gave no answer at all: no network, or none is allowed."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What the hub says of a repository: the commit that a revision stands for, and its files."""

    commit: str
    files: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A folder in the hub's cache, pinned to a commit.

    ``problem`` says why the hub could not be asked; the folder may then be incomplete.
    """

    folder: Path
    commit: str
    problem: ModelUnavailable | None = None


def fetch(repository: str, revision: str | None, *, allow_download: bool = True) -> Snapshot:
    """Bring a repository's pipeline to this machine: configurations, tokenizers, safetensors.

    Args:
        repository: As ``org/name``.
        revision: A branch, tag or commit; ``None`` for the newest.
        allow_download: Whether the network may be used at all.

    Raises:
        BadInput: If it is no diffusers pipeline, needs its own code, or has only pickled weights.
        ModelUnavailable: If it cannot be had, and no copy of it is in the cache.
    """
    problem = ModelUnavailable(
        f"{_named(repository, revision)} may not be downloaded",
        hint="name it with --model (model= in Python), which may download it",
    )
    if allow_download:
        try:
            return ask_hub(repository, revision, lambda: _download(repository, revision))
        except ModelUnavailable as error:
            problem = error
    if cached := _cached(repository, revision):
        return Snapshot(folder=cached, commit=cached.name, problem=problem)
    raise problem from None


def ask_hub(repository: str, revision: str | None, ask: Callable[[], T]) -> T:
    """Do something that needs the hub, and once more if what went wrong may pass.

    Args:
        repository: What it is about, for the messages.
        revision: As the user wrote it.
        ask: What uses the hub client; the errors of autotune that it raises are passed on.

    Raises:
        ModelUnavailable: If it cannot be done, in our words.
    """
    tries = TRIES
    while True:
        tries -= 1
        try:
            return ask()
        except AutotuneError:
            raise
        except Exception as error:
            # The client raises its own errors, those of httpx or httpx2, and those of the system.
            reason = _Reason(error)
        if not tries or not reason.may_pass:
            raise reason.explain(repository, revision)
        time.sleep(PAUSE_S)


def list_files(repository: str, revision: str | None) -> Listing:
    """Ask the hub for the files of a repository and the commit that a revision stands for.

    Raises:
        BadInput: If it is no diffusers pipeline.
        Exception: Whatever the hub client raises; `ask_hub` explains it.
    """
    from huggingface_hub import HfApi, constants

    timeout_s = float(constants.HF_HUB_ETAG_TIMEOUT)
    found = HfApi().model_info(repository, revision=revision, timeout=timeout_s)
    files = tuple(sibling.rfilename for sibling in found.siblings or ())
    if INDEX not in files or not found.sha:
        raise BadInput(
            f"{repository} is not a diffusers pipeline: it has no {INDEX}",
            hint="many models have a second repository named …-Diffusers",
        )
    return Listing(commit=found.sha, files=files)


def discard(snapshot: Snapshot, file: str) -> None:
    """Remove a file of a snapshot from the cache, so that the next `fetch` downloads it anew."""
    link = snapshot.folder / file
    for path in (link.resolve(), link):
        if path.is_file() or path.is_symlink():
            path.unlink()


def wanted(files: Sequence[str], index: Index) -> list[str]:
    """Choose the files of a repository that loading the pipeline needs.

    Raises:
        BadInput: If a component has only pickled weights, or only those of a variant.
    """
    chosen = []
    for part in index.parts:
        prefix = f"{part.name}/"
        inside = [file.removeprefix(prefix) for file in files if file.startswith(prefix)]
        small = [
            name
            for name in inside
            if "/" not in name and name.endswith(SMALL_FILES) and ".safetensors.index" not in name
        ]
        weights = weight_files(inside, component=part.name, library=part.library)
        chosen += [prefix + name for name in (*sorted(small), *weights)]
    return chosen


def _download(repository: str, revision: str | None) -> Snapshot:
    from huggingface_hub import hf_hub_download

    # This request alone has a timeout that holds and no retries of its own, so it goes first.
    found = list_files(repository, revision)
    # By its name first, so that the cache knows offline which commit the name stands for.
    hf_hub_download(repository, INDEX, revision=revision)
    folder = Path(hf_hub_download(repository, INDEX, revision=found.commit)).parent
    index = read_index(folder, what=repository)
    refuse_code(index, found.files, what=repository)
    # One after the other: the client is parallel within a file, and Ctrl-C ends at once.
    for file in wanted(found.files, index):
        hf_hub_download(repository, file, revision=found.commit)
    return Snapshot(folder=folder, commit=found.commit)


def _cached(repository: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    index = try_to_load_from_cache(repository, INDEX, revision=revision)
    return Path(index).parent if isinstance(index, str) else None


def _spelling(repository: str) -> str:
    known = [entry.hub for entry in load_catalog().entries if entry.hub]
    close = difflib.get_close_matches(repository, known, n=1, cutoff=0.8)
    return f"did you mean {close[0]}?" if close else "check the spelling"


def _named(repository: str, revision: str | None) -> str:
    return f"{repository}@{revision}" if revision else repository


class _Reason:
    """Why a download failed, by the names of the exceptions in its chain."""

    def __init__(self, error: BaseException) -> None:
        chain = list(_chain(error))
        # By name, since huggingface_hub 1 raises the errors of httpx and 2 those of httpx2.
        self.kinds = {kind.__name__ for link in chain for kind in type(link).__mro__}
        responses = (getattr(link, "response", None) for link in chain)
        codes = (getattr(response, "status_code", None) for response in responses)
        self.status = next((code for code in codes if isinstance(code, int)), 0)
        self.disk_full = any(getattr(link, "errno", None) == errno.ENOSPC for link in chain)
        self.first = type(error).__name__

    @property
    def may_pass(self) -> bool:
        """Whether the same request may succeed a moment later."""
        if self.status:
            return self.status >= 500
        return not self.disk_full and not self.kinds & {"OfflineModeIsEnabled", "InvalidURL"}

    def explain(self, repository: str, revision: str | None) -> ModelUnavailable:
        """One sentence that names the repository, and what to do."""
        from huggingface_hub import constants

        name = _named(repository, revision)
        host = urlsplit(constants.ENDPOINT).hostname or "the hub"
        message, hint = self._sentence(name, repository, revision, host)
        kind = ModelUnavailable if self.status or self.disk_full else OutOfReach
        return kind(message, hint=hint)

    def _sentence(
        self, name: str, repository: str, revision: str | None, host: str
    ) -> tuple[str, str]:
        login = "hf auth login"
        later = "try again later, or name a folder that holds the model"
        if "GatedRepoError" in self.kinds:
            page = f"https://{host}/{repository}"
            return (
                f"{repository} is gated: its licence has to be accepted first",
                f"accept it on {page}, then log in: {login}",
            )
        if "RevisionNotFoundError" in self.kinds:
            return (
                f"{repository} has no revision {shorten(revision or 'main')}",
                "leave out @revision for the newest one",
            )
        if self.status == 401 and "RepositoryNotFoundError" in self.kinds:
            # The hub answers so for what does not exist as well, to whoever is not logged in.
            return (
                f"{host} shows no model {repository} to you: it does not exist or is private",
                f"{_spelling(repository)}; for a private model log in: {login}",
            )
        if self.status == 404:
            return f"{host} has no model {repository}", _spelling(repository)
        if self.status == 401:
            return f"{host} refused the login for {repository}", f"log in anew: {login}"
        if self.status == 403:
            return (
                f"{host} forbids access to {repository}",
                f"log in with a token that may read it: {login}",
            )
        if self.status == 429:
            return (
                f"{host} asks for fewer requests, at {name}",
                f"wait a while, or log in: {login}",
            )
        if self.status:
            return f"{host} answered {self.status} for {name}", later
        if self.disk_full:
            return (
                f"no space is left on the disk for {name}",
                "free some, or set HF_HOME to a folder on another disk",
            )
        if "OfflineModeIsEnabled" in self.kinds:
            return (
                f"HF_HUB_OFFLINE forbids to download {name}",
                "unset it, or name a folder that holds the model",
            )
        if self.kinds & {"TimeoutException", "TimeoutError"}:
            return f"{host} did not answer in time for {name}", later
        if self.kinds & {"TransportError", "ConnectionError", "InvalidURL"}:
            return (
                f"{host} cannot be reached for {name}",
                "check the network, the proxy and HF_ENDPOINT, or name a folder with the model",
            )
        return f"{name} could not be downloaded ({self.first})", later


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
