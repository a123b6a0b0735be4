#!/usr/bin/env python
"""Django's command line for Zerverless."""

import os
import sys
from pathlib import Path

from django.core.management import execute_from_command_line

from zerverless_site import arguments, saved_settings

if __name__ == "__main__":
    arguments.check(sys.argv)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zerverless_site.settings")
    saved_settings.adopt(os.environ, Path(__file__).resolve().parent / "data", sys.argv)
    execute_from_command_line(sys.argv)
