# syntax=docker/dockerfile:1
# Narrator in a container: what requirements.lock has for a server, checked by hash, and nothing of
# pip, of build tools or of tests. docker-compose.yml runs it beside Jaeger, Prometheus and Grafana.

FROM python:3.13.18-slim-trixie AS build
WORKDIR /build
COPY requirements.lock ./
# The lock says of each package what wants it: those of the server, and those that build its wheel.
RUN <<'PYTHON' python
import re
from pathlib import Path

blocks = re.split(r"^(?=\S)", Path("requirements.lock").read_text(), flags=re.MULTILINE)
lock = {block.split("==")[0]: block for block in blocks if "==" in block}
wanted_by = {
    name: set(re.findall(r"^ +# +(?:via )?(\S.*)$", block, flags=re.MULTILINE))
    for name, block in lock.items()
}


def write(path: str, root: str, chosen: set[str]) -> None:
    while more := {n for n in lock if n not in chosen and wanted_by[n] & {root, *chosen}}:
        chosen |= more
    Path(path).write_text("".join(lock[name] for name in sorted(chosen)))


write("server.txt", "job-narrator (pyproject.toml)", set())
write("build.txt", "hatchling", {"hatchling"})
PYTHON
RUN python -m venv --without-pip /opt/narrator \
    && pip --python /opt/narrator install --no-cache-dir --require-hashes --requirement server.txt \
    && pip install --no-cache-dir --root-user-action ignore --require-hashes --requirement build.txt
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY narration narration
COPY telemetry telemetry
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && pip --python /opt/narrator install --no-cache-dir --no-deps dist/*.whl

FROM python:3.13.18-slim-trixie
COPY --from=build /opt/narrator /opt/narrator
# Within the container all addresses: which of the machine's reach it, `--publish` says. So it starts
# only with NARRATOR_KEYS, or with NARRATOR_ALLOW_ANONYMOUS=true where nobody else can reach it.
ENV PATH=/opt/narrator/bin:$PATH PYTHONUNBUFFERED=1 NARRATOR_HOST=0.0.0.0 NARRATOR_PORT=8000
WORKDIR /data
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --start-interval=1s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ['NARRATOR_PORT']}/livez\", timeout=3)"]
ENTRYPOINT ["narrator"]
CMD ["serve"]
