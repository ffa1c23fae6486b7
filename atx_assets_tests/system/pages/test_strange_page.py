"""A page of another site that the owner visits in Chromium while `atx up` is open."""

import json
import time
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from atx_assets_tests.builders.http_server import Answering, Asked, http_server

pytestmark = pytest.mark.xdist_group("demo")

LAUNCH = """
mutation { launchRun(executionParams: {
    selector: {repositoryLocationName: "atx", repositoryName: "__repository__", jobName: "score"},
    mode: "default"
}) { __typename } }
"""
STOLEN = "a stranger's"

# Every way that a page has to make a browser ask another address for something. The plain text
# of the forms is JSON once the browser has put its = between the two halves.
PAGE = """<!doctype html><title>a harmless page</title>
<iframe name=hidden></iframe><iframe id=framed src="UI/assets"></iframe>
<img src="UI/graphql?query=QUOTED"><img src="REPORT/">
<form id=run method=post enctype=text/plain target=hidden action="UI/graphql">
  <input name='{"query": LAUNCH, "x": "' value='"}'></form>
<form id=address method=post enctype=text/plain target=hidden
  action="UI/graphql?query=QUOTED"></form>
<form id=experiment method=post enctype=text/plain target=hidden
  action="MLFLOW/ajax-api/2.0/mlflow/experiments/create">
  <input name='{"name": "STOLEN", "x": "' value='"}'></form>
<script>
const outcome = {};
const tried = [];
function attempt(name, promise) {
  tried.push(promise.then(
    answer => outcome[name] = answer, error => outcome[name] = "refused"));
}
const launch = JSON.stringify({query: LAUNCH});
const create = JSON.stringify({name: STOLEN_TEXT});
const mlflow = "MLFLOW/ajax-api/2.0/mlflow/experiments/";
const plain = {"Content-Type": "text/plain"}, json = {"Content-Type": "application/json"};
for (const [name, mode, headers] of [["blind", "no-cors", plain], ["asked", "cors", json]]) {
  for (const [what, address, body] of [["run", "UI/graphql", launch],
                                       ["experiment", mlflow + "create", create]])
    attempt(`${name} ${what}`, fetch(address, {method: "POST", mode, headers, body})
      .then(answer => answer.type));
}
for (const [what, address] of [["pages", "UI/assets"], ["models", mlflow + "search?max_results=9"],
                               ["report", "REPORT/"]])
  attempt(`read ${what}`, fetch(address).then(answer => answer.text()));
attempt("websocket", new Promise((ok, no) => {
  const socket = new WebSocket("UI/graphql".replace("http", "ws"), "graphql-ws");
  socket.onopen = () => ok("open"); socket.onerror = no;
}));
const sent = ["run", "address", "experiment"].map(id => new Promise(done => setTimeout(() => {
  document.getElementById(id).submit(); setTimeout(done, 3000);
}, 100)));
Promise.all([...tried, ...sent]).then(() => document.title = JSON.stringify(outcome));
</script>"""


@pytest.fixture
def strange_page(up: Any) -> Iterator[str]:
    """The address of a page at another port of this machine, which has `up` as its aim."""
    page = PAGE.replace("QUOTED", quote(LAUNCH)).replace("STOLEN_TEXT", json.dumps(STOLEN))
    page = page.replace("STOLEN", quote(STOLEN)).replace("MLFLOW", up.mlflow)
    one_line = json.dumps(" ".join(LAUNCH.split()))
    page = page.replace('\'{"query": LAUNCH', f'\'{{"query": {one_line}')
    page = page.replace("LAUNCH", json.dumps(LAUNCH))
    page = page.replace("UI/", f"{up.dagster}/").replace("REPORT", up.report)

    def show(_: Asked, answering: Answering) -> None:
        answering.send(200, page.encode(), {"Content-Type": "text/html"})

    with http_server(show) as server:
        yield f"{server.url}/"


def asked(address: str, **body: Any) -> Any:
    """What a program on this machine is answered."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(address, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def runs(up: Any) -> int:
    query = "{ runsOrError { ... on Runs { count } } }"
    return int(asked(f"{up.dagster}/graphql", query=query)["data"]["runsOrError"]["count"])


def experiments(up: Any) -> set[str]:
    found = asked(f"{up.mlflow}/ajax-api/2.0/mlflow/experiments/search", max_results=100)
    return {experiment["name"] for experiment in found["experiments"]}


def test_a_strange_page_starts_nothing_changes_nothing_and_reads_nothing(
    up: Any, strange_page: str, open_page: Any
) -> None:
    before = runs(up), experiments(up)
    page = open_page(strange_page).page
    page.wait_for_function("document.title.startsWith('{')")
    outcome = json.loads(page.title())
    # A blind request is answered with what the page cannot see; the others not even with that.
    assert {outcome.pop("blind run"), outcome.pop("blind experiment")} == {"opaque"}
    assert set(outcome.values()) == {"refused"}, outcome
    assert len(outcome) == 6
    framed = page.frame_locator("#framed")
    assert framed.get_by_text("Dagster").count() == 0
    time.sleep(1)  # a run that was launched all the same is in the storage by now
    assert (runs(up), experiments(up)) == before


def test_a_link_from_a_strange_page_still_opens_ours(
    up: Any, strange_page: str, open_page: Any
) -> None:
    page = open_page(strange_page).page
    page.evaluate("address => location.href = address", f"{up.report}/")
    page.get_by_role("heading", name="What the model keeps").wait_for()
