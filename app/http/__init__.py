"""HTTP under /v1: routes, problems and the stream; knows the engine only by its calls."""
