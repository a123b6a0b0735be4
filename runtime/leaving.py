"""Instances that get no more requests, until their containers are gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from django.conf import settings

from runtime.errors import ContainerEngineError
from runtime.instance import Instance
from runtime.models import InstanceState

_AGAIN = 5.0  # seconds until what could not be stopped is tried again

log = logging.getLogger(__name__)


class Leaving:
    """Ends each instance it is given; `gone` is called when nothing is left of it."""

    def __init__(
        self,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        gone: Callable[[Instance], None],
    ) -> None:
        self.draining: set[Instance] = set()  # their last requests still run
        self.ending: set[Instance] = set()
        self._spawn = spawn
        self._gone = gone

    def add(self, instance: Instance, *, at_once: bool = False) -> None:
        """End it when its requests are through, after ZERVERLESS_DRAIN or at once."""
        instance.state = InstanceState.ENDING
        self.draining.add(instance)
        if at_once or not instance.in_flight:
            self.end(instance)
        else:
            loop = asyncio.get_running_loop()
            loop.call_later(settings.ZERVERLESS_DRAIN, self.end, instance)

    def released(self, instance: Instance) -> None:
        """One of its requests is through."""
        if not instance.in_flight:
            self.end(instance)

    def end(self, instance: Instance) -> None:
        """Stop it now, whatever still runs in it."""
        if instance in self.draining:
            self.draining.remove(instance)
            self.ending.add(instance)
            self._spawn(self._end(instance))

    async def _end(self, instance: Instance) -> None:
        instance.idle.close()
        while not await _stopped(instance):
            await asyncio.sleep(_AGAIN)
        self.ending.remove(instance)
        self._gone(instance)


async def _stopped(instance: Instance) -> bool:
    try:
        await instance.stop()
    except ContainerEngineError as error:
        log.warning("%s could not be stopped: %s", instance.name, error)
        return False
    except Exception:  # the instance's boundary: what is left of it is tried again
        log.exception("%s could not be stopped", instance.name)
        return False
    return True
