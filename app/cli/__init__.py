"""The `narrator` command."""
