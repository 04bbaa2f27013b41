"""Settings and the data folder: what is wrong is named with its remedy, and secrets are never quoted."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from parley.embedded import prepare_home
from parley.errors import SetupError
from parley.settings import MAX_SOCKET_PATH_BYTES, Settings


def settings(tmp_path: Path, **values: str) -> Settings:
    return Settings(_env_file=None, parley_home=tmp_path / "var", **values)  # type: ignore[call-arg, arg-type]


def test_a_full_disk_is_named_with_what_is_needed(tmp_path: Path) -> None:
    here = settings(tmp_path)

    with pytest.raises(SetupError, match=r"PARLEY_HOME=.*only \d+ MB are free.*Free some space"):
        prepare_home(here, min_free_bytes=10**18)


def test_a_runtime_folder_that_others_can_open_is_refused(tmp_path: Path) -> None:
    here = settings(tmp_path)
    here.runtime_dir.mkdir(mode=0o755)

    try:
        with pytest.raises(SetupError, match="private folder"):
            prepare_home(here)
    finally:
        here.runtime_dir.rmdir()


def test_the_sockets_path_is_short_however_deep_the_data_lies(tmp_path: Path) -> None:
    deep = settings(tmp_path / ("x" * 200))

    assert len(str(deep.embedded_socket)) <= MAX_SOCKET_PATH_BYTES


def test_two_data_folders_have_two_sockets(tmp_path: Path) -> None:
    assert settings(tmp_path / "a").embedded_socket != settings(tmp_path / "b").embedded_socket


def test_secrets_do_not_show(tmp_path: Path) -> None:
    here = settings(tmp_path, slack_bot_token="xoxb-s3cret", slack_app_token="xapp-s3cret", model_api_key="s3cret")

    assert "s3cret" not in repr(here)
    assert "s3cret" not in str(here.model_dump())


def test_several_model_hosts_are_a_list(tmp_path: Path) -> None:
    here = settings(tmp_path, model_url="http://a:8000, http://b:8000/v1")

    assert here.model_urls == ["http://a:8000", "http://b:8000/v1"]


def test_each_of_several_model_hosts_is_checked(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="http://"):
        settings(tmp_path, model_url="http://a:8000,b:8000")


@pytest.mark.parametrize(
    ("url", "asked", "shards"),
    [
        ("redis://a:1", None, 1),
        ("redis+sentinel://a:1/main", None, 1),
        ("redis+cluster://a:1", None, 16),
        ("rediss+cluster://a:1", None, 16),
        ("redis+cluster://a:1", "4", 4),
    ],
)
def test_a_cluster_has_more_shards(tmp_path: Path, url: str, asked: str | None, shards: int) -> None:
    here = settings(tmp_path, redis_url=url, **({"mailbox_shards": asked} if asked else {}))

    assert here.shards == shards


@pytest.mark.parametrize("spec", ["posted", "posted=die", "elsewhere=kill", "posted=kill:0", "posted=kill:x"])
def test_a_failpoint_that_means_nothing_is_refused(tmp_path: Path, spec: str) -> None:
    with pytest.raises(ValidationError, match="point=kill"):
        settings(tmp_path, parley_failpoint=spec)
