"""Jobs that kill, hang, starve or burst their worker, among thousands that do not."""

from __future__ import annotations

import random
from collections import Counter

from shared.jobs import JobState
from tests.chaos import scenes
from tests.chaos.scenes import Scene
from tests.chaos.world import World, world

_JOBS, _POISON = 5_000, 100
_ATTEMPTS = 3
#: Below the ten gigabytes, above what a worker with stand-in models maps.
_ADDRESS_SPACE = 8 * 2**30
_COMMANDS = ("exit", "segv", "memory", "hold", f"allocate={10 * 2**30}")
_SETTINGS = {"ICONOTEXT_STUCK_AFTER": "3", "ICONOTEXT_LEASE": "5"}
_LIMITED = (
    "import resource, runpy; "
    f"resource.setrlimit(resource.RLIMIT_AS, ({_ADDRESS_SPACE}, {_ADDRESS_SPACE})); "
    "runpy.run_module('worker', run_name='__main__')"
)


def run(scene: Scene) -> int:
    """Every poison fails after its attempts, everything else succeeds, and at most one attempt was lost."""
    drawn = random.Random(scene.seed)
    count, poisons = scene.of(_JOBS), scene.of(_POISON, least=len(_COMMANDS))
    report = scene.report("poison")
    places = sorted(drawn.sample(range(count), poisons))
    bodies = [scenes.text(f"red number {number}") for number in range(count)]
    for number, place in enumerate(places):
        bodies[place] = scenes.text(f"fake:{_COMMANDS[number % len(_COMMANDS)]} red")
    with world(scene.kind, settings=_SETTINGS) as built, scenes.caller(built) as client:
        database = built.database.direct()
        _start(built)
        ids = scenes.submit(client, bodies)
        spent = scenes.require_the_end(database, 60.0 + 20.0 * poisons)
        found = scenes.ended(database)
        broken = scenes.broken_stories(database)
        deaths = Counter(one.status for one in built.stage.deaths if one.name.startswith("worker"))
        database.close()
    guilty = [found[ids[place]] for place in places]
    good = [one for job_id, one in found.items() if job_id not in {ids[place] for place in places}]
    report.add("jobs", [count], "jobs")
    report.add("poison", [poisons], "jobs")
    report.add("until all had ended", [spent], "s")
    report.add("worker deaths", [sum(deaths.values())], "deaths")
    report.add("good jobs with a second attempt", [sum(one.attempt > 1 for one in good)], "jobs")
    report.note(f"{scene.kind}, seed {scene.seed}; deaths by status {dict(sorted(deaths.items()))}")
    report.note(f"poison ended with {dict(Counter(str(one.error_code) for one in guilty))}")
    wrong = [one for one in guilty if (one.state, one.attempt) != (JobState.FAILED, _ATTEMPTS)]
    report.bar("poison that did not fail after 3 attempts", len(wrong), 0, at_least=False)
    report.bar(
        "good jobs that did not succeed",
        sum(one.state is not JobState.SUCCEEDED for one in good),
        0,
        at_least=False,
    )
    report.bar("most attempts of a good job", max(one.attempt for one in good), 2, at_least=False)
    report.bar("jobs with two ends", len(broken), 0, at_least=False)
    for one in wrong[:10]:
        report.note(repr(one)[:300])
    return report.finish()


def _start(built: World) -> None:
    """Start workers that may not take all of the machine's memory."""
    built.stage.add("api", built.api_command())
    for number in (1, 2):
        name = f"worker-{number}"
        built.stage.add(name, built.stage.command(name, ("-c", _LIMITED), built.settings))
    built.wait_until_ready(2)
