"""The whole flow, in the order it happens. Start reading here.

    git --> applications --> builds --> runtime --> HTTP

Each stage can be run again with the same result: it recomputes from what the tables
and the repository say, never from what a message said.
"""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.utils import timezone

from applications import connection, declare, observe, poll, repository
from applications.errors import ManifestError
from applications.manifest import Manifest
from applications.models import Application, Function, Revision, Sync
from applications.plan import Desired, Kind, plan
from applications.repository import Snapshot
from applications.spec import FunctionSpec
from applications.work import State, attempt
from builds import build as builds
from builds import images, logins
from builds.errors import InputMissing
from builds.models import Build
from runtime import cleanup, deploy, trial
from zerverless_site import queue


def poll_repository(application: Application) -> None:
    """One look at a repository, for every application that is due and uses it."""
    for changed in poll.look(application):
        request_sync(changed, Sync.Trigger.POLL)


def test_connection(pk: int) -> None:
    """Test what a form says; a new application that is good begins with its sync."""
    if (test := connection.run(pk)) and test.saved and not test.edited:
        request_sync(test.saved, Sync.Trigger.MANUAL, test.asked_by)


def request_sync(application: Application, trigger: Sync.Trigger, by: str = "") -> Sync:
    """Ensure a sync is queued; a second request before it starts joins the first."""
    with transaction.atomic():
        Application.objects.select_for_update().get(pk=application.pk)
        queued = application.syncs.filter(state=State.QUEUED)
        sync = queued.first() or Sync.objects.create(
            application=application, trigger=trigger, requested_by=by
        )
        queued.update(lease_until=None)  # no pause: somebody waits
    return sync


def reconcile(sync_pk: int) -> None:
    """Git says, we do: observe the commit, plan, request builds, retire the rest."""
    try:
        token = Sync.objects.claim(sync_pk)
    except IntegrityError:
        return  # another sync of the application runs; the sweep offers this one again
    if token is None:
        return
    sync = Sync.objects.select_related("application").get(pk=sync_pk)
    with (
        attempt(Sync.objects.all(), sync, token, sync.deadline) as lease,
        poll.counting(sync.application),
        repository.within(sync.time_left),
    ):
        revision, desired = _observe(sync)
        live = deploy.observe(sync.application)
        changes = plan(desired, live)
        by_path = {item.spec.path: item for item in desired}
        for change in changes:
            if change.kind is Kind.RETIRE:
                _retire(sync.application, change.path)
            elif change.kind is not Kind.KEEP:
                _request_build(sync, revision, by_path[change.path])
            elif (kept := live[change.path]) and kept.build:
                builds.await_end(kept.build, sync)
        poll.settled(sync.application, revision.sha)
        lease.finish(State.SUCCEEDED, plan=[change.as_dict() for change in changes])
    queue.hint()


def _observe(sync: Sync) -> tuple[Revision, list[Desired]]:
    application = sync.application
    url, branch = application.repo_url, application.branch
    sha, branches = observe.newest(url, branch)
    with poll.remembering(application, sha):
        path, namespace = application.manifest_path, application.namespace
        seen = observe.read(url, branch, sha, path, namespace, branches)
        revision = observe.record(application, seen)
        Sync.objects.filter(pk=sync.pk).update(revision=revision)
        if seen.manifest is None:
            raise ManifestError(seen.problems)
        with repository.open_snapshot(url, sha) as snapshot:
            said = seen.manifest
            return revision, [_desired(said, spec, snapshot) for spec in said.functions]


def _desired(manifest: Manifest, spec: FunctionSpec, snapshot: Snapshot) -> Desired:
    """What a function is to be made of; a problem of it stays its own."""
    try:
        return Desired(spec, builds.key_of(snapshot, spec))
    except InputMissing as error:
        problem = manifest.problem(spec, error.key, error.message)
        return Desired(spec, "", str(problem))


def _request_build(sync: Sync, revision: Revision, item: Desired) -> None:
    function = declare.function(sync.application, item.spec.path)
    if item.problem:
        builds.refuse(function, revision, sync, item.spec, item.problem)
        return
    build = builds.request(function, revision, sync, item.spec, item.key)
    if build.state == State.SUCCEEDED:
        deploy.activate(build)


def _retire(application: Application, path: str) -> None:
    function = Function.objects.declared().get(application=application, path=path)
    for build in function.builds.active():
        builds.cancel(build.pk, "no longer in the manifest")
    deploy.retire(function)


def run_builds() -> None:
    """Build and try the oldest in line and put a success live, then offer the next.

    One build a task: the queue kills a task that takes longer than one build may.
    """
    build = builds.run_next(trial.run)
    if build is None:
        return
    if build.state == State.SUCCEEDED:
        deploy.activate(build)
    queue.hint()


def remove_application(application: Application) -> None:
    """Take an application out of sight and off the air; cleanup frees its images."""
    Application.objects.filter(pk=application.pk).update(removed_at=timezone.now())
    for function in Function.objects.declared().filter(application=application):
        _retire(application, function.path)
    for sync in application.syncs.filter(state=State.QUEUED):
        Sync.objects.filter(pk=sync.pk, state=State.QUEUED).update(
            state=State.CANCELLED, finished_at=timezone.now()
        )


def sweep() -> None:
    """Ensure nothing a crash can orphan stays so: leases, hints, activations."""
    Sync.objects.reap()
    Build.objects.reap()
    connection.sweep()
    for build in Build.objects.awaiting_activation():
        deploy.activate(build)
    queue.hint()


def heal() -> None:
    """Ensure what is live can run: an image removed behind our back is built again.

    Images of earlier versions get tags that nobody can guess.
    """
    images.hide_tags()
    deploy.follow_tags()
    for deployment in deploy.without_image():
        request_sync(deployment.function.application, Sync.Trigger.REPAIR)


def remove_orphans() -> None:
    """Free what a killed gateway left running, and a killed worker lying about."""
    logins.sweep()
    cleanup.remove_orphans()


def clean_up() -> None:
    """Free what nothing needs any more: last in the file as it is last in life."""
    cleanup.sweep(cleanup.survey())
    queue.prune()
