"""The registry from many threads and tasks at once."""

import asyncio
import concurrent.futures
import threading

import pytest
import toy

import hoam_plugin as hoam
from hoam_plugin import registry, simulators
from hoam_plugin.registry import entries

NAME = "two_stream"
N_THREADS = 16


@pytest.fixture(scope="module")
def models() -> list[hoam.Surrogate]:
    """As many surrogates of equal range as there are threads; nothing is stepped here."""
    model = toy.plasma_surrogate()
    return [model.with_options(dt=0.01 * (i + 1)) for i in range(N_THREADS)]


@pytest.mark.long
def test_every_thread_sees_its_own_selection(models: list[hoam.Surrogate]) -> None:
    barrier = threading.Barrier(N_THREADS)

    def work(own: hoam.Surrogate) -> bool:
        barrier.wait()
        for _ in range(5):
            hoam.register(NAME, own)
            with hoam.use_surrogate(NAME, own):
                if hoam.stepper(NAME) is not own or hoam.stepper(NAME, surrogate=True) not in models:
                    return False
                with hoam.use_surrogate(NAME, models[0]):
                    if hoam.stepper(NAME) is not models[0]:
                        return False
                if hoam.stepper(NAME) is not own:
                    return False
            if hoam.stepper(NAME) != simulators.two_stream():
                return False
        return True

    with concurrent.futures.ThreadPoolExecutor(N_THREADS) as pool:
        assert all(pool.map(work, models))
    # Nothing that was registered is lost.
    found = registry.surrogates(NAME)
    assert len(found) == 5 * N_THREADS
    assert all(sum(other is model for other in found) == 5 for model in models)


def test_registering_and_forgetting_while_others_look(models: list[hoam.Surrogate]) -> None:
    stop, errors = threading.Event(), []

    def look() -> None:
        while not stop.is_set():
            try:
                assert NAME in registry.names()
                assert all(listing.name for listing in entries._surrogate_listings("shared"))
            except Exception as error:
                errors.append(error)
                return

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for model in models * 20:
        hoam.register("shared", model)
        registry.unregister("shared")
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert "shared" not in registry.names()


@pytest.mark.long
def test_every_task_sees_its_own_selection(models: list[hoam.Surrogate]) -> None:
    for model in models:
        hoam.register(NAME, model)

    async def work(own: hoam.Surrogate) -> list[bool]:
        seen = []
        with hoam.use_surrogate(NAME, own):
            await asyncio.sleep(0)
            seen.append(hoam.stepper(NAME) is own)
            with hoam.use_surrogate(NAME, False):
                await asyncio.sleep(0)
                seen.append(hoam.stepper(NAME) == simulators.two_stream())
                with hoam.use_surrogate(NAME):
                    await asyncio.sleep(0)
                    seen.append(hoam.stepper(NAME) is models[-1])
            await asyncio.sleep(0)
            seen.append(hoam.stepper(NAME) is own)
            # A task that starts within the block begins with its selection.
            seen.append(await asyncio.create_task(child(own)))
        seen.append(hoam.stepper(NAME) == simulators.two_stream())
        return seen

    async def child(inherited: hoam.Surrogate) -> bool:
        return hoam.stepper(NAME) is inherited

    async def everything() -> list[list[bool]]:
        return await asyncio.gather(*map(work, models))

    assert all(all(seen) for seen in asyncio.run(everything()))
