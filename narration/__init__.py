"""Narration: turns what happens on a span, at the moment it happens, into a readable story."""
