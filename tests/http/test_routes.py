"""Routes of writes: called with as little as they need, also where they are mounted."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from app.http.access import OPEN
from app.http.problems import INVALID, Problem, add_problem_handlers
from app.http.routes import Shortcut, write_route
from app.http.serving import json_response
from app.jobs.errors import JobNotFound


async def fixed(request: Request) -> Response:
    """Answer, or refuse."""
    if "refuse" in request.headers:
        raise Problem(INVALID, "Never.")
    return json_response({"took": "nothing"})


async def named(request: Request, job_id: str) -> Response:
    """Answer, or refuse."""
    if job_id == "none":
        raise JobNotFound(job_id)
    return json_response({"took": job_id})


async def told(request: Request) -> Response:
    """Say which route this is."""
    return json_response({"path": request.scope["route"].path})


async def broken(request: Request) -> Response:
    """Fail."""
    raise RuntimeError(f"a defect at {request.url.path}")


@pytest.fixture
def application() -> FastAPI:
    app = FastAPI(redirect_slashes=False)
    write_route(app, "POST", "/fixed", fixed, guard=OPEN)
    write_route(app, "POST", "/broken", broken, guard=OPEN)
    write_route(app, "POST", "/told", told, guard=OPEN)
    write_route(app, "POST", "/jobs/{job_id}", named, guard=OPEN)
    add_problem_handlers(app)
    app.add_middleware(Shortcut, routes=app.router.routes)
    return app


def posted(app: ASGIApp, path: str, **headers: str) -> httpx.Response:
    async def post() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post(path, headers=headers)

    return asyncio.run(post())


def under(app: FastAPI, path: str) -> FastAPI:
    """A host that mounts `app`."""
    host = FastAPI()
    host.mount(path, app)
    return host


def test_a_route_is_given_the_parameters_of_its_path(application: FastAPI) -> None:
    assert posted(application, "/fixed").json() == {"took": "nothing"}
    assert posted(application, "/jobs/one").json() == {"took": "one"}


def test_a_route_is_not_given_the_parameters_of_where_it_is_mounted(application: FastAPI) -> None:
    host = under(application, "/of/{tenant}")

    assert posted(host, "/of/ada/fixed").json() == {"took": "nothing"}
    assert posted(host, "/of/ada/jobs/one").json() == {"took": "one"}


def test_a_route_can_be_told_from_the_scope(application: FastAPI) -> None:
    assert posted(application, "/told").json() == {"path": "/told"}


def test_a_path_is_matched_whole(application: FastAPI) -> None:
    host = under(application, "/under")

    assert posted(application, "/under/fixed").status_code == 404
    assert posted(host, "/under/fixed/").status_code == 404
    assert posted(host, "/fixed").status_code == 404


@pytest.mark.parametrize(("path", "status"), [("/fixed", 422), ("/jobs/none", 404)])
def test_what_a_route_refuses_is_a_problem(application: FastAPI, path: str, status: int) -> None:
    answer = posted(application, path, refuse="yes")

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["instance"] == path


def test_a_defect_is_a_500_without_its_words(application: FastAPI) -> None:
    answer = posted(application, "/broken")

    assert answer.status_code == 500
    assert answer.json()["detail"] == "A defect of the server; its log says more."


def test_another_method_is_a_405_that_names_the_right_one(application: FastAPI) -> None:
    async def get() -> httpx.Response:
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get("/fixed")

    answer = asyncio.run(get())

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
