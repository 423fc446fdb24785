"""What a file that is not a recipe looks like, so that the message can name it."""

from __future__ import annotations

import re

_MAGIC = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"RIFF", "a WebP picture"),
    (b"\x1f\x8b", "gzip data"),
    (b"PK\x03\x04", "a zip archive, or a torch checkpoint"),
    (b"GGUF", "GGUF weights"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"%PDF", "a PDF document"),
    (b"\x7fELF", "a program"),
    (b"#!", "a script"),
)
_OLD_PICKLE = re.compile(rb"[ci][\w.]+\n[\w.]+\n|\([dl]p0\n")
_TEXTS = (
    (re.compile(r"<"), "HTML or XML"),
    (re.compile(r"---|%YAML|- |['\"]?[\w .-]+['\"]?:(\s|$)"), "YAML"),
    (re.compile(r"[\w.-]+\s*=|\[\[?[A-Za-z_][\w.-]*\]\]?\s"), "TOML"),
)
_JSON = re.compile(r'[\[{"0-9-]|(null|true|false)\s*\Z')


def looks_like(data: bytes) -> str | None:
    """Name what the bytes look like, or ``None`` where they could be JSON.

    Nothing is unpacked, executed or unpickled to find out.
    """
    if not data.strip():
        return "a blank file" if data else "an empty file"
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    # Pickles say their protocol, 2 to 5 so far; older ones are text that names what to call.
    if (data[0] == 0x80 and data[1:2] in b"\2\3\4\5") or _OLD_PICKLE.match(data):
        return "a pickle"
    # safetensors: the length of a JSON header in eight bytes, at most 100 MB, then the header.
    if data[8:9] == b"{" and data[4:8] == b"\0\0\0\0":
        return "safetensors weights"
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None  # the JSON reader says at which byte
    if "\0" in text or text.startswith("\ufeff"):
        return None
    text = text.lstrip()
    for pattern, name in _TEXTS:
        if pattern.match(text):
            return name
    return None if _JSON.match(text) else "plain text"
