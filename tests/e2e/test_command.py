"""The command as a shell and its user see it: folders, pipes, a terminal, exit statuses, JSON alone."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Up, eventually


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Return a service where nobody claims: what is submitted waits."""
    options = {
        "ICONOTEXT_POOLS": "elsewhere",
        "ICONOTEXT_WEBHOOKS": "true",
        "ICONOTEXT_WEBHOOK_PRIVATE": "true",
    }
    up = Up(tmp_path_factory.mktemp("command") / "data", env=options)
    up.env["ICONOTEXT_DATA_DIR"] = str(up.data_dir)
    try:
        yield up.wait_until_ready()
    finally:
        up.stop()


@pytest.fixture
def waiting(idle: Up) -> Iterator[str]:
    """Return a job that waits for as long as the test."""
    with idle.client() as client:
        job = client.submit("embed", texts=["red"])
        yield job.id
        client.delete(job)


@pytest.fixture
def folder(photos: dict[str, Path], tmp_path: Path) -> Path:
    """Return the folder of the photos, in which there is something else as well."""
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def piped(up: Up, line: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash, in which `$ICONOTEXT` is the command, against the service."""
    more = {"ICONOTEXT_URL": up.url, "ICONOTEXT": f"{sys.executable} -m client"}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],  # noqa: S607  # whichever bash there is
        env={**up.env, **more, **env},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def begin(
    up: Up, *words: str, prepare: Callable[[], object] = lambda: None, **streams: Any
) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "client", "--url", up.url, *words]

    def prepared() -> None:
        # Whoever runs the tests in the background may ignore it, and all that they start with them.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        prepare()

    # What runs between fork and exec takes no lock that another thread may hold.
    return subprocess.Popen(argv, env=up.env, preexec_fn=prepared, **streams)  # noqa: PLW1509


def test_a_folder_is_a_job_for_each_picture(up: Up, folder: Path) -> None:
    done = up.command("submit", "classify", "--image", str(folder), "--set", "top_k=1", "--wait", "--json")

    assert done.returncode == 0, done.stderr
    found = {Path(one["image"]).name: one["job"]["status"] for one in json.loads(done.stdout)}
    assert found == dict.fromkeys(["blue.png", "green.png", "red.png"], "succeeded")


def test_a_pattern_and_a_file_are_jobs_too(up: Up, folder: Path) -> None:
    words = ["--image", str(folder / "[bg]*.png"), "--image", str(folder / "red.png")]

    done = up.command("submit", "classify", *words, "--wait")

    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == ["blue.png", "green.png", "red.png"]


def test_a_picture_that_is_refused_is_status_one_and_hurts_no_other(up: Up, folder: Path) -> None:
    (folder / "broken.png").write_text("no picture")

    done = up.command("submit", "classify", "--image", str(folder), "--wait", "--json")

    assert done.returncode == 1
    found = {Path(one["image"]).name: one for one in json.loads(done.stdout)}
    assert found["broken.png"]["error"]["code"] == "image_not_recognized"
    assert found["red.png"]["job"]["status"] == "succeeded"


def test_what_submit_prints_quietly_can_be_waited_for(up: Up, folder: Path) -> None:
    line = f"$ICONOTEXT submit classify --image {folder} --quiet | xargs $ICONOTEXT wait --json"

    done = piped(up, line)

    assert done.returncode == 0, done.stderr
    assert [job["status"] for job in json.loads(done.stdout)] == ["succeeded"] * 3


def test_what_list_prints_quietly_can_be_canceled_retried_and_deleted(idle: Up, folder: Path) -> None:
    mine = "--label of=pipe --quiet"
    piped(idle, f"$ICONOTEXT submit classify --image {folder} {mine}")

    for verb, state in (("cancel", "canceled"), ("retry", "queued"), ("delete", "")):
        done = piped(idle, f"$ICONOTEXT list {mine} | xargs $ICONOTEXT {verb} --quiet")
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        listed = idle.command("list", "--label", "of=pipe", "--json")
        assert [job["status"] for job in json.loads(listed.stdout)] == ([state] * 3 if state else [])


def test_a_reader_that_has_read_enough_is_no_fault(idle: Up) -> None:
    done = piped(idle, "set +o pipefail; $ICONOTEXT tasks --json | head -c 1")
    assert (done.stdout, done.stderr) == ("[", "")


def test_artifacts_come_as_files(up: Up, photos: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["--image", str(photos["red"]), "--set", "labels=red", "--out", str(out)]

    done = up.command("submit", "detect", *words)

    assert done.returncode == 0, done.stderr
    [record] = out.glob("*.json")
    [artifact] = json.loads(record.read_text())["artifacts"]
    [picture] = (path for path in out.iterdir() if path != record)
    assert picture.stat().st_size == artifact["bytes"]
    assert done.stdout.splitlines()[-2:] == [f"saved {record}", f"saved {picture}"]


def test_progress_goes_to_nobody_who_does_not_see_it(up: Up, folder: Path) -> None:
    done = up.command("submit", "classify", "--image", str(folder), "--wait", "--json")
    assert done.stderr == ""


@pytest.mark.parametrize(
    "words",
    [
        ["submit", "embed", "--text", "red"],
        ["get", "JOB"],
        ["get", "JOB", "JOB"],
        ["cancel", "JOB"],
        ["retry", "JOB"],
        ["list"],
        ["tasks"],
        ["system"],
        ["webhooks", "create", "http://127.0.0.1:9/hook"],
        ["webhooks", "list"],
        ["webhooks", "secret"],
        ["keys", "create", "ci"],
        ["keys", "list"],
        ["tenants", "set", "acme", "--queued-jobs", "5"],
        ["tenants", "list"],
        ["models", "list"],
        ["db", "upgrade"],
        ["delete", "JOB"],
    ],
    ids=" ".join,
)
def test_json_is_alone_on_stdout(idle: Up, words: list[str]) -> None:
    with idle.client() as client:
        job_id = client.submit("embed", texts=["red"]).id

    done = idle.command(*[job_id if word == "JOB" else word for word in words], "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) is not None


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["wait", "JOB", "--timeout", "0.2"], 4, "it goes on"),
        (["watch", "JOB", "--timeout", "0.2"], 4, "it goes on"),
        (["get", "job_of_nobody"], 2, "check the id"),
        (["submit", "paint", "--text", "a"], 2, "this service has"),
        (["submit", "embed", "--text"], 2, "--text"),
        (["fly"], 2, "fly"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_goes_wrong_is_an_exit_status_and_no_traceback(
    idle: Up, waiting: str, words: list[str], *, status: int, says: str
) -> None:
    done = idle.command(*[waiting if word == "JOB" else word for word in words])

    assert done.returncode == status
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_service_it_is_status_three(idle: Up) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can answer there
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        done = piped(idle, "$ICONOTEXT list --json", ICONOTEXT_URL=url)

    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: nothing answers at")


def test_a_job_that_was_canceled_is_status_one(idle: Up, waiting: str) -> None:
    assert idle.command("cancel", waiting).returncode == 0
    assert idle.command("wait", waiting).returncode == 1


def test_an_interrupt_is_status_130_and_the_job_goes_on(idle: Up, waiting: str) -> None:
    with begin(idle, "watch", waiting, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline().split()[0].decode() == waiting
        watching.send_signal(signal.SIGINT)
        try:
            _, said = watching.communicate(timeout=30)
        finally:
            watching.kill()

    assert (watching.returncode, said) == (130, b"")
    with idle.client() as client:
        assert client.get(waiting).status == "queued"


class Terminal:
    """A command on a terminal."""

    def __init__(self, start: Callable[[int], subprocess.Popen[bytes]]) -> None:
        self._ours, theirs = pty.openpty()
        self._process = start(theirs)
        os.close(theirs)
        self.shown = ""

    def wait_for(self, words: str) -> None:
        """Return when the words are on the screen."""
        eventually(lambda: self._read() and words in self.shown, 30)

    def press(self, key: str) -> None:
        os.write(self._ours, key.encode())

    def end(self) -> int:
        """Return the exit status."""
        deadline = time.monotonic() + 30
        while self._process.poll() is None and time.monotonic() < deadline:
            self._read()
        self._read()
        os.close(self._ours)
        return self._process.wait(1)

    def _read(self) -> bool:
        if select.select([self._ours], [], [], 0.05)[0]:
            try:
                self.shown += os.read(self._ours, 65_536).decode(errors="replace")
            except OSError:
                # How Linux tells that the other side is closed.
                return True
        return True


@pytest.fixture
def on_terminal(request: pytest.FixtureRequest) -> Callable[..., Terminal]:
    def start(up: Up, *words: str) -> Terminal:
        def begun(theirs: int) -> subprocess.Popen[bytes]:
            # The terminal is the command's own, so that its keys reach it as signals.
            process = begin(up, *words, prepare=lambda: os.login_tty(theirs))
            request.addfinalizer(lambda: process.poll() is None and process.kill())
            return process

        return Terminal(begun)

    return start


def test_watch_is_a_live_table_on_a_terminal_until_ctrl_c(
    idle: Up, waiting: str, on_terminal: Callable[..., Terminal]
) -> None:
    watching = on_terminal(idle, "watch", waiting)
    watching.wait_for("queued")
    watching.press("\x03")

    assert watching.end() == 130
    assert "progress" in watching.shown
    assert "Traceback" not in watching.shown


def test_submit_of_a_folder_counts_on_a_terminal(
    up: Up, folder: Path, on_terminal: Callable[..., Terminal]
) -> None:
    submitting = on_terminal(up, "submit", "classify", "--image", str(folder), "--wait")

    assert submitting.end() == 0
    assert "3/3" in submitting.shown
    assert "red.png" in submitting.shown


def test_a_shell_completes_what_the_service_can_do(up: Up) -> None:
    command = str(Path(sys.executable).with_name("iconotext"))
    asked = {"_ICONOTEXT_COMPLETE": "complete_bash", "COMP_WORDS": "iconotext submit cap", "COMP_CWORD": "2"}
    # The service has half a second to answer, which a busy machine may not give it.
    eventually(lambda: piped(up, command, **asked).stdout.strip() == "caption", 60)
