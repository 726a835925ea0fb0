"""The Grafana dashboards as Python, made from the metrics that `telemetry.table` publishes.

It knows no server and no Grafana: what it makes is JSON, which lies beside it.
"""
