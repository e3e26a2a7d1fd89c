"""Runs a client library by commands: adapter.py FILE reads lines of stdin, answers each with one line of stdout.

FILE defines take() -> handle, use(handle), give(handle) and leak(), or burst(count) and one() where the library
lends nothing; BOUND is its pool's default bound. Any of them may be a coroutine function.
"""
import asyncio
import inspect
import sys
import warnings

warnings.simplefilter("ignore")
space = {}
kept = []


async def call(name, *args):
    done = space[name](*args)
    return await done if inspect.isawaitable(done) else done


async def burst(count):
    if "burst" in space:
        return await call("burst", count)
    handles = [await call("take") for _ in range(count)]
    for handle in handles:
        await call("use", handle)
    for handle in handles:
        await call("give", handle)


async def one():
    if "one" in space:
        return await call("one")
    handle = await call("take")
    await call("use", handle)
    await call("give", handle)


async def main():
    loop = asyncio.get_running_loop()
    with open(sys.argv[1], encoding="utf-8") as file:
        exec(compile(file.read(), sys.argv[1], "exec"), space)
    if "start" in space:
        await call("start")
    while True:
        words = (await loop.run_in_executor(None, sys.stdin.readline)).split()
        if not words:
            return
        try:
            if words[0] == "burst":
                await burst(int(words[1]))
            elif words[0] == "one":
                await one()
            elif words[0] == "leak":
                kept.append(await call("leak"))
            told = str(space.get("BOUND")) if words[0] == "bound" else "ok"
        except Exception as why:
            # A caller forgets an error once it has been reported; so does this one.
            told = f"{type(why).__name__}: {str(why)[:90]}".replace("\n", " ")
        print(told, flush=True)


asyncio.run(main())
