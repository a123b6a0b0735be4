"""Asks registries, through the Docker daemon, what they give to whom."""

from __future__ import annotations

from docker.errors import APIError

from builds import failure, logins
from builds.client import Login
from builds.engine_client import api_client
from builds.errors import BuildEngineError

_SOMEBODY_WAITS = 10  # seconds, where a page does


def refusal(reference: str, login: Login | None) -> str:
    """Why an image's registry does not give it to this user; an empty string: it does.

    The daemon asks the registry now, whatever images it has itself. Raises
    BuildEngineError when the registry cannot be asked.
    """
    with api_client() as api:
        try:
            api.inspect_distribution(reference, _auth(login) if login else {})
        except APIError as error:
            said = logins.hide(str(error.explanation), [login] if login else [])
            if failure.is_refusal(said):
                return said
            raise BuildEngineError(
                f"The registry of {reference} cannot be asked: {said}", "build:registry"
            ) from None
    return ""


def login_problem(login: Login) -> str:
    """Why a registry does not take this login, as it says; an empty string: it does.

    Raises BuildEngineError when the registry cannot be asked.
    """
    with api_client(_SOMEBODY_WAITS) as api:
        try:
            server = logins.server(login.host)
            api.login(login.username, login.password, registry=server, reauth=True)
        except APIError as error:
            said = logins.hide(str(error.explanation), [login])
            if failure.is_refusal(said):
                return said
            raise BuildEngineError(
                f"The registry {login.host} cannot be asked: {said}", "build:registry"
            ) from None
    return ""


def _auth(login: Login) -> dict[str, str]:
    return {"username": login.username, "password": login.password}
