"""docker-compose.yml and the files that it mounts: no Docker here, so all that can be read is."""

import json
import re
import shutil
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import yaml

from app.http.hosts import Hosts
from app.settings import CLIENT_VARIABLES, ENVIRONMENT_PREFIX, Settings, load
from telemetry.names import JOB_ID, JOB_OPERATION, Label, MetricName
from telemetry.table import METRIC_ROWS

ROOT: Final = Path(__file__).parents[2]
DASHBOARDS: Final = ROOT / "dashboards"
COMPOSE: Final[dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]
PROMETHEUS: Final = yaml.safe_load((DASHBOARDS / "prometheus.yml").read_text())
JAEGER: Final = yaml.safe_load((DASHBOARDS / "jaeger.yaml").read_text())
JAEGER_PAGE: Final = json.loads((DASHBOARDS / "jaeger-ui.json").read_text())
SOURCES: Final = {
    source["uid"]: source
    for source in yaml.safe_load(
        (DASHBOARDS / "provisioning" / "datasources" / "narrator.yaml").read_text()
    )["datasources"]
}
PROVIDER: Final = yaml.safe_load(
    (DASHBOARDS / "provisioning" / "dashboards" / "narrator.yaml").read_text()
)["providers"][0]

LISTENS: Final = {
    "narrator": {8000},
    "jaeger": {4317, 4318, 16686},
    "prometheus": {9090},
    "grafana": {3000},
}
"""What each service listens on within the network: its image's own ports, or its configuration."""


def published() -> dict[int, str]:
    """The service behind each port of the machine."""
    return {
        int(text.split(":")[1]): name
        for name, service in SERVICES.items()
        for text in service["ports"]
    }


def mounts(service: str) -> dict[str, Path]:
    """Where each file of ours is, in the container of `service`."""
    found = {}
    for text in SERVICES[service].get("volumes", []):
        source, target, mode = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text).split(":")
        assert mode == "ro"
        found[target] = (ROOT / source).resolve()
    return found


def mounted(service: str, path: str) -> Path:
    """The file of ours that `path` is in the container of `service`."""
    place, file = next(
        (place, file) for place, file in mounts(service).items() if Path(path).is_relative_to(place)
    )
    return file / Path(path).relative_to(place)


def addresses(value: Any) -> list[str]:
    """Every URL anywhere in a document."""
    if isinstance(value, dict):
        return [each for deeper in value.values() for each in addresses(deeper)]
    if isinstance(value, list):
        return [each for deeper in value for each in addresses(deeper)]
    return re.findall(r"https?://\S+", value) if isinstance(value, str) else []


def uids() -> dict[str, dict[str, Any]]:
    """Every dashboard by its uid."""
    boards = [json.loads(file.read_text()) for file in DASHBOARDS.glob("narrator-*.json")]
    return {board["uid"]: board for board in boards}


@pytest.mark.parametrize("service", SERVICES)
def test_every_mounted_path_is_there_and_is_read_only(service: str) -> None:
    missing = [file for file in mounts(service).values() if not file.exists()]

    assert missing == []


@pytest.mark.parametrize("service", SERVICES)
def test_every_image_has_a_version(service: str) -> None:
    assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+", SERVICES[service]["image"])


@pytest.mark.parametrize("service", SERVICES)
def test_every_port_is_of_this_machine_alone_and_is_listened_on(service: str) -> None:
    for text in SERVICES[service]["ports"]:
        address, outside, inside = text.split(":")

        assert (address, outside) == ("127.0.0.1", inside)
        assert int(inside) in LISTENS[service]


def test_jaeger_listens_where_its_ports_are() -> None:
    protocols = JAEGER["receivers"]["otlp"]["protocols"].values()
    told = [JAEGER["extensions"]["jaeger_query"]["http"], *protocols]

    assert {int(each["endpoint"].split(":")[1]) for each in told} == LISTENS["jaeger"]
    assert all(each["endpoint"].startswith("0.0.0.0:") for each in told)


def test_every_part_that_jaegers_pipeline_names_is_configured() -> None:
    service = JAEGER["service"]

    assert set(service["extensions"]) == set(JAEGER["extensions"])
    for kind, names in service["pipelines"]["traces"].items():
        assert set(names) == set(JAEGER[kind])
    storage = JAEGER["exporters"]["jaeger_storage_exporter"]["trace_storage"]
    assert storage in JAEGER["extensions"]["jaeger_storage"]["backends"]
    assert JAEGER["extensions"]["jaeger_query"]["storage"]["traces"] == storage


def test_services_wait_for_services_that_say_that_they_are_well() -> None:
    for service in SERVICES.values():
        for name, wait in service.get("depends_on", {}).items():
            checked = "healthcheck" in SERVICES[name] or name == "narrator"  # its Dockerfile's

            assert checked or wait["condition"] == "service_started"


@pytest.mark.parametrize(
    "document", [COMPOSE, PROMETHEUS, JAEGER_PAGE, SOURCES], ids=["compose", "scrape", "page", "ds"]
)
def test_every_address_is_one_that_is_served(document: Any) -> None:
    for address in addresses(document):
        url = urlsplit(address)
        if url.hostname == "localhost":
            assert url.port in published(), address
        elif url.hostname != "127.0.0.1":  # a container's own health check
            assert url.port in LISTENS[str(url.hostname)], address


def test_every_target_of_prometheus_is_served_and_the_rules_are_mounted() -> None:
    for job in PROMETHEUS["scrape_configs"]:
        for target in job["static_configs"][0]["targets"]:
            host, port = target.split(":")

            assert int(port) in LISTENS[job["job_name"] if host == "localhost" else host]
    for rules in PROMETHEUS["rule_files"]:
        assert mounted("prometheus", f"/etc/prometheus/{rules}").is_file()


@pytest.mark.parametrize(
    "path",
    [
        *("jaeger:/etc/jaeger/config.yaml", "prometheus:/etc/prometheus/prometheus.yml"),
        f"jaeger:{JAEGER['extensions']['jaeger_query']['ui']['config_file']}",
        f"grafana:{PROVIDER['options']['path']}/narrator-service.json",
        f"grafana:{SERVICES['grafana']['environment']['GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH']}",
        "grafana:/etc/grafana/provisioning/datasources/narrator.yaml",
    ],
)
def test_every_path_that_a_service_is_told_is_mounted(path: str) -> None:
    service, _, place = path.partition(":")

    assert mounted(service, place).is_file()


def test_every_variable_is_one_that_the_settings_or_opentelemetry_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = {ENVIRONMENT_PREFIX + name.upper() for name in Settings.model_fields}
    known |= CLIENT_VARIABLES
    known |= set(vars(import_module("opentelemetry.sdk.environment_variables")))
    environment = SERVICES["narrator"]["environment"]

    assert set(environment) <= known

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = load()

    assert settings.trace_address("ab") == "http://localhost:16686/trace/ab"
    assert (
        settings.dashboard_address("x") == "http://localhost:3000/d/narrator-jobs?var-operation=x"
    )


def test_the_browser_and_prometheus_are_both_answered() -> None:
    names = SERVICES["narrator"]["environment"]["NARRATOR_ALLOWED_HOSTS"].split(",")
    hosts = Hosts(names, bound="0.0.0.0")

    assert all(map(hosts.accept, ["localhost:8000", "127.0.0.1:8000", "narrator:8000"]))
    assert not hosts.accept("elsewhere:8000")


def test_a_stop_leaves_the_time_that_a_drain_may_take() -> None:
    grace_s = int(SERVICES["narrator"]["stop_grace_period"].removesuffix("s"))

    assert grace_s > Settings().drain_s + Settings().telemetry_shutdown_s + 5


def test_every_datasource_that_a_link_names_is_there() -> None:
    text = json.dumps(SOURCES)

    assert set(SOURCES) == {"prometheus", "jaeger"}
    assert set(re.findall(r'"datasourceUid": "(\w+)"', text)) == {"prometheus", "jaeger"}


def test_every_link_to_a_dashboard_names_one_and_its_variables() -> None:
    found = [
        urlsplit(address)
        for document in (COMPOSE, JAEGER_PAGE, SOURCES)
        for address in addresses(document)
        if "/d/" in address
    ]
    for url in found:
        board = uids()[url.path.removeprefix("/d/")]
        variables = {each["name"] for each in board["templating"]["list"]}
        used = {part.partition("=")[0].removeprefix("var-") for part in url.query.split("&")}

        assert used <= variables
    assert len(found) == 3


def test_queries_of_a_spans_metrics_name_metrics_and_labels_that_there_are() -> None:
    settings = SOURCES["jaeger"]["jsonData"]["tracesToMetrics"]
    text = " ".join(query["query"] for query in settings["queries"])
    published_names = {str(name) for name in MetricName}

    found = re.findall(r"narrator_\w+", text)
    assert found
    assert {name.removesuffix("_bucket") for name in found} <= published_names
    labels = {label for row in METRIC_ROWS.values() for label in row.labels}
    grouped = ",".join(re.findall(r"by \(([^)]*)\)", text)).replace(" ", "").split(",")
    assert set(grouped) <= {*labels, "le"}
    assert settings["tags"] == [{"key": JOB_OPERATION, "value": str(Label.OPERATION)}]


@pytest.mark.parametrize(
    ("number", "attribute", "address"),
    [
        (0, JOB_ID, "http://localhost:8000/jobs/"),
        (1, JOB_OPERATION, "http://localhost:3000/d/narrator-jobs?var-operation="),
    ],
)
def test_a_link_of_a_span_takes_its_value_from_the_spans_attributes(
    number: int, attribute: str, address: str
) -> None:
    config = SOURCES["jaeger"]["correlations"][number]["config"]
    (transformation,) = config["transformations"]
    tags = [
        {"key": "job.attempt", "type": "int64", "value": 1},
        {"key": attribute, "type": "string", "value": "the one"},
        {"key": f"{attribute}.more", "type": "string", "value": "another"},
    ]

    found = re.search(transformation["expression"], json.dumps(tags, separators=(",", ":")))

    assert found
    assert found[1] == "the one"
    assert config["target"]["url"] == f"{address}$${{{transformation['mapValue']}}}"


def test_jaegers_own_page_links_by_the_attributes_that_jobs_have() -> None:
    patterns = JAEGER_PAGE["linkPatterns"]

    assert [each["key"] for each in patterns] == [JOB_ID, JOB_OPERATION]
    assert all(f"#{{{each['key']}}}" in each["url"] for each in patterns)


def test_promtool_accepts_the_configuration_and_the_rules(tmp_path: Path) -> None:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed: on Debian, apt-get install prometheus")
    for place, file in mounts("prometheus").items():
        shutil.copy(file, tmp_path / Path(place).name)

    told = subprocess.run(
        [tool, "check", "config", str(tmp_path / "prometheus.yml")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert told.returncode == 0, told.stdout + told.stderr
    assert "SUCCESS: 1 rule files found" in told.stdout


def test_docker_accepts_the_file() -> None:
    docker = shutil.which("docker")
    command = [docker or "", "compose", "version"]
    if docker is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed")

    told = subprocess.run(
        [docker, "compose", "config", "--quiet"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert told.returncode == 0, told.stderr
