"""Workers stand still for longer than their lease and then go on, as after a suspended machine."""

from __future__ import annotations

import random
import signal
import time

from tests.chaos import checks, scenes
from tests.chaos.scenes import Scene
from tests.chaos.world import world

_STOPS = 50
_JOBS_A_STOP = 12
_LEASE_S = 2.0
_SETTINGS = {"ICONOTEXT_LEASE": str(_LEASE_S), "ICONOTEXT_RECONCILE": "0.5"}


def run(scene: Scene) -> int:
    """Stop and resume one worker of two at a time while both are busy; each job has one effect."""
    drawn = random.Random(scene.seed)
    stops = scene.of(_STOPS)
    report = scene.report("stops")
    with world(scene.kind, settings=_SETTINGS) as built, scenes.caller(built) as client:
        database = built.database.direct()
        built.start(2)
        bodies = [
            scenes.text(f"fake:sleep={drawn.choice([0.05, 0.1, 0.3])} red {number}")
            for number in range(stops * _JOBS_A_STOP)
        ]
        ids: list[str] = []
        for number in range(stops):
            ids += scenes.submit(client, bodies[number * _JOBS_A_STOP : (number + 1) * _JOBS_A_STOP])
            worker = built.workers[number % 2]
            time.sleep(drawn.uniform(0.1, 0.4))
            worker.send(signal.SIGSTOP)
            time.sleep(_LEASE_S * drawn.uniform(1.3, 1.8))
            worker.send(signal.SIGCONT)
            time.sleep(drawn.uniform(0.1, 0.6))
        scenes.require_the_end(database, 120.0)
        found = scenes.ended(database)
        broken = scenes.broken_stories(database)
        # A process that was stopped for too long is not dead: none may have been restarted.
        deaths = [one for one in built.stage.deaths if one.name.startswith("worker")]
        report.add("stops", [stops], "stops")
        report.add("jobs", [len(ids)], "jobs")
        report.add("fenced writes", [checks.lines_with(built.stage.logs, "the outcome is dropped")], "writes")
        report.add("re-runs", [sum(one.attempt - 1 for one in found.values())], "runs")
        report.note(f"{scene.kind}, seed {scene.seed}, states {dict(scenes.states(found))}")
        database.close()
    report.bar("jobs that did not succeed", len(ids) - scenes.states(found)["succeeded"], 0, at_least=False)
    report.bar("jobs with two effects", len(broken), 0, at_least=False)
    report.bar("fenced writes", report.figures["fenced writes"].median, 1)
    report.bar("workers that died", len(deaths), 0, at_least=False)
    for words in broken[:10]:
        report.note(words)
    return report.finish()
