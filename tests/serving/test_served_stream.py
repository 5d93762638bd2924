"""Tasks of a connection."""

from __future__ import annotations

import asyncio

from augmem.serving.served_stream import cancel


def test_a_task_that_ignores_the_first_cancellation_ends() -> None:
    """In Python 3.11, `asyncio.wait_for` ignores a cancellation if the awaited task has just finished."""

    async def wait_twice() -> None:
        delivered = asyncio.Event()
        asyncio.get_running_loop().call_soon(delivered.set)
        await asyncio.wait_for(delivered.wait(), 60)
        await asyncio.Event().wait()

    async def main() -> None:
        for delay in range(8):  # in rounds of the event loop; one of them is that of the result
            task = asyncio.create_task(wait_twice())
            for _ in range(delay):
                await asyncio.sleep(0)
            await cancel([task])
            assert task.cancelled()

    asyncio.run(asyncio.wait_for(main(), 30))
