"""Telemetry: names, tracing, metrics and propagation; knows neither jobs nor narration."""
