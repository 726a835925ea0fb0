"""`narrator`, but no connection is given away: streams are sent, as on any other server."""

import sys
from unittest.mock import patch

from app.cli import server
from app.cli.main import main
from app.cli.protocol import DirectProtocol
from app.cli.room import Room
from narration.transport import Scope, Watcher


class Sending(DirectProtocol):
    """Offers connections and refuses them."""

    def take(self, scope: Scope, watcher: Watcher) -> None:
        """Never."""


def sending_in(room: Room) -> type[Sending]:
    """In the place of `protocol_in`."""
    return type("SendingThere", (Sending,), {"__slots__": (), "room": room})


if __name__ == "__main__":
    with patch.object(server, "protocol_in", sending_in):
        sys.exit(main())
