"""Cancels and deadlines that come just when a job begins, runs or ends."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from functools import partial

import httpx

from benchmarks.report import quantile
from shared.jobs import JobState, Json
from tests.chaos import scenes
from tests.chaos.scenes import Scene
from tests.chaos.world import World, world

_RACES = 5_000
_IN_FLIGHT = 16
_LONG_JOBS = 20
_STEP_S = 0.1
#: A step or two of a hundred.
_SOME = 0.02
#: A cancel is noticed with the next beat of the worker's heart (0.5 s).
_NOTICED_S = 0.6


def run(scene: Scene) -> int:
    """No job both succeeds and is canceled, and the device is free a step after a cancel."""
    report = scene.report("races")
    with world(scene.kind, settings={"ICONOTEXT_SLOTS": "16"}) as built:
        database = built.database.direct()
        built.start(2)
        wished = _race(built, scene)
        scenes.require_the_end(database, 120.0)
        found = scenes.ended(database)
        broken = scenes.broken_stories(database)
        waits, followers = _cancel_long_jobs(built, scene)
        database.close()
    outcomes = Counter((wished[job_id], one.state.value) for job_id, one in found.items() if job_id in wished)
    report.add("races", [len(wished)], "races")
    report.add("cancel to canceled, p50", [quantile(waits, 0.5)], "s")
    report.add("cancel to canceled, max", [max(waits)], "s")
    report.add("a job after a cancel, max", [max(followers)], "s")
    report.note(f"{scene.kind}, seed {scene.seed}, a step takes {_STEP_S:g} s")
    report.note(f"(wish, end): {dict(sorted(outcomes.items()))}")
    both = [one for one in found.values() if one.result is not None and one.state is not JobState.SUCCEEDED]
    report.bar("results of jobs that did not succeed", len(both), 0, at_least=False)
    report.bar("jobs with two ends", len(broken), 0, at_least=False)
    report.bar(
        "unexpected ends",
        sum(count for pair, count in outcomes.items() if pair not in _ENDS),
        0,
        at_least=False,
    )
    if not report.trial:
        report.bar(
            "a canceled job's device is free after", max(followers), _STEP_S + _NOTICED_S, at_least=False
        )
    for words in broken[:10]:
        report.note(words)
    return report.finish()


#: What may become of a wish.
_ENDS = {
    ("cancel", "canceled"), ("cancel", "succeeded"),
    ("timeout", "succeeded"), ("timeout", "failed"),
    ("start", "succeeded"), ("start", "expired"),
    ("timeout and cancel", "succeeded"), ("timeout and cancel", "failed"), ("timeout and cancel", "canceled"),
}  # fmt: skip


def _race(built: World, scene: Scene) -> dict[str, str]:
    """Run the races from several threads, and return what was wished of each job."""
    wished: dict[str, str] = {}
    count = scene.of(_RACES)
    threads = [
        threading.Thread(target=_race_alone, args=(built, scene.seed + lane, count // _IN_FLIGHT + 1, wished))
        for lane in range(_IN_FLIGHT)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wished


def _race_alone(built: World, seed: int, count: int, wished: dict[str, str]) -> None:
    drawn = random.Random(seed)
    with scenes.caller(built) as client:
        for _ in range(count):
            wish = drawn.choice(["cancel", "cancel", "timeout", "start", "timeout and cancel"])
            job = client.post("/v1/jobs", json=_body(drawn, wish)).raise_for_status().json()
            wished[job["id"]] = wish
            if "cancel" in wish:
                time.sleep(drawn.choice([0.0, 0.005, 0.01, 0.02, 0.05]) * drawn.random())
                client.post(f"/v1/jobs/{job['id']}/cancel").raise_for_status()


def _body(drawn: random.Random, wish: str) -> Json:
    options: Json = {}
    length = drawn.choice([0.0, 0.005, 0.01, 0.02])
    if "timeout" in wish:
        options["timeout_s"] = max(0.001, length * drawn.uniform(0.5, 2.0))
    if wish == "start":
        options["start_within_s"] = drawn.uniform(0.001, 0.1)
    return scenes.text(f"fake:sleep={length} red" if length else "red", **options)


def _cancel_long_jobs(built: World, scene: Scene) -> tuple[list[float], list[float]]:
    """Cancel jobs of a hundred steps; return how long that took each time, and a job right after it."""
    drawn = random.Random(scene.seed)
    waits, followers = [], []
    with scenes.caller(built, 30.0) as client:
        for number in range(scene.of(_LONG_JOBS, least=3)):
            body = {
                "task": "generate",
                "input": {"prompt": f"fake:sleep={_STEP_S} red", "steps": 100, "seed": number},
            }
            # One on each worker's device, so that whichever takes the follower has just been freed.
            long_ones = [client.post("/v1/jobs", json=body).raise_for_status().json()["id"] for _ in range(2)]
            scenes.until(partial(_are_stepping, client, long_ones), 20.0, "no step was taken")
            time.sleep(drawn.uniform(0.0, 0.3))
            began = time.monotonic()
            for one in long_ones:
                client.post(f"/v1/jobs/{one}/cancel").raise_for_status()
            for one in long_ones:
                job = client.get(f"/v1/jobs/{one}", params={"wait": 20}).raise_for_status().json()
                if job["status"] != "canceled":
                    raise AssertionError(f"{one} is {job['status']}")
            waits.append(time.monotonic() - began)
            began = time.monotonic()
            follower = client.post(
                "/v1/jobs", json=scenes.text("blue"), headers={"Prefer": "wait=20"}
            ).raise_for_status()
            if follower.json()["status"] != "succeeded":
                raise AssertionError(f"the follower is {follower.json()['status']}")
            followers.append(time.monotonic() - began)
    return waits, followers


def _are_stepping(client: httpx.Client, job_ids: list[str]) -> bool:
    found = [client.get(f"/v1/jobs/{one}").raise_for_status().json() for one in job_ids]
    return all(job["progress"]["fraction"] > _SOME for job in found)
