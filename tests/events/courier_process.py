"""A worker that only tells events: `python -m tests.events.courier_process`, with settings from the environment."""

import time

from backend.core.db import Database, make_engine
from backend.core.settings import Settings, require
from backend.core.storage import ObjectStore
from worker.context import ControlContext
from worker.tasks.events import control

if __name__ == "__main__":
    settings = Settings()
    url = require(settings.database.controller_url, "MODELYARD_DATABASE__CONTROLLER_URL")
    context = ControlContext(Database(make_engine(url, pool_size=2)), settings, ObjectStore(settings.object_url), None)
    while True:
        control(context)
        time.sleep(0.1)
