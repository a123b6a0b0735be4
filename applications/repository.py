"""stub"""

from __future__ import annotations


def check_url(url: str) -> None:
    """stub"""
