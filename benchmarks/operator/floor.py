"""The floor: a bare asyncio client that hears of FineTunes by a watch and applies what the operator would apply.

It decides nothing, keeps nothing and checks nothing: no operator in Python on this machine is faster. A process of its
own, in the operator's place: `python -m benchmarks.operator.floor --help`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from benchmarks.operator.api import Api, Object, collection
from benchmarks.operator.templates import MANAGER

WORKERS = 8
CONNECTIONS = 32


async def follow(api: Api, namespace: str, version: str, queue: asyncio.Queue[Object]) -> None:
    """Hand over every FineTune that comes."""
    async for event in api.watch(collection(namespace), version):
        if event["type"] == "ADDED":
            queue.put_nowait(event["object"]["metadata"])


async def work(api: Api, namespace: str, template: Object, queue: asyncio.Queue[Object]) -> None:
    """Make what each FineTune gets: its ConfigMap, its Job, its first status."""
    text = json.dumps(template)
    while True:
        meta = await queue.get()
        mine = json.loads(text.replace(template["name"], meta["name"]).replace(template["uid"], meta["uid"]))
        for plural in ("configmaps", "jobs"):
            child = mine["children"][plural]
            await api.apply(f"{collection(namespace, plural)}/{child['metadata']['name']}", child, MANAGER)
        await api.apply(f"{collection(namespace)}/{meta['name']}/status", mine["status"], MANAGER)


async def main(kubeconfig: Path, namespace: str, template: Object) -> None:
    """Work until killed; `ready` on standard output once it listens."""
    queue: asyncio.Queue[Object] = asyncio.Queue()
    async with Api(kubeconfig, connections=CONNECTIONS) as api, asyncio.TaskGroup() as group:
        version = await api.version(collection(namespace))
        group.create_task(follow(api, namespace, version, queue))
        for _ in range(WORKERS):
            group.create_task(work(api, namespace, template, queue))
        print("ready", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("kubeconfig", type=Path, help="the administrator's")
    parser.add_argument("namespace", help="whose FineTunes are answered")
    parser.add_argument("template", type=Path, help="JSON of benchmarks.operator.templates")
    given = parser.parse_args()
    sys.exit(asyncio.run(main(given.kubeconfig, given.namespace, json.loads(given.template.read_text()))))
