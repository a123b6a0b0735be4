"""The container a function gets, as the engine is asked for it."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.sandbox import Limits, container_config, refusal


def config(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "user": "",
        "volumes": (),
        "labels": {},
        "reads_body": False,
        **changes,
    }
    return container_config("sha256:1", {"A": "b"}, Limits(1 << 28, 0.5), **values)


def test_every_flag_is_set_explicitly() -> None:
    """Threats 56 to 59."""
    host = config()["HostConfig"]
    assert host["NetworkMode"] == "none"
    assert host["Memory"] == host["MemorySwap"] == 256 << 20
    assert host["NanoCpus"] == 500_000_000
    assert host["PidsLimit"] == 64
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["ReadonlyRootfs"] is True
    assert host["Privileged"] is False
    assert host["IpcMode"] == "private"
    assert host["LogConfig"]["Type"] == "none"
    assert host["RestartPolicy"] == {"Name": "no"}
    assert "Binds" not in host
    assert "CapAdd" not in host


def test_what_an_image_could_bring_is_overridden() -> None:
    """Threat 47."""
    found = config(labels={"forged": ""})
    assert found["Healthcheck"] == {"Test": ["NONE"]}
    assert found["StopSignal"] == "SIGKILL"
    assert found["Labels"] == {"forged": ""}


@pytest.mark.parametrize("user", ["", "1000", "www-data", "0:0"])
def test_an_image_without_a_user_runs_as_nobody(user: str) -> None:
    assert config(user=user)["User"] == (user or "65534:65534")


@pytest.mark.parametrize(
    ("user", "owner"),
    [
        ("", ",uid=65534,gid=65534"),
        ("1000", ",uid=1000,gid=0"),
        ("7:8", ",uid=7,gid=8"),
        ("www-data", ""),
    ],
)
def test_declared_volumes_are_capped_memory_of_the_user(user: str, owner: str) -> None:
    """Threat 59."""
    tmpfs = config(user=user, volumes=("/data", "/tmp"))["HostConfig"]["Tmpfs"]
    flags = "rw,exec,nosuid,nodev,mode=1777"
    assert tmpfs == {
        "/data": f"{flags},size=8m,nr_inodes=512{owner}",
        "/tmp": f"{flags},size=32m,nr_inodes=2048{owner}",
    }


def test_a_volume_is_covered_where_it_will_be_and_not_where_it_is_written() -> None:
    """Threat 47: the engine compares clean paths, and made disks of the others."""
    odd = ("/v/../d0", "/odd/", "//two", "/a/./b")
    tmpfs = config(volumes=odd)["HostConfig"]["Tmpfs"]
    assert sorted(tmpfs) == ["/a/b", "/d0", "/odd", "/tmp", "/two"]


def test_only_a_body_opens_standard_input() -> None:
    assert config(reads_body=True)["StdinOnce"] is True
    assert config(reads_body=False)["OpenStdin"] is False


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ({"has_command": False}, "CMD"),
        ({"workdir": "/proc/self/fd/7"}, "WORKDIR"),
        ({"workdir": "//proc/../proc/self"}, "WORKDIR"),
        ({"volumes": ("/",)}, "VOLUME"),
        ({"volumes": ("/a/..",)}, "VOLUME"),
        ({"volumes": ("/proc/x",)}, "VOLUME"),
        ({"volumes": ("relative",)}, "VOLUME"),
        ({"volumes": tuple(f"/v{n}" for n in range(17))}, "17 volumes"),
        ({"volumes": ("/data",), "workdir": "/processes"}, ""),
        ({"volumes": ("/v/../d0", "/odd/", "/a", "/a/b", "/tmp", "/etc/app")}, ""),
    ],
)
def test_an_image_that_cannot_be_contained_is_refused(
    image: dict[str, Any], reason: str
) -> None:
    """Threat 47."""
    values = {"has_command": True, "workdir": "/app", "volumes": (), **image}
    found = refusal(**values)
    assert (reason in found) if reason else (found == "")
