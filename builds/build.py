"""Requests, runs and cancels builds: one image for one function at one revision."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import (
    Case,
    Count,
    F,
    Max,
    OuterRef,
    Q,
    Subquery,
    Value,
    When,
)
from django.utils import timezone

from applications.errors import (
    GitError,
    PlatformError,
    UserError,
    ZerverlessError,
)
from applications.models import Function, Revision, Sync
from applications.quantities import show_size
from applications.redact import redact
from applications.repository import Snapshot
from applications.spec import FunctionSpec, unused
from applications.work import GONE, MAX_ATTEMPTS, Lease, State, attempt
from builds import engine, images, interpreter, make, reuse
from builds.engine import BuiltImage, ImageInfo
from builds.errors import BuildCancelled, BuildError, InputMissing
from builds.lines import clean
from builds.log import Writer, writing
from builds.make import Watch
from builds.models import Build, BuildQuerySet

# What decides whether an image goes live: raises BuildError or BuildCancelled if not.
# It belongs to `runtime`, which is not known here: the pipeline passes it in.
Trial = Callable[[Build, Watch, Writer], None]
# Part of every key: raise it when the same inputs would make another image.
KEY_VERSION = 1
# Seconds before a build that failed by our fault is tried again, times its attempts.
RETRY_AFTER = 20


def key_of(snapshot: Snapshot, spec: FunctionSpec) -> str:
    """A digest of everything the image is made of: equal keys, equal images.

    Raises InputMissing where context or Dockerfile is not there, or is a link.
    """
    with _named("context"):
        context = snapshot.tree_id(spec.context)
    with _named("dockerfile"):
        dockerfile = snapshot.blob_id(spec.dockerfile)
    parts = {
        "version": KEY_VERSION,
        "context": context,
        "dockerfile": [spec.dockerfile, dockerfile],
        "ignore": _blob_or_none(snapshot, f"{spec.dockerfile}.dockerignore"),
        "target": spec.target,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@contextmanager
def _named(key: str) -> Iterator[None]:
    """Say which key of the manifest leads to what Git does not have."""
    try:
        yield
    except GitError as error:
        raise InputMissing(key, error.message) from error


def _blob_or_none(snapshot: Snapshot, path: str) -> str | None:
    try:
        return snapshot.blob_id(path)
    except GitError:
        return None


def request(
    function: Function, revision: Revision, sync: Sync, spec: FunctionSpec, key: str
) -> Build:
    """Ensure there is a build of the function for this sync; those of older ones end.

    An image made from the same inputs that is still there is reused: at once, or when
    its turn comes where it has to be tried before it goes live.
    """
    made: Build | None = function.builds.filter(sync=sync).first()
    if made is not None:
        return made
    wanted = Build(
        function=function,
        revision=revision,
        sync=sync,
        order=sync.pk,
        key=key,
        spec=spec.as_dict(),
    )
    found = reuse.find(wanted)
    if found and _is_tried(wanted, found.image):
        found = None
    if found:
        reuse.fill(wanted, found)
    try:
        with transaction.atomic():
            wanted.save()
            _supersede(wanted)
    except IntegrityError:
        return function.builds.get(sync=sync)
    # After the row is there: a tag nobody recorded would keep the image for ever.
    if found:
        with writing(wanted.pk) as log:
            if not reuse.tag(wanted, found, log):
                reuse.empty(wanted)
    return wanted


def refuse(
    function: Function, revision: Revision, sync: Sync, spec: FunctionSpec, why: str
) -> Build:
    """Ensure there is a failed build that says why none of this commit can begin."""
    now = timezone.now()
    with transaction.atomic():
        build, is_new = function.builds.get_or_create(
            sync=sync,
            defaults={
                "revision": revision,
                "order": sync.pk,
                "spec": spec.as_dict(),
                "state": State.FAILED,
                "started_at": now,
                "finished_at": now,
                "error_code": InputMissing.code,
                "error": why,
            },
        )
        _supersede(build)
    if is_new:
        with writing(build.pk) as log:
            log.add(why)
    return build


def _is_tried(build: Build, image: ImageInfo) -> bool:
    """Whether it must show that it works before it goes live: a server, checks, or
    what may turn out to be none (`_check_network`, `_check_command`)."""
    if images.port_of(build, image) is not None:
        return True
    is_interpreter = bool(interpreter.problem(images.command_of(image)))
    return is_interpreter or bool(build.spec.get("checks")) or _wants_out(build)


def _wants_out(build: Build) -> bool:
    return bool(build.spec.get("network") == "egress")


def _supersede(newer: Build) -> None:
    """End the builds of earlier commits: a fix does not wait for what it mends.

    Also one of the same inputs: it may hang in its trial, and what BuildKit has done
    for it is in its cache.
    """
    _stop(
        newer.function.builds.filter(order__lt=newer.order),
        error_code="build:superseded",
        error=f"A newer commit, {newer.revision.short_sha}, came first.",
    )


def await_end(build_pk: int, sync: Sync) -> None:
    """Make the end of a build that is on its way the end of this sync as well."""
    Build.objects.get(pk=build_pk).awaited_by.add(sync)


def cancel(build_pk: int, by: str) -> bool:
    """Cancel a queued build at once, ask a running one to stop; False if neither."""
    build = Build.objects.filter(pk=build_pk)
    words = {"error_code": BuildCancelled.code, "error": f"Cancelled by {by}."}
    return _stop(build, cancelled_by=by, **words) or build.active().exists()


def _stop(builds: BuildQuerySet, **why: str) -> bool:
    """End what waits and ask what runs to stop; whether there was any.

    The reason is written now: whoever ends a running one, even after its worker was
    killed, finds it. One statement, because meanwhile a row may be claimed or released.
    """
    now = timezone.now()
    waits = Q(state=State.QUEUED)
    stopped = builds.active().filter(cancel_requested_at__isnull=True)
    return bool(
        stopped.update(
            cancel_requested_at=now,
            state=Case(When(waits, then=Value(State.CANCELLED)), default=F("state")),
            finished_at=Case(When(waits, then=Value(now)), default=F("finished_at")),
            **why,
        )
    )


def run_next(trial: Trial | None = None) -> Build | None:
    """Run the oldest queued build to its end; None when no slot or none to claim."""
    claimed = _claim()
    return run(*claimed, trial) if claimed else None


def _claim() -> tuple[int, str] | None:
    for pk in _waiting():
        for slot in range(settings.ZERVERLESS_BUILD_CONCURRENCY):
            try:
                with transaction.atomic():
                    token = Build.objects.claim(pk, slot=slot)
            except IntegrityError:
                continue  # the slot is taken
            if token is None:
                break  # another worker claimed this build
            return pk, token
    return None


def _waiting() -> Iterator[int]:
    """Queued builds in the order of their turns: applications take turns.

    First those of applications with the fewest running, then of the one that has waited
    longest since its last build began, oldest first: one push of many functions does
    not hold up everybody else's. One that just failed by our fault waits a little.
    """
    now = timezone.now()
    ready = Q(attempt=0) | Q(started_at__isnull=True)
    for tries in range(1, MAX_ATTEMPTS):
        pause = timedelta(seconds=RETRY_AFTER * tries)
        ready |= Q(attempt=tries, started_at__lt=now - pause)
    queued = Build.objects.filter(ready, state=State.QUEUED).annotate(
        beside=_of_application(Count("pk", filter=Q(state=State.RUNNING))),
        last=_of_application(Max("started_at")),
    )
    turns = queued.order_by(
        "beside", F("last").asc(nulls_first=True), "queued_at", "pk"
    )
    yield from turns.values_list("pk", flat=True)


def _of_application(figure: Count | Max) -> Subquery:
    """A figure of all builds of a build's application."""
    application = OuterRef("function__application")
    builds = Build.objects.filter(function__application=application).order_by()
    return Subquery(
        builds.values("function__application").annotate(figure=figure).values("figure")
    )


def run(build_pk: int, token: str, trial: Trial | None = None) -> Build:
    """Do the work of a claimed build, to a final state or back into the line.

    A result is written only while the lease holds; a late one is discarded, image too.
    """
    rows = Build.objects.select_related("function", "revision__application")
    build: Build = rows.get(pk=build_pk)
    with (
        attempt(Build.objects.all(), build, token) as lease,
        writing(build.pk) as log,
        _explained(build, lease, log),
    ):
        watch = Watch(build.pk, lease, log)
        make.forget(build)
        image = reuse.take(build, log) or make.image(build, watch, log)
        _describe(build, image, log)
        if _is_tried(build, image):
            _try(build, image, trial, watch, log)
        _settle(build, lease, image)
    build.refresh_from_db()
    return build


def _describe(build: Build, image: BuiltImage, log: Writer) -> None:
    log.add("==> Image")
    log.add(f"{build.image_tag} ({show_size(image.size)}), {image.id}.")
    build.image_id = image.id
    build.port = images.port_of(build, image)
    ports = ", ".join(map(str, images.exposed_ports(image))) or "no port"
    what = f"a server on {build.port}" if build.port else "one container per request"
    log.add(f"It exposes {ports}: {what}.")
    for key in unused({**build.spec, "port": build.port}):
        log.add(f'Warning: "{key}" has no effect without a port.')


def _try(
    build: Build, image: BuiltImage, trial: Trial | None, watch: Watch, log: Writer
) -> None:
    """Let the trial decide; an image that does not pass it is not kept."""
    try:
        _check_network(build)
        _check_command(build, image)
        if trial:
            trial(build, watch, log)
    except ZerverlessError:
        engine.remove(build.image_tag, image.id)
        raise


def _check_command(build: Build, image: BuiltImage) -> None:
    """A server's body never comes to its standard input."""
    problem = "" if build.port else interpreter.problem(images.command_of(image))
    if problem:
        raise BuildError(problem, "build:image")


def _check_network(build: Build) -> None:
    """Without a port it would run without the network it was promised."""
    if _wants_out(build) and not build.port:
        raise BuildError(
            "network: egress is for servers, and this function is none, because its "
            "image does not expose exactly one port. Write port: with the port it "
            "listens on, or network: none.",
            "build:network",
        )


@contextmanager
def _explained(build: Build, lease: Lease, log: Writer) -> Iterator[None]:
    """Errors end up in the log too, and a cancelled build is not a failed one."""
    try:
        yield
    except BuildCancelled:
        log.add(_end_cancelled(build, lease))
    except BuildError as error:
        log.add(error.message)
        lease.finish(
            State.FAILED,
            image_tag="",
            error_code=error.code,
            error=_fit(error.message),
            failed_step=_fit(error.step)[:500],
        )
    except (UserError, PlatformError) as error:
        log.add(error.message)
        error.message = _fit(error.message)
        raise


def _end_cancelled(build: Build, lease: Lease) -> str:
    """End a build that was asked to stop, for the reason its row gives.

    The tag stays recorded: the daemon may have set it at the last moment, and cleanup
    has to find it.
    """
    words = Build.objects.values_list("error_code", "error").get(pk=build.pk)
    code, why = words[0] or BuildCancelled.code, words[1] or GONE
    if lease.finish(State.CANCELLED, error_code=code, error=why):
        return why
    return "Another worker has taken this build over."


def _fit(text: str) -> str:
    """A text that quotes a build, fit to be stored and shown."""
    return redact(clean(text))


def _settle(build: Build, lease: Lease, image: BuiltImage) -> None:
    """Record the image, unless the build is cancelled or another worker's by now."""
    kept = lease.finish(
        State.SUCCEEDED,
        image_id=image.id,
        image_size=image.size,
        port=build.port,
        error="",
        error_code="",
    )
    if not kept:
        engine.remove(build.image_tag, image.id)
        raise BuildCancelled("The build was cancelled.")
