# Copyright (c) 2026, the kvm.hotplug authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every adapter of the config port has to do, whatever holds the config state."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Set
from dataclasses import dataclass
from typing import Callable

import pytest

from ansible_collections.kvm.hotplug.plugins.module_utils.errors import HotplugError
from ansible_collections.kvm.hotplug.plugins.module_utils.model import Maximum
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.config import Config
from ansible_collections.kvm.hotplug.plugins.module_utils.ports.guest import Ports, ReadSource, Source

PATIENCE = 240.0

Work = Callable[[Config], Awaitable[None]]


@dataclass(frozen=True)
class Stored:
    """A config of vCPUs 0 and 1 of 8, and how others read and change it.

    ``read`` returns all that is stored, ``enabled`` the vCPUs enabled in that, ``enable`` enables one more.
    ``reader`` is the source that only observes. ``closed`` is awaited when the sources are no longer used.
    """

    source: Source
    reader: ReadSource
    read: Callable[[], str]
    enabled: Callable[[str], Set[int]]
    enable: Callable[[int], None]
    closed: Callable[[], Awaitable[None]] | None = None

    def now(self) -> Set[int]:
        """Return the vCPUs that others find enabled."""
        return self.enabled(self.read())

    def use(self, work: Work) -> None:
        """Open the config for ``work``."""

        async def all_of_it() -> None:
            try:
                ports = await self.source.open()
                try:
                    await work(_config_of(ports))
                finally:
                    await ports.close()
            finally:
                if self.closed is not None:
                    await self.closed()

        asyncio.run(asyncio.wait_for(all_of_it(), PATIENCE))


def _config_of(ports: Ports) -> Config:
    assert ports.config is not None
    return ports.config


class ConfigContract:
    """The contract as tests; a subclass has the fixture ``stored``."""

    def test_it_shows_what_is_there(self, stored: Stored) -> None:
        async def look(config: Config) -> None:
            view = await config.observe()
            assert view.state.enabled == stored.now() == {0, 1}
            assert view.max_vcpus == 8
            assert view.facts.state == "shutoff"
            assert view.source
            assert view.state.cannot_disable.keys() == {0}

        before = stored.read()
        stored.use(look)
        assert stored.read() == before

    def test_a_reader_returns_the_same(self, stored: Stored) -> None:
        async def look(config: Config) -> None:
            ports = await stored.reader.open()
            assert ports.config is not None
            seen, read = await config.observe(), await ports.config.observe()
            await ports.close()
            assert read._replace(boot_arguments=seen.boot_arguments) == seen
            assert read.boot_arguments(frozenset({0, 5})) == seen.boot_arguments(frozenset({0, 5}))

        before = stored.read()
        stored.use(look)
        assert stored.read() == before

    def test_it_knows_the_layout_of_the_next_boot(self, stored: Stored) -> None:
        async def look(config: Config) -> None:
            view = await config.observe()
            assert view.layout is not None
            assert view.layout.max_vcpus == 8
            assert view.layout_error is None

        stored.use(look)

    def test_it_knows_the_arguments_of_any_set_of_vcpus(self, stored: Stored) -> None:
        async def look(config: Config) -> None:
            arguments = " ".join((await config.observe()).boot_arguments(frozenset({0, 5})))
            assert "cpus=1,maxcpus=8" in arguments
            assert "id=vcpu5" in arguments

        stored.use(look)

    def test_it_is_written_once(self, stored: Stored) -> None:
        async def write(config: Config) -> None:
            await config.observe()
            written = await config.write(frozenset({0, 3, 5}))
            assert written.changed is True
            assert written.enabled == {0, 3, 5}
            assert written.failure is None
            view = await config.observe()
            assert view.state.enabled == stored.now() == {0, 3, 5}
            assert view.state.hotpluggable >= {1, 3, 5}
            before = stored.read()
            again = await config.write(frozenset({0, 3, 5}))
            assert again.changed is False
            assert again.enabled == {0, 3, 5}
            assert stored.read() == before

        stored.use(write)

    def test_what_stays_enabled_becomes_hotpluggable_once(self, stored: Stored) -> None:
        async def write(config: Config) -> None:
            was_hotpluggable = 1 in (await config.observe()).state.hotpluggable
            config.check(frozenset({0, 1}), hotpluggable=frozenset({1}))
            written = await config.write(frozenset({0, 1}), hotpluggable=frozenset({1}))
            assert written.changed is not was_hotpluggable
            assert written.enabled == stored.now() == {0, 1}
            assert 1 in written.hotpluggable
            view = await config.observe()
            assert view.state.enabled == {0, 1}
            assert 1 in view.state.hotpluggable
            before = stored.read()
            assert (await config.write(frozenset({0, 1}), hotpluggable=frozenset({1}))).changed is False
            assert stored.read() == before

        stored.use(write)

    def test_another_maximum_is_written_with_the_vcpus_and_once(self, stored: Stored) -> None:
        async def write(config: Config) -> None:
            await config.observe()
            assert (await config.resized(Maximum(12))).max_vcpus == 12
            config.check(frozenset({0, 10}), maximum=Maximum(12))
            written = await config.write(frozenset({0, 10}), maximum=Maximum(12))
            assert (written.changed, written.failure, written.max_vcpus) == (True, None, 12)
            assert written.enabled == stored.now() == {0, 10}
            view = await config.observe()
            assert (view.max_vcpus, view.state.enabled) == (12, {0, 10})
            assert view.layout is not None
            assert view.layout.max_vcpus == 12

        stored.use(write)

    def test_a_maximum_below_an_enabled_vcpu_is_not_written(self, stored: Stored) -> None:
        async def write(config: Config) -> None:
            await config.write(frozenset({0, 1, 2}))
            await config.observe()
            await config.resized(Maximum(4))
            stored.enable(6)
            with pytest.raises(HotplugError) as refused:
                await config.write(frozenset({0, 1, 2}), maximum=Maximum(4))
            assert refused.value.code == "count_unreachable"
            assert (await config.observe()).max_vcpus == 8

        stored.use(write)

    def test_it_keeps_what_others_changed_meanwhile(self, stored: Stored) -> None:
        async def write(config: Config) -> None:
            await config.write(frozenset({0, 1, 2}))
            assert (await config.observe()).state.enabled == {0, 1, 2}
            stored.enable(6)
            written = await config.write(frozenset({0, 1, 3}))
            assert written.enabled == stored.now() == {0, 1, 3, 6}

        stored.use(write)

    def test_what_could_not_boot_is_refused_and_not_written(self, stored: Stored) -> None:
        async def try_it(config: Config) -> None:
            await config.observe()
            with pytest.raises(HotplugError) as checked:
                config.check(frozenset({1, 2}))
            with pytest.raises(HotplugError) as written:
                await config.write(frozenset({1, 2}))
            assert checked.value.code == written.value.code == "config_invalid"

        before = stored.read()
        stored.use(try_it)
        assert stored.read() == before

    def test_what_can_boot_passes_the_check(self, stored: Stored) -> None:
        async def check(config: Config) -> None:
            await config.observe()
            config.check(frozenset({0, 2, 7}))

        before = stored.read()
        stored.use(check)
        assert stored.read() == before
