"""What has to be computed: one stage of one build of a variant each, and the key under which its result is kept."""

import importlib
import time
from dataclasses import dataclass, field
from pathlib import Path

from bnforge.config import Config
from bnforge.engine_config import EngineConfig
from bnforge.tools import MissingTool

from .sources import digest, source_digest
from .versions import versions_of

__all__ = ["Stage", "Task", "outcome"]

_GENERATOR = "bnforge.emit"


@dataclass(frozen=True)
class Stage:
    """One kind of measurement.

    Parameters
    ----------
    name : str
        Of the module in :mod:`.stages`, whose ``run(config, **options)`` returns plain data.
    text : str
        What it measures.
    tools : tuple of str
        Whose versions matter, as :func:`.versions_of` names them.
    design : str or None
        The design whose text matters: "core", "engine"; None where only the configuration does.
    seconds : float
        About how long one takes: the longest are started first.
    """

    name: str
    text: str
    tools: tuple
    design: str | None
    seconds: float

    @property
    def module(self):
        return f"{__package__}.stages.{self.name}"


@dataclass(frozen=True)
class Task:
    """A stage of one build.

    Parameters
    ----------
    variant : str
    stage : Stage
    config : Config
    options : dict
        Plain data for ``run``; a path in it counts with its contents.
    """

    variant: str
    stage: Stage
    config: Config
    options: dict = field(default_factory=dict)

    @property
    def name(self):
        """Variant, stage and lanes: what the task is called in reports."""
        return f"{self.variant} {self.stage.name} {self.config.lanes}"

    def _design_key(self):
        return digest("design", self.stage.design, self.config.to_dict(), source_digest(_GENERATOR, circuits=True),
                      versions_of(("bnforge", "amaranth", "pyosys")))

    def _design(self, cache, generate):
        """SHA-256 of the design's text; None where it is not known and not to be generated."""
        if self.stage.design is None:
            return ""
        known = cache.load(self._design_key())
        if known is None and generate:
            from bnforge.emit import rtlil_text
            config = EngineConfig(core=self.config) if self.stage.design == "engine" else self.config
            known = digest(rtlil_text(config))
            cache.store(self._design_key(), known)
        return known

    def key(self, cache, generate=True):
        """The key of the result; None where the text of the design is not known and not to be generated."""
        design = self._design(cache, generate)
        if design is None:
            return None
        options = {name: digest(value.read_bytes()) if isinstance(value, Path) else value
                   for name, value in self.options.items()}
        return digest(self.stage.name, self.config.to_dict(), options, design, source_digest(self.stage.module),
                      versions_of(("bnforge", "python", "numpy", *self.stage.tools)))

    def cached(self, cache):
        """The outcome that is kept, None without one."""
        key = self.key(cache, generate=False)
        return None if key is None else cache.load(key)

    def compute(self, cache):
        """The outcome, kept for the next time: ``result`` and ``seconds``."""
        key = self.key(cache)
        found = cache.load(key)
        if found is None:
            run, started = importlib.import_module(self.stage.module).run, time.perf_counter()
            result = run(self.config, **self.options)
            found = {"result": result, "seconds": round(time.perf_counter() - started, 1)}
            cache.store(key, found)
        return found


def outcome(task, cache):
    """What became of a task: ``result`` and ``seconds``, or ``missing`` with a tool to install, or ``failed``."""
    try:
        return task.compute(cache)
    except ImportError as error:
        if error.name is None or error.name.startswith("bnforge"):
            return {"failed": f"{type(error).__name__}: {error}"}
        return {"missing": f"needs the Python package {error.name}: pip install {error.name}"}
    except MissingTool as error:
        return {"missing": str(error)}
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"}
