"""Step by step: a picture is painted in as many turns of the device as it has steps."""

from __future__ import annotations

from worker.models.capabilities import Canvas, GenerationRequest, Generator, Pixels, StyleRequest, Stylizer
from worker.pipeline import Work

#: Previews of one painting: each costs a call on the device, and a picture small enough to store.
_PREVIEWS = 20
#: But nobody waits for the next one through more steps than these.
_LONGEST_PAUSE = 10
#: A painting of fewer steps is over before anyone looks.
_FEWEST_STEPS_TO_PREVIEW = 8


def begun_in_style(work: Work, request: StyleRequest) -> Canvas:
    """Return a canvas for a picture to be painted in a manner, no step done."""
    (canvas,) = work.map(Stylizer.begin, [request])
    return canvas


def begun_from_text(work: Work, request: GenerationRequest) -> Canvas:
    """Return a canvas for a picture to be made from a text, no step done."""
    (canvas,) = work.map(Generator.begin, [request])
    return canvas


def painted(work: Work, painter: type[Stylizer | Generator], canvas: Canvas) -> Pixels:
    """Return the finished picture, uint8 of shape `canvas.shape`.

    Each step is a request of its own: between two of them other jobs have the device, the canvases of several
    jobs share a batch, and a job that was stopped gives the device up.

    Args:
        painter: the capability that began the canvas.

    Raises:
        ModelFailed, JobStopped, JobTimeout, LeaseLost: as `Work.map`.
    """
    steps = canvas.steps
    while canvas.step < steps:
        (canvas,) = work.map(painter.advance, [canvas])
        preview = _rendered(work, painter, canvas) if _is_shown(canvas.step, steps) else None
        work.progress(canvas.step / steps, f"step {canvas.step} of {steps}", preview=preview)
    return _rendered(work, painter, canvas)


def _rendered(work: Work, painter: type[Stylizer | Generator], canvas: Canvas) -> Pixels:
    (pixels,) = work.map(painter.render, [canvas])
    return pixels


def _is_shown(step: int, steps: int) -> bool:
    """Return whether others are to see what this step leaves; the last one leaves the picture itself."""
    pause = min(max(1, round(steps / _PREVIEWS)), _LONGEST_PAUSE)
    return steps >= _FEWEST_STEPS_TO_PREVIEW and step < steps and step % pause == 0
