"""Entry points of the queue: load by primary key, call the pipeline, nothing else."""

from __future__ import annotations

from applications.work import Cluster
from zerverless_site import pipeline


def run_builds() -> None:
    pipeline.run_builds()


def sweep() -> None:
    pipeline.sweep()


def heal() -> None:
    pipeline.heal()


def remove_orphans() -> None:
    pipeline.remove_orphans()


def clean_up() -> None:
    pipeline.clean_up()


def beat() -> None:
    Cluster.beat()
