"""The door: who may come in and run, where the dashboard may listen, and what hostile requests get."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dash import Dash
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboard.app import create_app
from dashboard.commands.serve import check_exposure
from dashboard.data import Data
from dashboard.pages import inventory, scenario_draft
from dashboard.pages.inventory import Filter
from dashboard.runs import Runs
from dashboard.settings import Settings, Trust
from dashboard.spec import replay_spec
from dashboard.validate import number, one_of, text, whole
from sim.errors import InputError, PoolscopeError
from sim.store import Store

TRUST = Trust("X-Remote-User", "X-Remote-Role")
ALICE = {"X-Remote-User": "alice", "X-Remote-Role": "runner"}
HOSTILE = [
    "<script>alert(1)</script>",
    "' OR 1=1 --",
    "../../etc/passwd",
    "a" * 1_000_000,
    "\ud800",
    "\x00",
    "%00",
    "{{7*7}}",
    "\u202e",
    "",
]


def served(
    store: Store, settings: Settings, folder: Path, trust: Trust, prefix: str = "/"
) -> tuple[Dash, Runs]:
    runs = Runs(folder, model="test")
    chosen = replace(settings, trust=trust, prefix=prefix)
    return create_app(Data(store, chosen), chosen, runs), runs


@pytest.fixture(scope="module")
def guarded(store: Store, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> tuple[Dash, Runs]:
    return served(store, settings, tmp_path_factory.mktemp("guarded"), TRUST)


@pytest.fixture
def client(guarded: tuple[Dash, Runs]) -> FlaskClient:
    made: FlaskClient = guarded[0].server.test_client()
    return made


@pytest.fixture
def unguarded(app: Dash) -> FlaskClient:
    made: FlaskClient = app.server.test_client()
    return made


def call(
    client: FlaskClient, output: str, inputs: list[Any], state: list[Any] | None = None, **headers: str
) -> Any:
    """Post to a callback as a browser does."""
    names = output.strip(".").split("...")
    outputs: Any = [dict(zip(("id", "property"), name.rsplit(".", 1), strict=True)) for name in names]
    changed = [f"{part['id']}.{part['property']}" for part in inputs if isinstance(part, dict)]
    body = {
        "output": output,
        "outputs": outputs if "..." in output else outputs[0],
        "inputs": inputs,
        "state": state or [],
        "changedPropIds": changed[:1],
    }
    return client.post("/_dash-update-component", json=body, headers=headers)


PATHS = [
    "/",
    "/_dash-layout",
    "/_dash-dependencies",
    "/assets/poolscope.css",
    "/api/supply.csv",
    "/readyz",
    "/metrics",
    "/reports/week/2026-W01/x.html",
]


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_shown_without_the_proxys_word(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 401
    assert answer.data == b"no X-Remote-User from the proxy: log in there\n"


def test_health_is_open(client: FlaskClient) -> None:
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("path", PATHS[:-1])
def test_the_proxys_user_comes_in(client: FlaskClient, path: str) -> None:
    with client.get(path, headers=ALICE) as answer:
        assert answer.status_code in {200, 503}


def test_the_header_is_believed_from_the_proxy_only(client: FlaskClient) -> None:
    answer = client.get("/", headers=ALICE, environ_base={"REMOTE_ADDR": "10.1.2.3"})
    assert answer.status_code == 401


@pytest.mark.parametrize("name", ["", " ", "a" * 300, "a\tb"])
def test_a_name_that_is_none_is_refused(client: FlaskClient, name: str) -> None:
    assert client.get("/", headers={"X-Remote-User": name}).status_code == 401


ASK = "..waits-told.children...waits-ask.style...waits-ask.children...waits-cancel.style...waits-poll.disabled...waits-done.data...waits-poll.interval.."


def asked(role: str, client: FlaskClient, name: str = "alice") -> Any:
    inputs = [
        {"id": "waits-ask", "property": "n_clicks", "value": 1},
        {"id": "waits-poll", "property": "n_intervals", "value": 0},
        {"id": "waits-cancel", "property": "n_clicks", "value": None},
    ]
    order = [inputs[1], inputs[0], inputs[2]]
    body = {
        "output": ASK,
        "outputs": [dict(zip(("id", "property"), part.rsplit(".", 1), strict=True)) for part in ASK.strip(".").split("...")],
        "inputs": order, "state": [{"id": "waits-done", "property": "data", "value": ""}], "changedPropIds": ["waits-ask.n_clicks"],
    }  # fmt: skip
    return client.post(
        "/_dash-update-component", json=body, headers={"X-Remote-User": name, "X-Remote-Role": role}
    )


def test_a_viewer_may_not_run(guarded: tuple[Dash, Runs], client: FlaskClient) -> None:
    answer = asked("viewer", client)
    assert b"may look but not run" in answer.data
    assert guarded[1].recent() == []


def test_an_unknown_role_may_look_only(guarded: tuple[Dash, Runs], client: FlaskClient) -> None:
    assert b"may look but not run" in asked("superuser", client).data
    assert guarded[1].recent() == []


def test_a_run_has_its_owner_whom_others_cannot_overrule(
    guarded: tuple[Dash, Runs], client: FlaskClient, data: Data
) -> None:
    runs = guarded[1]
    assert asked("runner", client).status_code == 200
    (entry,) = runs.recent()
    assert entry.owner == "alice"
    name = f'{{"run":"{entry.id}","type":"runs-cancel"}}'
    body = {
        "output": "runs-cancelled.data", "outputs": {"id": "runs-cancelled", "property": "data"}, "state": [], "changedPropIds": [f"{name}.n_clicks"],
        "inputs": [[{"id": {"run": entry.id, "type": "runs-cancel"}, "property": "n_clicks", "value": 1}]],
    }  # fmt: skip
    answer = client.post(
        "/_dash-update-component", json=body, headers={"X-Remote-User": "mallory", "X-Remote-Role": "runner"}
    )
    assert b"only they or an administrator may cancel it" in answer.data
    assert runs.get(entry.id).status == "queued"  # type: ignore[union-attr]
    client.post(
        "/_dash-update-component", json=body, headers={"X-Remote-User": "root", "X-Remote-Role": "admin"}
    )
    assert runs.get(entry.id).status == "cancelled"  # type: ignore[union-attr]
    assert runs.find(replay_spec(data)) is not None


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}],
)
def test_another_sites_page_cannot_call(unguarded: FlaskClient, headers: dict[str, str]) -> None:
    answer = unguarded.post("/_dash-update-component", json={"output": "x.y"}, headers=headers)
    assert answer.status_code == 403


def test_a_name_that_was_made_to_point_here_gets_nothing(unguarded: FlaskClient) -> None:
    assert unguarded.get("/api/supply.csv", headers={"Host": "rebound.example"}).status_code == 403
    assert unguarded.get("/api/supply.csv", headers={"Host": "127.0.0.1:8050"}).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "pool.example"])
def test_no_exposure_without_users(host: str) -> None:
    with pytest.raises(InputError, match="everybody who reaches it"):
        check_exposure(host, None)
    check_exposure(host, "X-Remote-User")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.0.0.2"])
def test_loopback_is_open(host: str) -> None:
    check_exposure(host, None)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"{}", b'{"output": 1}', b'{"output": "a.b", "outputs": {}, "inputs": 5}',
                                  b'{"output": "a.b", "outputs": {}, "inputs": ["x"]}', b'{"output": "a.b", "outputs": {}, "inputs": [{"id": 1}]}'])  # fmt: skip
def test_what_is_no_call_is_refused_with_a_sentence(unguarded: FlaskClient, body: bytes) -> None:
    answer = unguarded.post("/_dash-update-component", data=body, content_type="application/json")
    assert answer.status_code == 400
    assert b"expected a call of one of the page's callbacks" in answer.data


@pytest.mark.parametrize(
    "outputs",
    [
        {"id": "freshness", "property": "style"},
        [],
        {},
        {"id": {"type": "x"}, "property": "children"},
    ],
)
@pytest.mark.parametrize("output", ["freshness.children", "..freshness.children...x.y..", "nobody.value"])
def test_a_call_with_other_outputs_than_its_callbacks_is_refused_with_a_sentence(
    unguarded: FlaskClient, output: str, outputs: Any
) -> None:
    inputs = [
        {"id": "refresh", "property": "n_intervals", "value": 0},
        {"id": "url", "property": "pathname", "value": "/"},
        {"id": "url", "property": "search", "value": ""},
    ]
    body = {"output": output, "outputs": outputs, "inputs": inputs, "changedPropIds": []}
    answer = unguarded.post("/_dash-update-component", json=body)
    assert answer.status_code == 400, answer.get_data(as_text=True)[:300]
    assert len(answer.get_data(as_text=True).splitlines()) == 1


def test_a_request_of_many_megabytes_is_refused(unguarded: FlaskClient) -> None:
    answer = unguarded.post("/_dash-update-component", data=b"x" * 3_000_000, content_type="application/json")
    assert answer.status_code in {400, 413}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(HOSTILE) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


def callbacks(client: FlaskClient) -> list[dict[str, Any]]:
    """Every callback of the server as the browser knows it."""
    return [
        each for each in client.get("/_dash-dependencies").get_json() if not each.get("clientside_function")
    ]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choice=st.integers(0, 10_000), values=st.lists(JSON, min_size=30, max_size=30))
@pytest.mark.slow
def test_wrong_types_posted_straight_to_a_callback_do_no_harm(
    unguarded: FlaskClient, choice: int, values: list[Any]
) -> None:
    offered = callbacks(unguarded)
    chosen = offered[choice % len(offered)]
    given_values = iter(values)

    def part(held: dict[str, Any]) -> Any:
        if held["id"].startswith("{"):
            return []
        return {"id": held["id"], "property": held["property"], "value": next(given_values, None)}

    inputs, state = (
        [part(each) for each in chosen["inputs"]],
        [part(each) for each in chosen.get("state", [])],
    )
    names = chosen["output"].strip(".").split("...")
    outputs: Any = []
    for name in names:
        identity, _, prop = name.rpartition(".")
        outputs.append(
            [] if identity.startswith("{") else {"id": identity, "property": prop.partition("@")[0]}
        )
    changed = [f"{each['id']}.{each['property']}" for each in inputs if isinstance(each, dict)][:1]
    body = {
        "output": chosen["output"],
        "outputs": outputs if ".." in chosen["output"][:2] else outputs[0],
        "inputs": inputs,
        "state": state,
        "changedPropIds": changed,
    }
    try:
        encoded = json.dumps(body)
    except (ValueError, UnicodeEncodeError):
        return
    answer = unguarded.post(
        "/_dash-update-component", data=encoded.encode("utf-8", "replace"), content_type="application/json"
    )
    assert answer.status_code in {200, 204, 400}, (chosen["output"], answer.data[:300])
    assert b"Traceback" not in answer.data
    if "req-" not in chosen["output"]:  # that page judges its own fields
        assert b"A fault of ours" not in answer.data, (chosen["output"], encoded[:600])


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize(
    "page",
    [
        "/",
        "/waits",
        "/inventory",
        "/requirements",
        "/scenarios",
        "/runs",
        "/runs/{}",
        "/reports",
        "/about",
        "/{}",
    ],
)
def test_hostile_parameters_get_a_page(unguarded: FlaskClient, page: str, value: str) -> None:
    short = value[:4000].encode("utf-8", "replace").decode()
    answer = unguarded.get(
        page.replace("{}", "x"),
        query_string={"req": short, "class": short, "cmp": short, "expr": short, "state": short, "x": short},
    )
    assert answer.status_code == 200
    assert b"<script>alert(1)" not in answer.data


@pytest.mark.parametrize(
    "path",
    [
        "/api/runs/0123456789ab.json",
        "/api/runs/0123456789ab/jobs.csv",
        "/api/supply.exe",
        "/reports/week/2026-W01/status.json",
        "/api/compare.csv?cmp=zzz",
    ],
)
def test_paths_that_lead_nowhere(unguarded: FlaskClient, path: str) -> None:
    assert unguarded.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/healthz", "/api/supply.csv", "/runs/0123456789ab", "/readyz"])
@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_other_methods_change_nothing(unguarded: FlaskClient, path: str, method: str) -> None:
    assert unguarded.open(path, method=method).status_code == 405


# ---- fields


@pytest.mark.parametrize("bad", ["\x00", "a\x07", "\ud800", "a" * 201, 5, None, ["a"], {"a": 1}, True])
def test_texts_are_texts(bad: Any) -> None:
    with pytest.raises(InputError):
        text(bad, "field")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e300, -1, 11, 1.5, "5", None, True, [1]])
def test_numbers_are_numbers_within_bounds(bad: Any) -> None:
    with pytest.raises(InputError):
        whole(bad, "field", least=0, most=10)
    if bad != 1.5:
        with pytest.raises(InputError):
            number(bad, "field", least=0, most=10)


@given(JSON)
def test_choices_are_those_that_are_offered(value: Any) -> None:
    if value != "a":
        with pytest.raises(InputError):
            one_of(value, "field", {"a"})


@given(st.dictionaries(st.sampled_from(["expr", "state", "x"]), JSON))
def test_any_address_of_the_inventory_is_read(query: dict[str, Any]) -> None:
    read = Filter.parse(query)
    assert Filter.parse({"expr": read.expression, "state": read.state}) == read


@given(JSON)
def test_any_comparison_in_an_address_is_read(value: Any) -> None:
    read = scenario_draft.parse_compared({"cmp": value})
    assert len(read) <= scenario_draft.MOST
    assert scenario_draft.parse_compared({"cmp": ",".join(read)}) == read


@pytest.mark.parametrize(
    ("draft", "words"),
    [
        ("pool: {source: /etc}", "the store of this dashboard"),
        ("workload: {trace: {path: /etc/passwd}}", "files of the server"),
        ("a: &x [1]\nb: *x", "aliases"),
        ("[" * 5000, ""),
        ("run: {replications: 5000}", "at most 100 here"),
        ("run: {seed: -1}\npolicy: {claim_worklif: 1}", "policy.claim_worklif: unknown key"),
        ("just words", "expected sections"),
        ("!!python/object/apply:os.system ['true']", "no YAML"),
        ("x" * 20_001, "at most 20,000"),
    ],
)
@pytest.mark.slow
def test_a_hostile_scenario_is_refused_with_a_sentence(draft: str, words: str) -> None:
    with pytest.raises(PoolscopeError) as refused:
        scenario_draft.read(draft, source="sample")
    assert words in str(refused.value)


def test_the_form_and_the_file_say_the_same() -> None:
    content = scenario_draft.base("sample", "sample", seeds=7)
    for lever in scenario_draft.levers():
        value = {
            "text": "a: b # {",
            "whole": 3,
            "choice": lever.offers[-1] if lever.offers else "",
            "duration": "90 s",
            "flag": False,
        }[lever.kind]
        content = scenario_draft.put(content, lever.key, value)
        again = scenario_draft.read(scenario_draft.write(content), source="sample")
        assert scenario_draft.get(again, lever.key) == value
    assert again == content


def test_an_empty_filter_offers_the_clause_to_drop(data: Data) -> None:
    held = inventory.content(data, "GPUs_Capability >= 7.0 && Memory > 999999999", "any")
    assert held[0] == []
    assert "0 of 29 GPUs match" in str(held[2])
    assert (
        inventory.without(data, "GPUs_Capability >= 7.0 && Memory > 999999999", 1) == "GPUs_Capability >= 7.0"
    )
    with pytest.raises(InputError):
        inventory.without(data, "true", 7)


def test_ready_tells_what_is_missing(unguarded: FlaskClient) -> None:
    answer = unguarded.get("/readyz")
    told = answer.get_json()
    assert answer.status_code == 503
    assert told["store"] is True
    assert "no worker" in told["workers"]


def test_metrics_are_in_prometheus_format(unguarded: FlaskClient) -> None:
    lines = unguarded.get("/metrics").data.decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert sum(float(value) for name, value in values.items() if name.startswith("poolscope_gpus{")) == 29
    assert values["poolscope_snapshots"] == "80"
    assert values["poolscope_workers"] == "0"
    assert [line for line in lines if line.startswith("# TYPE")]


def test_it_lies_under_a_prefix(store: Store, settings: Settings, tmp_path: Path) -> None:
    app, _ = served(store, settings, tmp_path, Trust(), "/poolscope/")
    client = app.server.test_client()
    assert client.get("/poolscope/").status_code == 200
    assert client.get("/poolscope/healthz").status_code == 200
    assert client.get("/poolscope/api/supply.json").get_json()[0]["gpus"] == 31
    assert client.get("/").status_code == 404
