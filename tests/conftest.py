"""What holds for all tests."""

from hypothesis import settings

# An example's time is no property of ours: the machine may be busy.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
