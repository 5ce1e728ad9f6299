"""Python's websockets against roost serve --echo: the URL is the only argument."""
import asyncio
import sys

import websockets


async def check(url):
    checks = 0
    # With and without an offer of permessage-deflate.
    for compression in (None, "deflate"):
        async with websockets.connect(url, compression=compression, max_size=None) as ws:
            for size in (0, 1, 125, 126, 65535, 65536):
                for message in ("x" * size, bytes(size)):
                    await ws.send(message)
                    assert await ws.recv() == message, f"{type(message)} of {size}"
                    checks += 1
            # An iterable is sent as fragments.
            await ws.send(["frag", "men", "ts ✓"])
            assert await ws.recv() == "fragments ✓"
            await asyncio.wait_for(await ws.ping(b"are you there?"), 60)
            checks += 2
        assert ws.close_code == 1000, ws.close_code

    async with websockets.connect(url, compression=None, max_size=None) as ws:
        await ws.send(bytes(65537))
        try:
            await ws.recv()
            raise AssertionError("a message over the limit was taken")
        except websockets.ConnectionClosed as closed:
            assert closed.rcvd is not None and closed.rcvd.code == 1009, closed

    # A hundred at once, and all of them leave at once.
    sockets = await asyncio.gather(*(websockets.connect(url) for _ in range(100)))
    await asyncio.gather(*(ws.send(str(i)) for i, ws in enumerate(sockets)))
    got = await asyncio.gather(*(ws.recv() for ws in sockets))
    assert got == [str(i) for i in range(100)], got
    await asyncio.gather(*(ws.close(1000, "bye") for ws in sockets))
    assert all(ws.close_code == 1000 for ws in sockets)
    print(f"ok {checks + 101}")


asyncio.run(asyncio.wait_for(check(sys.argv[1]), 100))
