"""What holds for all tests."""

import signal

from hypothesis import settings

# An example's time is no property of ours: the machine may be busy.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

# A script that starts the tests in the background has SIGINT ignored, and children inherit that: no
# Ctrl-C of a test would reach anybody.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
