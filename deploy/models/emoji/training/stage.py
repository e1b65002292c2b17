"""The training loop that every stage shares."""

import copy
import signal
import time
from pathlib import Path

import torch
from tqdm import tqdm

WARM_UP_STEPS = 100


class Ema:
    """An exponential moving average of a module's parameters, slower as training goes on."""

    def __init__(self, module: torch.nn.Module, decay: float):
        self.decay, self.updates = decay, 0
        self.module = copy.deepcopy(module).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, module: torch.nn.Module):
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 10))
        torch._foreach_lerp_(list(self.module.parameters()),
                             [p.detach() for p in module.parameters()], 1 - decay)


class Stage:
    """Trains `module` for a given time: learning rate, EMA, progress bar, checkpoints.

    A stage that is interrupted (Ctrl-C and SIGTERM save first) goes on where it stopped. Time
    counts only while it trains, and the learning rate follows it, so that a stage ends on its own
    on a machine of any speed; given more minutes, a finished stage goes on.
    """

    def __init__(self, name: str, module: torch.nn.Module, optimizers: list[torch.optim.Optimizer],
                 run: Path, minutes: float, save_minutes: float = 3, decay_from: float = 0.6,
                 ema_decay: float = 0.999):
        self.module, self.ema = module, Ema(module, ema_decay)
        self.optimizers = optimizers
        self.peaks = [[group["lr"] for group in one.param_groups] for one in optimizers]
        self.path = run / f"{name}.pt"
        self.seconds, self.budget, self.step = 0.0, minutes * 60, 0
        self.decay_from, self.save_every = decay_from, save_minutes * 60
        self.stopping = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        if self.path.exists():
            state = torch.load(self.path, map_location="cpu")
            module.load_state_dict(state["module"])
            self.ema.module.load_state_dict(state["ema"])
            self.ema.updates, self.seconds = state["updates"], state["seconds"]
            self.step = state["step"]
            for one, saved in zip(optimizers, state["optimizers"]):
                one.load_state_dict(saved)

    def _stop(self, *_):
        self.stopping = True

    def save(self):
        state = dict(module=self.module.state_dict(), ema=self.ema.module.state_dict(),
                     updates=self.ema.updates, seconds=self.seconds, step=self.step,
                     optimizers=[one.state_dict() for one in self.optimizers])
        partial = self.path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.path)

    def _set_learning_rate(self):
        rate = min(1.0, (self.step + 1) / WARM_UP_STEPS)
        rate *= min(1.0, max(0.02, (1 - self.seconds / self.budget) / (1 - self.decay_from)))
        for one, peaks in zip(self.optimizers, self.peaks):
            for group, peak in zip(one.param_groups, peaks):
                group["lr"] = peak * rate

    def run(self, loss_of_step):
        """Calls `loss_of_step(step)`, which returns a scalar loss, until the time is used up."""
        bar = tqdm(total=round(self.budget), initial=round(self.seconds), unit="s", mininterval=10)
        average, saved_at = None, self.seconds
        while self.seconds < self.budget and not self.stopping:
            started = time.monotonic()
            self._set_learning_rate()
            torch.manual_seed(self.step)
            loss = loss_of_step(self.step)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
            for one in self.optimizers:
                one.step()
                one.zero_grad(set_to_none=True)
            self.ema.update(self.module)
            self.step += 1
            value = loss.item()
            average = value if average is None else 0.99 * average + 0.01 * value
            before, self.seconds = self.seconds, self.seconds + time.monotonic() - started
            bar.update(int(self.seconds) - int(before))
            bar.set_postfix(step=self.step, loss=f"{average:.4f}", refresh=False)
            if self.seconds - saved_at > self.save_every:
                self.save()
                saved_at = self.seconds
        bar.close()
        self.save()
        print(f"{self.path.stem}: {self.step} steps, {self.seconds / 60:.1f} minutes, "
              f"loss {average}", flush=True)


def ema_state(run: Path, name: str) -> dict:
    return torch.load(run / f"{name}.pt", map_location="cpu")["ema"]
