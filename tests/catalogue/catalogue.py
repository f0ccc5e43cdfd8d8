"""All causes, by surface."""

from tests.catalogue import machines, public, resources
from tests.catalogue.cause import Cause

SURFACES: dict[str, tuple[Cause, ...]] = {
    "Every route": public.SHARED,
    "Identity": public.IDENTITY,
    "Projects": public.PROJECTS,
    "Datasets": resources.DATASETS,
    "Uploads": resources.UPLOADS,
    "Models": resources.MODELS,
    "Jobs": public.JOBS,
    "Endpoints": resources.ENDPOINTS,
    "Events and lineage": resources.EVENTS,
    "Money and machines": public.BILLING,
    "Operators": public.ADMIN,
    "Agents": machines.AGENTS,
    "Gateways": machines.GATEWAYS,
}
CAUSES = tuple(cause for causes in SURFACES.values() for cause in causes)
