"""The API's own documentation, over the API."""

import re

import pytest

from novapulse.processes.features import ROUTES
from tests.support.api import Api


async def test_the_description_is_served_to_everybody(api: Api) -> None:
    answer = await api.client().get("/openapi.json")
    assert (answer.status, answer.json()["openapi"]) == (200, "3.1.0")
    assert set(answer.json()["paths"]) == {route.path for route in ROUTES}


async def test_the_page_and_all_its_parts_come_from_here(api: Api) -> None:
    page = await api.client().get("/docs")
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    html = page.body.decode()
    assert not re.search(r"(src|href)=\"(https?:)?//", html), "something comes from elsewhere"
    parts = re.findall(r"(?:src|href)=\"([^\"#]+)\"", html)
    assert parts
    for part in parts:
        path = part.removeprefix("./").removeprefix("/api/v1/")
        answer = await api.client().get(f"/{path}")
        assert answer.status == 200, part
        assert answer.body


async def test_the_page_runs_no_inline_script(api: Api) -> None:
    html = (await api.client().get("/docs")).body.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)
    assert not re.search(r"\son\w+=", html)


@pytest.mark.parametrize(
    "name", ["nothing.js", "..%2Fmodel.py", "index.html", ".", "start.js%00", "VENDORED.md"]
)
async def test_nothing_else_is_served(api: Api, name: str) -> None:
    assert (await api.client().get(f"/docs/{name}")).status == 404


async def test_every_documented_route_is_there(api: Api) -> None:
    for route in ROUTES:
        path = re.sub(r"{\w+}", "0" * 24, route.path)
        answer = await api.client().request(route.method, path)
        assert answer.status != 405, route
        if route.scope is not None and route.path != "/health":
            assert answer.status == 401, f"{route.method} {route.path} asks for no credentials"
