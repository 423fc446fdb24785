"""Read files of the hub, or only their beginnings, and never more than a cap of them.

The hub client reads the headers of safetensors files as well, but takes a whole file into memory
from a server that knows no ranges (`HfApi.parse_safetensors_file_metadata`, huggingface_hub 2.4).
"""

from __future__ import annotations

import importlib
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from autotune.errors import BadInput, ModelUnavailable
from autotune.models.hub import ask_hub
from autotune.units import format_bytes

#: Of all files of a repository together; those of the largest published pipelines take 60 MB.
MOST_BYTES = 256 * 1024**2
#: The largest tokenizers of published pipelines (Gemma's) have 33 MB.
MOST_SMALL_BYTES = 64 * 1024**2
#: A tensor takes about 100 bytes there: a hundred times what published shards have.
MOST_HEADER_BYTES = 16 * 1024**2
#: Holds the header of 97 of 100 files on the hub, so that one request is enough:
#: https://github.com/huggingface/huggingface_hub/pull/1855#discussion_r1404286419
FIRST_BYTES = 100_000


@dataclass(kw_only=True)
class Reader:
    """Reads files of one commit of a repository, ``left_bytes`` of them in all.

    Each request is made once more if what went wrong may pass; ``revision`` is for the messages.
    """

    repository: str
    revision: str | None
    commit: str
    left_bytes: int = MOST_BYTES

    def whole(self, file: str) -> bytes:
        """A configuration or a file of a tokenizer.

        Raises:
            BadInput: If it is larger than such files are.
            ModelUnavailable: If the hub does not give it.
        """
        data = ask_hub(self.repository, self.revision, lambda: self._whole(file))
        if len(data) > MOST_SMALL_BYTES:
            raise self._too_large(file, MOST_SMALL_BYTES)
        return data

    def header(self, file: str) -> tuple[bytes, int]:
        """The beginning of a safetensors file up to its tensors, and how large the file is.

        Whether it is one is for the caller to check; of what is none, some beginning comes back.

        Raises:
            BadInput: If the header is larger than headers are.
            ModelUnavailable: If the hub does not give it.
        """
        data, size = self._start(file, FIRST_BYTES)
        if len(data) < 8:
            return data, size
        needed = 8 + int(struct.unpack("<Q", data[:8])[0])
        if len(data) < needed <= size:
            if needed > MOST_HEADER_BYTES:
                raise self._too_large(f"the header of {file}", MOST_HEADER_BYTES)
            data, size = self._start(file, needed)
        return data[:needed], size

    def _start(self, file: str, count: int) -> tuple[bytes, int]:
        return ask_hub(self.repository, self.revision, lambda: self._try_start(file, count))

    def _whole(self, file: str) -> bytes:
        with self._answer(file, {}) as answer:
            return self._read(answer, MOST_SMALL_BYTES + 1)

    def _try_start(self, file: str, count: int) -> tuple[bytes, int]:
        with self._answer(file, {"Range": f"bytes=0-{count - 1}"}) as answer:
            size = self._size(file, answer)
            # A server that knows no ranges begins with the whole file: the rest is not read.
            data = self._read(answer, min(count, size))
        if len(data) < min(count, size):
            raise ConnectionError("the answer ended early")
        return data, size

    @contextmanager
    def _answer(self, file: str, headers: dict[str, str]) -> Iterator[Any]:
        from huggingface_hub import constants, hf_hub_url

        # Public, but filled in lazily: type checkers do not find them there.
        client: Any = importlib.import_module("huggingface_hub.utils")
        url = hf_hub_url(self.repository, file, revision=self.commit)
        # Compressed bytes would be ranges of something else.
        sent = {**client.build_hf_headers(), "Accept-Encoding": "identity", **headers}
        timeout_s = float(constants.HF_HUB_DOWNLOAD_TIMEOUT)
        # Weights lie on other hosts, which are not shown the login: httpx sees to that.
        how = {"headers": sent, "timeout": timeout_s, "follow_redirects": True}
        with client.get_session().stream("GET", url, **how) as answer:
            client.hf_raise_for_status(answer)
            yield answer

    def _size(self, file: str, answer: Any) -> int:
        if answer.status_code == 206:
            told = re.fullmatch(r"bytes 0-\d+/(\d+)", answer.headers.get("Content-Range", ""))
        else:
            told = re.fullmatch(r"(\d+)", answer.headers.get("Content-Length", ""))
        if told is None:
            raise ModelUnavailable(
                f"the hub does not say how large {file} of {self.repository} is",
                hint="download it yourself and name its folder",
            )
        return int(told[1])

    def _read(self, answer: Any, most: int) -> bytes:
        data = bytearray()
        for block in answer.iter_bytes():
            data += block
            if len(data) >= most:
                break
        self.left_bytes -= len(data)
        if self.left_bytes < 0:
            raise self._too_large("what describes it", MOST_BYTES)
        return bytes(data[:most])

    def _too_large(self, what: str, cap: int) -> BadInput:
        return BadInput(
            f"{what} of {self.repository} is larger than {format_bytes(cap)}, the most that is "
            "read of it without downloading the model",
            hint="download it yourself and name its folder",
        )
