"""For clients over plain HTTP: no certificates, since to read them takes 26 ms for each client."""

import ssl
from typing import Final

PLAIN: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody."""
