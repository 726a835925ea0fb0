"""The text of a key, `nk_<id>_<secret>`, and what of it may be kept. Knows no file and no request.

The id is public: it names the key in lists and logs. What is kept of the whole text is its SHA-256:
the secret is 256 random bits, which nobody can try through, so that a slow hash, which is made for
passwords that people think of, would slow nobody but the server.
"""

import base64
import hashlib
import re
from collections.abc import Callable
from typing import Final

PREFIX: Final = "nk_"
ID_CHARACTERS: Final = 12
SECRET_BYTES: Final = 32

ID: Final = re.compile(rf"[a-z0-9]{{{ID_CHARACTERS}}}")
_KEY: Final = re.compile(rf"{PREFIX}({ID.pattern})_[A-Za-z0-9_-]{{43}}")
_ID_BYTES: Final = 8  # 13 characters of base 32


def new_key(random: Callable[[int], bytes]) -> str:
    """A key that nobody can guess; `random` gives so many random bytes (`os.urandom`)."""
    key_id = base64.b32encode(random(_ID_BYTES)).decode().lower()[:ID_CHARACTERS]
    secret = base64.urlsafe_b64encode(random(SECRET_BYTES)).decode().rstrip("=")
    return f"{PREFIX}{key_id}_{secret}"


def id_of(key: str) -> str | None:
    """The id that `key` names; None if it has not the form of a key."""
    found = _KEY.fullmatch(key)
    return found[1] if found else None


def hash_of(key: str) -> str:
    """What is kept of `key`: SHA-256 of its text, in hex."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
