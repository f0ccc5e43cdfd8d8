"""Jobs: the list, one job's page, and what that page fetches while the job lives."""

from collections.abc import Iterator
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from backend.core.auth import Principal
from backend.jobs import service as jobs
from frontend import curves, i18n
from frontend.figures import document
from frontend.format import Formatter
from frontend.logsearch import search_log
from frontend.pages.common import Back, FromOurPage, LoggedIn, Pages, Services, framed
from frontend.services import parse_id
from frontend.views import JobQuery, LogPage, Platform, strips

router = APIRouter()

PAGE_SIZE = 50
CLI_EXAMPLE = "modelyard demo"
API_EXAMPLE = """curl {base}/api/v1/training-jobs \\
  -H "Authorization: Bearer $MODELYARD_API_KEY" -H "Content-Type: application/json" \\
  -d '{{"name": "first-training", "project_id": "{project}", "dataset_version_id": "…", "model_name": "digits"}}'"""
STOP_POLLING = 286
"""htmx stops polling on this status (htmx.org, "Polling")."""

Word = Annotated[str | None, Query(max_length=200)]


def read_query(
    *,
    status: Word = None,
    kind: Word = None,
    text: Word = None,
    project: Word = None,
    sort: Word = None,
    cursor: Annotated[str | None, Query(max_length=2000)] = None,
) -> JobQuery:
    """Filters from the URL; an empty one filters nothing."""
    return JobQuery(
        status=status or None,
        kind=kind or None,
        text=(text or "").strip() or None,
        project=project or None,
        sort=sort or None,
        cursor=cursor or None,
    )


@router.get("/training")
def list_jobs(
    request: Request,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    query: Annotated[JobQuery, Depends(read_query)],
) -> Response:
    """The job list; for htmx, its table alone. A list in which nothing runs stops polling."""
    found = platform.list_jobs(viewer, query, limit=PAGE_SIZE)
    live = any(not job.final for job in found.jobs)
    context: dict[str, Any] = {
        "query": query,
        "found": found,
        "live": live,
        "can_write": viewer.allows("write"),
        "url": _list_url,
        "cli_example": CLI_EXAMPLE,
        "api_example": API_EXAMPLE.format(base=str(request.base_url).rstrip("/"), project=query.project or "…"),
    }
    if "HX-Request" not in request.headers:
        return pages.respond(request, "training/list.html", framed(platform, viewer, **context))
    polled = request.headers.get("HX-Trigger") == "jobs"
    code = STOP_POLLING if polled and not live else HTTPStatus.OK
    response = pages.respond(request, "training/list.html", context, block="jobs", status_code=code)
    if not polled:
        response.headers["HX-Push-Url"] = _list_url(query)
    return response


def _list_url(query: JobQuery, **changes: str | None) -> str:
    """The list's address with some filters changed; a change of filter starts at the first page."""
    if changes and "cursor" not in changes:
        changes["cursor"] = None
    parameters = query.parameters(**changes)
    return "/training" + (f"?{urlencode(parameters)}" if parameters else "")


@router.get("/activity")
def show_activity(request: Request, viewer: LoggedIn, pages: Pages, platform: Services) -> Response:
    """The top bar's figures; polled while something runs."""
    shell = platform.shell(viewer)
    code = HTTPStatus.OK if shell.active_jobs else STOP_POLLING
    return pages.respond(request, "components/activity.html", {"shell": shell}, status_code=code)


@router.get("/training/{job_id}")
def show_job(request: Request, viewer: LoggedIn, pages: Pages, platform: Services, job_id: str) -> Response:
    """One job: how it is going, curves, log, attempts, events, parameters."""
    job = platform.get_job(viewer, job_id)
    log = platform.read_logs(viewer, job_id, after=None)
    context = framed(platform, viewer, job=job, log=log)
    return pages.respond(request, "training/job.html", context)


@router.get("/training/{job_id}/live")
def refresh_job(request: Request, viewer: LoggedIn, pages: Pages, platform: Services, job_id: str) -> Response:
    """The parts of the page that change, until the job is final."""
    job = platform.get_job(viewer, job_id)
    code = STOP_POLLING if job.summary.final else HTTPStatus.OK
    return pages.respond(request, "training/live.html", {"viewer": viewer, "job": job}, status_code=code)


@router.get("/training/{job_id}/metrics")
def read_metrics(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, job_id: str, version: str = ""
) -> Response:
    """Curves for the chart script: 204 where nothing is new; `final` says that nothing will be."""
    found = platform.read_metrics(viewer, job_id, known=version)
    if found.series is None:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    charts = curves.in_words(curves.charts(found.series), pages.saying(request))
    return JSONResponse({"version": found.version, "final": found.final, "charts": charts})


@router.get("/training/{job_id}/utilisation")
def read_use(request: Request, viewer: LoggedIn, pages: Pages, platform: Services, job_id: str) -> Response:
    """What the attempts used of their instances, as strips below their timeline."""
    formatter = Formatter(i18n.locale_of(pages.language(request)))
    drawn = strips.figure(platform.read_use(viewer, job_id), partial(pages.say, request), formatter)
    return Response(document(drawn), media_type="application/json")


@router.get("/training/{job_id}/logs")
def read_logs(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    job_id: str,
    after: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Log lines after a place, with the next place to ask from; a final job's last page asks no more."""
    job = platform.get_job(viewer, job_id)
    log = platform.read_logs(viewer, job_id, after=after)
    return pages.respond(request, "training/log_lines.html", {"job": job, "log": log})


@router.get("/training/{job_id}/log-search")
def find_in_log(
    request: Request, *, viewer: LoggedIn, pages: Pages, back: Back, job_id: str, text: Word = None, after: Word = None
) -> Response:
    """Lines of the whole log that contain the words; empty where there are no words."""
    words = (text or "").strip()
    if not words:
        with back.tenant(viewer) as session:
            jobs.get_job(session, viewer.scope, parse_id(job_id))
        return Response(media_type="text/html")
    found = search_log(back, viewer, job_id, words, after=after or "")
    context = {"job_id": job_id, "words": words, "found": found, "further": bool(after)}
    return pages.respond(request, "training/log_found.html", context)


@router.get("/training/{job_id}/log.txt")
def download_log(viewer: LoggedIn, platform: Services, job_id: str) -> Response:
    """The whole log as text."""
    job = platform.get_job(viewer, job_id)
    first = platform.read_logs(viewer, job_id, after="")
    return StreamingResponse(
        _log_text(platform, viewer, job_id, first),
        media_type="text/plain; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{job.summary.id}.log"'},
    )


def _log_text(platform: Platform, viewer: Principal, job_id: str, page: LogPage) -> Iterator[str]:
    while page.lines:
        # A page at a time: each piece of a streamed answer is a turn of a thread.
        yield "".join(
            f"{line.at.isoformat(timespec='milliseconds')} {line.text}\n" if line.at else f"{line.text}\n"
            for line in page.lines
        )
        page = platform.read_logs(viewer, job_id, after=page.after)


@router.post("/training/{job_id}/stop", dependencies=[FromOurPage])
def stop_job(request: Request, viewer: LoggedIn, pages: Pages, platform: Services, job_id: str) -> Response:
    """Ask the job to stop; it writes a checkpoint first."""
    platform.stop_job(viewer, job_id)
    if "HX-Request" not in request.headers:
        return RedirectResponse(f"/training/{job_id}", HTTPStatus.SEE_OTHER)
    job = platform.get_job(viewer, job_id)
    return pages.respond(request, "training/stopped.html", {"viewer": viewer, "job": job})
