"""Jobs as a pure domain: the lifecycle table, policies, the queue; no I/O, no clock of its own."""
