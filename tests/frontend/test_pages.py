"""Every page renders, in both languages, without inline code; every answer is safe; every error is a page."""

import gzip
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from babel.messages.extract import extract_from_dir
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from frontend import i18n, security
from frontend.app import create_dashboard
from frontend.pages import auth, jobs
from frontend.pages.jobs import STOP_POLLING
from frontend.render import FOLDER, BundleMissingError, load_manifest
from tests.frontend.sample import EMAIL, JOBS, PASSWORD, SamplePlatform, job

pytestmark = pytest.mark.unit
HTML = {"Accept": "text/html"}
RUNNING = next(one for one in JOBS if one.status == "running")
COMPLETED = next(one for one in JOBS if one.status == "completed")


class InlineCode(HTMLParser):
    """Collects what the Content-Security-Policy would refuse, and the fields of forms."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: list[str] = []
        self.fields: dict[str, str] = {}
        self.labels: set[str] = set()
        self.inputs: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "style" or (tag == "script" and not given.get("src")):
            self.refused.append(f"<{tag}>")
        self.refused += [name for name, _ in attrs if name == "style" or name.startswith(("on", "hx-on"))]
        if tag == "input" and given.get("name"):
            self.fields[str(given["name"])] = given.get("value") or ""
        if tag == "label" and given.get("for"):
            self.labels.add(str(given["for"]))
        if tag in {"input", "select"} and given.get("type") not in {"hidden", "checkbox", "range"}:
            self.inputs.append(given)


def parse(html: str) -> InlineCode:
    parser = InlineCode()
    parser.feed(html)
    return parser


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    names = {name: name.replace(".", "-1.") for name in ("app.js", "app.css", "theme.js", "charts.js", "figures.js")}
    (tmp_path / "manifest.json").write_text(json.dumps(names))
    for name in names.values():
        (tmp_path / name).write_text("/* */")
    return tmp_path


@pytest.fixture
def visitor(bundle: Path) -> Iterator[TestClient]:
    application = create_dashboard(SamplePlatform(), secret=b"k" * 32, static=bundle)
    with TestClient(application, follow_redirects=False, headers=HTML) as client:
        yield client


@pytest.fixture
def member(visitor: TestClient) -> TestClient:
    form = parse(visitor.get("/login").text).fields
    answer = visitor.post("/login", data=form | {"email": EMAIL, "password": PASSWORD, "next": "/training"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/training")
    return visitor


def test_log_in_sets_a_cookie_that_scripts_and_other_sites_cannot_use(visitor: TestClient) -> None:
    form = parse(visitor.get("/login").text).fields
    answer = visitor.post("/login", data=form | {"email": EMAIL, "password": PASSWORD})
    cookie = answer.headers["set-cookie"].lower()
    assert security.SESSION_COOKIE in cookie
    assert "httponly" in cookie
    assert "samesite=lax" in cookie


def test_a_wrong_password_keeps_the_email_and_says_what_is_wrong(visitor: TestClient) -> None:
    form = parse(visitor.get("/login").text).fields
    answer = visitor.post("/login", data=form | {"email": "who@example.com", "password": "wrong"})
    assert answer.status_code == 422
    assert "Email and password do not match." in answer.text
    page = parse(answer.text)
    assert page.fields["email"] == "who@example.com"
    assert page.fields["password"] == ""
    assert security.SESSION_COOKIE not in answer.cookies


def test_pages_send_strangers_to_log_in_and_back(visitor: TestClient) -> None:
    answer = visitor.get("/training?status=failed")
    assert answer.status_code == 303
    assert unquote(answer.headers["location"]) == "/login?next=/training?status=failed"
    fragment = visitor.get("/training", headers={"HX-Request": "true"})
    assert fragment.status_code == 401


def test_log_out_ends_the_session(member: TestClient) -> None:
    token = parse(member.get("/training").text).fields["csrf_token"]
    before = member.cookies[security.SESSION_COOKIE]
    assert member.post("/logout", data={"csrf_token": token}).headers["location"] == "/login"
    member.cookies.set(security.SESSION_COOKIE, before)
    assert member.get("/training").status_code == 303


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example/", "/\\evil.example", "evil", "", None, "/\r\nx"]
)
def test_next_never_leaves_this_site(target: str | None) -> None:
    assert security.safe_next(target) == "/"


def test_every_post_is_refused_without_the_token_of_this_session(member: TestClient) -> None:
    posts = [
        route.path.format(job_id=RUNNING.id)
        for router in (auth.router, jobs.router)
        for route in router.routes
        if isinstance(route, APIRoute) and "POST" in (route.methods or ())
    ]
    assert len(posts) >= 4
    for path in posts:
        assert member.post(path, data={}).status_code == 403
        assert member.post(path, data={"csrf_token": "0" * 64}).status_code == 403
    token = parse(member.get("/training").text).fields["csrf_token"]
    foreign = {"Sec-Fetch-Site": "cross-site", "X-CSRF-Token": token}
    assert member.post(f"/training/{RUNNING.id}/stop", headers=foreign).status_code == 403


def test_a_token_of_before_the_log_in_is_worth_nothing_after_it(visitor: TestClient) -> None:
    early = parse(visitor.get("/login").text).fields
    visitor.post("/login", data=early | {"email": EMAIL, "password": PASSWORD})
    assert visitor.post("/logout", data={"csrf_token": early["csrf_token"]}).status_code == 403


@pytest.mark.parametrize("language", ["en", "zh-CN,zh;q=0.9"])
@pytest.mark.parametrize("status", [one.status for one in JOBS])
def test_every_state_of_a_job_has_a_page_without_inline_code(member: TestClient, status: str, language: str) -> None:
    one = next(each for each in JOBS if each.status == status)
    answer = member.get(f"/training/{one.id}", headers={"Accept-Language": language})
    assert answer.status_code == 200
    assert one.name in answer.text
    page = parse(answer.text)
    assert page.refused == []
    assert {str(each.get("id")) for each in page.inputs} <= page.labels
    assert ('<html lang="zh-Hans-CN"' in answer.text) == language.startswith("zh")


def test_the_list_shows_filters_from_the_url_and_refreshes_its_table_alone(member: TestClient) -> None:
    whole = member.get("/training?status=failed")
    assert parse(whole.text).refused == []
    assert 'value="failed" selected' in whole.text
    assert RUNNING.name not in whole.text
    block = member.get("/training", headers={"HX-Request": "true", "HX-Trigger": "jobs"})
    assert block.text.lstrip().startswith('<div class="card" id="jobs" hx-get="/training" hx-trigger="every 2s,')
    assert "<html" not in block.text
    assert "HX-Push-Url" not in block.headers
    filtered = member.get("/training?status=failed&kind=", headers={"HX-Request": "true", "HX-Trigger": "filters"})
    assert filtered.headers["HX-Push-Url"] == "/training?status=failed"


def test_a_list_in_which_nothing_runs_stops_polling(member: TestClient) -> None:
    answer = member.get("/training?status=failed", headers={"HX-Request": "true", "HX-Trigger": "jobs"})
    assert answer.status_code == STOP_POLLING
    assert "every 2s" not in answer.text


def test_an_empty_list_offers_the_first_step(bundle: Path) -> None:
    platform = SamplePlatform([])
    platform.sessions.add("sample")
    with TestClient(create_dashboard(platform, secret=b"k" * 32, static=bundle), headers=HTML) as client:
        client.cookies.set(security.SESSION_COOKIE, "sample")
        text = client.get("/training").text
    assert "No jobs yet" in text
    assert "modelyard" in text
    assert "http://testserver/api/v1/" in text


def test_live_parts_stop_when_the_job_is_final(member: TestClient) -> None:
    running = member.get(f"/training/{RUNNING.id}/live", headers={"HX-Request": "true"})
    assert running.status_code == 200
    assert 'hx-trigger="every 2s"' in running.text
    assert running.text.count('hx-swap-oob="morph"') == 4
    final = member.get(f"/training/{COMPLETED.id}/live", headers={"HX-Request": "true"})
    assert final.status_code == STOP_POLLING
    assert "hx-trigger" not in final.text


def test_log_lines_continue_after_the_last_one_and_end_with_the_job(member: TestClient) -> None:
    first = member.get(f"/training/{RUNNING.id}/logs").text
    assert first.count('class="log-line"') == 60
    assert "after=60" in first
    assert 'class="log-line"' not in member.get(f"/training/{RUNNING.id}/logs?after=60").text
    assert member.get(f"/training/{COMPLETED.id}/logs?after=60").text.strip() == ""
    whole = member.get(f"/training/{RUNNING.id}/log.txt")
    assert whole.text.count("\n") == 60
    assert "attachment" in whole.headers["content-disposition"]


def test_metrics_come_once_per_change(member: TestClient) -> None:
    found = member.get(f"/training/{RUNNING.id}/metrics").json()
    assert [chart["key"] for chart in found["charts"]] == ["loss", "accuracy", "learning_rate"]
    assert [series["role"] for series in found["charts"][0]["series"]] == ["train", "validation"]
    again = member.get(f"/training/{RUNNING.id}/metrics", params={"version": found["version"]})
    assert again.status_code == 204
    assert member.get(f"/training/{COMPLETED.id}/metrics").json()["final"] is True


def test_a_stop_is_confirmed_by_a_toast_and_shown(bundle: Path) -> None:
    platform = SamplePlatform([job("one", "running"), job("two", "completed")])
    platform.sessions.add("sample")
    with TestClient(create_dashboard(platform, secret=b"k" * 32, static=bundle), headers=HTML) as client:
        client.cookies.set(security.SESSION_COOKIE, "sample")
        token = parse(client.get("/training").text).fields["csrf_token"]
        headers = {"HX-Request": "true", "X-CSRF-Token": token}
        done = client.post(f"/training/{platform.jobs[0].id}/stop", headers=headers)
        late = client.post(f"/training/{platform.jobs[1].id}/stop", headers=headers)
    assert "Asked one to stop" in done.text
    assert "Stopping" in done.text
    assert late.status_code == 409
    assert unquote(late.headers["X-Error-Message"]) == "Two has already ended."


def test_errors_are_pages_for_people_and_problems_for_programs(member: TestClient) -> None:
    page = member.get("/training/nothing")
    assert page.status_code == 404
    assert parse(page.text).refused == []
    assert "Not found" in member.get("/nowhere").text
    problem = member.get("/nowhere", headers={"Accept": "application/json"})
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.json()["status"] == 404
    assert member.get("/training?status=" + "x" * 300).status_code == 422


@pytest.mark.parametrize("path", ["/login", "/training", "/nowhere", "/static/app-1.js"])
def test_every_answer_carries_the_security_headers(member: TestClient, path: str) -> None:
    answer = member.get(path)
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_assets_are_cached_for_ever_and_pages_are_not(member: TestClient) -> None:
    assert "immutable" in member.get("/static/app-1.js").headers["cache-control"]
    assert member.get("/training").headers["cache-control"] == "no-store"


def test_assets_are_sent_gzipped_to_those_who_take_it(member: TestClient, bundle: Path) -> None:
    (bundle / "app-1.js.gz").write_bytes(gzip.compress(b"/* small */"))
    answer = member.get("/static/app-1.js", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert "javascript" in answer.headers["content-type"]
    assert answer.text == "/* small */"
    assert member.get("/static/app-1.js", headers={"Accept-Encoding": "identity"}).text == "/* */"


def test_a_missing_bundle_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(BundleMissingError, match="npm"):
        load_manifest(tmp_path)


def test_the_chosen_language_stays(member: TestClient) -> None:
    token = parse(member.get("/training").text).fields["csrf_token"]
    form = {"csrf_token": token, "language": "zh_Hans_CN", "next": "/training?kind=training"}
    assert member.post("/language", data=form).headers["location"] == "/training?kind=training"
    assert "作业" in member.get("/training").text


def test_a_stranger_chooses_a_language_and_it_stays_after_the_log_in(visitor: TestClient) -> None:
    form = parse(visitor.get("/login?next=/training").text).fields
    there = visitor.post("/language", data={**form, "language": "zh_Hans_CN", "next": "/login?next=/training"})
    assert (there.status_code, there.headers["location"]) == (303, "/login?next=/training")
    page = visitor.get("/login?next=/training")
    assert '<html lang="zh-Hans-CN"' in page.text
    wrong = visitor.post("/login", data=parse(page.text).fields | {"email": EMAIL, "password": "no"})
    assert "邮箱与密码不匹配。" in wrong.text
    visitor.post("/login", data=parse(page.text).fields | {"email": EMAIL, "password": PASSWORD})
    failed = next(one for one in JOBS if one.status == "failed")
    assert "失败" in visitor.get(f"/training/{failed.id}").text
    late = visitor.get("/training/nothing")
    assert late.status_code == 404
    assert "There is" not in late.text


def test_every_message_of_every_template_is_translated() -> None:
    found = {
        message[2] if isinstance(message[2], str) else message[2][0]
        for message in extract_from_dir(
            FOLDER / "templates", [("**.html", "jinja2")], {"**.html": {"trimmed": "true", "silent": "false"}}
        )
    }
    assert len(found) > 100
    for language in i18n.LANGUAGES.keys() - {"en"}:
        catalogue = i18n.read_catalogue(language)
        missing = [message for message in found if not (message in catalogue and catalogue[message].string)]
        assert missing == []
