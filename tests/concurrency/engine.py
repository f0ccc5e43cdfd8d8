"""What agents report and controllers record, from several connections at once: once each."""

from uuid import UUID, uuid4

from sqlalchemy import func, select, update

from backend.core import queue, wire
from backend.core.queue import Lease
from backend.datasets.service import record_blob
from backend.endpoints.models import UsageSegment, VariantTraffic
from backend.fleet.models import Assignment, Hold, Instance, Report, UtilisationChunk
from backend.jobs.models import Attempt, Checkpoint, Job, LogChunk, MetricChunk
from backend.projects.models import Project
from backend.registry.errors import ModelNameTaken
from backend.registry.models import Model, ModelVersion
from tests.concurrency.cases import races
from tests.concurrency.place import Place, at_once
from tests.concurrency.segments import Delivery
from tests.registry.test_service import artifact, make_job, register
from worker.tasks.jobs import move_one

FILE = wire.FileRef(name="state.json", sha256="a" * 64, size_bytes=3)


def make_due(place: Place, job_ids: list[UUID]) -> None:
    """Whoever held one of these jobs holds it no more, and those that are not over are due."""
    with place.controller_database.unit_of_work() as session:
        due = update(Job).where(Job.id.in_(job_ids), Job.due_at.is_not(None))
        session.execute(due.values(due_at=func.clock_timestamp(), lease_token=None))


def control(place: Place, job_ids: list[UUID]) -> list[Lease]:
    """One controller claims one of these jobs, if one is due, and moves it."""
    with place.controller_database.unit_of_work() as session:
        leases = queue.claim(session, Job, lease_seconds=30, limit=1, where=Job.id.in_(job_ids))
    for lease in leases:
        assert move_one(place.context, lease)
    return leases


def controllers(place: Place, count: int, job_ids: list[UUID]) -> None:
    """So many controllers claim whatever of these jobs is due and move it, all at once."""
    make_due(place, job_ids)
    claimed = [lease.row_id for leases in at_once([lambda: control(place, job_ids)] * count) for lease in leases]
    assert len(claimed) == len(set(claimed)), "a row has one owner"


@races("uq_attempts_open", "uq_attempts_job_id_number")
def attempts(place: Place, count: int) -> None:
    for _ in range(2):
        place.ready_instance(place.tenant)
    job_id = UUID(place.submit(place.tenant)["id"])
    for _ in range(3):
        controllers(place, count, [job_id])
    assert place.count(Attempt) == place.count(Assignment) == 1


@races("uq_assignments_open_instance")
def one_instance(place: Place, count: int) -> None:
    """Every controller has a job of its own, and there is one instance."""
    place.ready_instance(place.tenant)
    job_ids = [UUID(place.submit(place.tenant, f"nap-{number}")["id"]) for number in range(count)]
    controllers(place, count, job_ids)
    assert place.count(Assignment) == place.count(Attempt) == 1
    assert place.count(Job, Job.status == "starting") == 1


@races(
    "uq_reports_assignment_id_epoch_seq",
    "uq_log_chunks_attempt_id_epoch_seq",
    "uq_metric_chunks_attempt_id_epoch_seq_name",
    "uq_utilisation_chunks_assignment_id_epoch_seq",
)
def reports(place: Place, count: int) -> None:
    """An agent that heard no answer sends the same again, and again."""
    _, hand = place.running_job()
    (assignment,) = hand.sync().assignments
    bodies: list[wire.ReportBody] = [
        wire.Started(pid=1),
        wire.Logs(lines=["hello"], times=[1.0]),
        wire.Metrics(series=[wire.MetricSeries(name="loss", steps=[1], values=[0.5], times=[1.0])]),
        wire.Progress(step=1, total_steps=2, phase="x"),
        wire.Utilisation(
            cpu_count=2.0,
            memory_limit_bytes=1 << 30,
            times=[1.0],
            spans=[1.0],
            cpu_cores=[0.5],
            memory_bytes=[1e6],
            read_bytes_per_second=[0.0],
            written_bytes_per_second=[0.0],
        ),
    ]
    said = wire.SyncRequest(
        reports=[
            wire.Report(assignment_id=assignment.id, epoch=1, seq=number, elapsed_seconds=1.0, body=body)
            for number, body in enumerate(bodies, 1)
        ]
    )
    replies = at_once([lambda: hand.send(said)] * count)
    assert [reply.accepted for reply in replies] == [{assignment.id: len(bodies)}] * count
    assert (place.count(Report), place.count(LogChunk), place.count(MetricChunk)) == (2, 1, 1)
    assert place.count(UtilisationChunk) == 1


@races("uq_checkpoints_attempt_id_step")
def checkpoints(place: Place, count: int) -> None:
    """A checkpoint is told twice, and every controller looks at once."""
    job_id, hand = place.running_job()
    (assignment,) = hand.sync().assignments
    saved = wire.CheckpointSaved(step=3, files=[FILE])
    hand.sync(wire.Started(pid=1), saved, saved, assignment=assignment)
    controllers(place, count, [job_id])
    assert place.count(Checkpoint) == 1


@races("uq_holds_open")
def holds(place: Place, count: int) -> None:
    """A job ends and leaves its instance in the warm pool, whoever looks."""
    job_id, hand = place.running_job(keep_alive_seconds=600)
    (assignment,) = hand.sync().assignments
    hand.sync(wire.Started(pid=1), assignment=assignment)
    controllers(place, count, [job_id])
    hand.sync(
        wire.ResultSaved(files=[FILE], summary={}), wire.Ended(outcome="completed"), assignment=assignment, elapsed=1.0
    )
    controllers(place, count, [job_id])
    assert place.count(Hold) == 1
    assert place.count(Job, Job.status == "completed") == 1


@races("uq_instances_tag", "uq_instances_token_hash")
def requested_instances(place: Place, count: int) -> None:
    """As many machines are asked for as are needed, each under a tag of its own."""
    job_ids = [UUID(place.submit(place.tenant, f"nap-{number}")["id"]) for number in range(count)]
    controllers(place, count, job_ids)
    with place.controller_database.unit_of_work() as session:
        mine = select(Instance.tag).where(Instance.organization_id == place.tenant.organization_id)
        tags = session.scalars(mine).all()
    assert len(set(tags)) == len(tags) == count


@races("uq_models_organization_id_name")
def model_names(place: Place, count: int) -> None:
    """Jobs of as many projects register under the same name."""
    projects = [
        Project(organization_id=place.tenant.organization_id, name=f"p{n}", description="") for n in range(count)
    ]
    with place.controller_database.unit_of_work() as session:
        session.add_all(projects)

    def one(project_id: UUID) -> bool:
        try:
            with place.app_database.unit_of_work(place.tenant.scope) as session:
                register(session, place.tenant, project_id=project_id)
        except ModelNameTaken:
            return False
        return True

    won = at_once([lambda project=project: one(project.id) for project in projects])  # type: ignore[misc]  # mypy cannot infer a lambda's default
    assert sorted(won) == [False] * (count - 1) + [True]
    assert place.count(Model) == place.count(ModelVersion) == 1


@races("uq_model_versions_model_id_number", "uq_model_versions_job_id")
def model_versions(place: Place, count: int) -> None:
    """Half of the callers register for one job, the others for none."""
    job_id = make_job(place.controller_database, place.tenant)
    with place.app_database.unit_of_work(place.tenant.scope) as session:
        for file in artifact():
            record_blob(session, place.tenant.scope, file.sha256, file.size_bytes)

    def one(number: int) -> int:
        with place.app_database.unit_of_work(place.tenant.scope) as session:
            return register(session, place.tenant, job_id=None if number % 2 else job_id).number

    numbers = at_once([lambda number=number: one(number) for number in range(count)])  # type: ignore[misc]  # mypy cannot infer a lambda's default
    assert len(set(numbers[::2])) == 1
    assert sorted(set(numbers)) == list(range(1, count // 2 + 2)), "without gaps"
    assert place.count(ModelVersion) == count // 2 + 1


@races("uq_variant_traffic_segment_id_variant_key_id", "uq_usage_segments_organization_id_segment_id")
def usage_segments(place: Place, count: int) -> None:
    """A replica's segment is delivered again while its first delivery is counted."""
    delivery = Delivery(place, place.new_endpoint())
    segment_id = uuid4()
    content = delivery.content(segment_id, calls=7)
    answers = at_once([lambda: delivery.post(segment_id, content)] * count)
    assert [answer.status_code for answer in answers] == [200] * count, [answer.text for answer in answers]
    assert sorted(answer.json()["accepted"] for answer in answers) == [False] * (count - 1) + [True]
    assert place.count(UsageSegment) == place.count(VariantTraffic) == 1
    assert delivery.billed_calls() == 7
