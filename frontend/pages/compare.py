"""Several jobs at once: side by side, and stopped together."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Query
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from backend.jobs import metrics
from backend.jobs import service as jobs
from frontend import curves
from frontend.pages.common import MOST_CHOSEN, AtDesk, Back, FromOurPage, LoggedIn, Pages, Services, framed
from frontend.services import parse_id
from frontend.views.compare import FEWEST, MOST, compare

router = APIRouter()
AmongJobs = Annotated[list[str], Form(alias="job", default_factory=list, max_length=MOST_CHOSEN)]
Chosen = Annotated[list[str], Query(alias="job", max_length=200)]


@router.get("/training/compare")
def show_comparison(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    back: Back,
    job: Chosen = [],  # noqa: B006 - FastAPI copies it
) -> Response:
    """Jobs side by side; with fewer than two, how to choose them."""
    chosen = list(dict.fromkeys(job))
    found = None
    if FEWEST <= len(chosen) <= MOST:
        details = [platform.get_job(viewer, one) for one in chosen]
        with back.tenant(viewer) as session:
            last = [metrics.last_values(session, viewer.scope, parse_id(one)) for one in chosen]
        found = compare(details, last)
    context = framed(platform, viewer, found=found, count=len(chosen), most=MOST, query=request.url.query)
    return pages.respond(request, "training/compare.html", context)


@router.get("/training/compare/metrics")
def read_curves(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    job: Chosen = [],  # noqa: B006 - FastAPI copies it
    version: str = "",
) -> Response:
    """Curves of several jobs over each other, as `read_metrics` of one: 204 where nothing is new."""
    chosen = list(dict.fromkeys(job))[:MOST]
    names = [platform.get_job(viewer, one).summary.name for one in chosen]
    known = version.split("+")
    told = zip(chosen, known if len(known) == len(chosen) else [""] * len(chosen), strict=True)
    found = [platform.read_metrics(viewer, one, known=said) for one, said in told]
    if all(one.series is None for one in found):
        return Response(status_code=HTTPStatus.NO_CONTENT)
    found = [
        read if read.series is not None else platform.read_metrics(viewer, one, known="")
        for one, read in zip(chosen, found, strict=True)
    ]
    overlaid = curves.overlaid([(name, one.series or []) for name, one in zip(names, found, strict=True)])
    charts = curves.in_words(overlaid, pages.saying(request))
    together = "+".join(one.version for one in found)
    return JSONResponse({"version": together, "final": all(one.final for one in found), "charts": charts})


@router.post("/training/stop", dependencies=[FromOurPage])
def stop_jobs(desk: AtDesk, job: AmongJobs) -> Response:
    """Ask each of the chosen jobs to stop; what has ended already stays as it is."""
    desk.viewer.require("write")

    def name(session: Session, job_id: UUID) -> str:
        return jobs.get_job(session, desk.scope, job_id).name

    def stop(job_id: UUID) -> None:
        with desk.session() as session:
            jobs.request_stop(session, desk.viewer, job_id)

    done = desk.say("It was asked to stop: it writes a checkpoint and ends.")
    return desk.show_outcomes(desk.each(job, name=name, act=stop, done=done), "/training")
