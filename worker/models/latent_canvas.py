"""A picture in the making by latent diffusion: what one denoising step needs, and leaves behind."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from dataclasses import dataclass
from typing import Any

import torch

from worker.models.capabilities import Canvas


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentCanvas:
    """A `Canvas`. Latents are float32, of shape (1, channels, height / 8, width / 8), on the device."""

    shape: tuple[int, ...]
    #: Of the network; any two canvases of a size go together.
    dtype: str
    step: int
    steps: int
    latents: torch.Tensor
    #: What the latents are expected to become, where the scheduler tells; else the latents.
    expected: torch.Tensor
    #: Each (1, words, D): of the text and, with guidance, of no text.
    prompts: tuple[torch.Tensor, ...]
    #: On the CPU. Empty where the picture is to stay as it is: that takes one step, which does nothing.
    timesteps: torch.Tensor
    #: A scheduler of diffusers, which remembers the steps that it did; no other canvas has it.
    scheduler: Any
    #: All noise of this canvas is drawn from it, on the CPU.
    generator: torch.Generator

    @property
    def is_moving(self) -> bool:
        """Return whether the network is needed for the next step."""
        return self.step < len(self.timesteps)

    @property
    def is_done(self) -> bool:
        return self.step >= self.steps

    @property
    def time(self) -> torch.Tensor:
        """Return the timestep to come, of shape ()."""
        return self.timesteps[self.step]

    def network_input(self) -> torch.Tensor:
        """Return the latents, scaled as the network was trained to see them at this time."""
        scaled: torch.Tensor = self.scheduler.scale_model_input(self.latents, self.time)
        return scaled

    def stepped(self, noise: torch.Tensor) -> LatentCanvas:
        """Return the canvas one step further; uses this one up.

        Args:
            noise: what the network sees in the latents, like them.
        """
        step = self.scheduler.step
        draws = {"generator": self.generator} if "generator" in inspect.signature(step).parameters else {}
        done = step(noise, self.time, self.latents, **draws)
        expected = getattr(done, "pred_original_sample", None)
        return dataclasses.replace(
            self,
            step=self.step + 1,
            latents=done.prev_sample,
            expected=done.prev_sample if expected is None else expected,
        )

    def counted(self) -> LatentCanvas:
        """Return the canvas one step further, as it is."""
        return dataclasses.replace(self, step=self.step + 1)


def started(scheduler: Any, steps: int) -> Any:
    """Return a scheduler of its own for a canvas, like the given one, set to a number of steps."""
    own = copy.deepcopy(scheduler)
    # On the CPU: places and sigmas are looked up one by one, which would wait for a GPU each time.
    own.set_timesteps(steps, device="cpu")
    return own


def shortened(scheduler: Any, strength: float) -> torch.Tensor:
    """Return the last timesteps of a started scheduler, as large a share of them as a strength in [0, 1].

    As in SDEdit (Meng et al. 2022): the picture is noised only as far as the first of them.
    """
    steps = int(scheduler.num_inference_steps)
    first = (steps - min(int(steps * strength), steps)) * int(scheduler.order)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    timesteps: torch.Tensor = scheduler.timesteps[first:]
    return timesteps


def own(canvas: Canvas) -> LatentCanvas:
    """Return the canvas as what it is."""
    if not isinstance(canvas, LatentCanvas):
        raise TypeError(f"a {type(canvas).__name__} is no canvas of this model")
    return canvas
