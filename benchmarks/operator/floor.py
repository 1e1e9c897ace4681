"""The floor: a bare asyncio client that hears of FineTunes and of pods and applies what the operator would apply.

It decides nothing, keeps nothing and checks nothing: what an operator does, it does beyond this. A process of its
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
LABELS = ("speechless.dev/name", "speechless.dev/uid")
"""On a pod: whose it is."""

Heard = tuple[str, str, bool]
"""A FineTune's name and uid, and whether its pod runs."""


async def created(api: Api, namespace: str, version: str, queue: asyncio.Queue[Heard]) -> None:
    """Hand over every FineTune that comes."""
    async for event in api.watch(collection(namespace), version):
        if event["type"] == "ADDED":
            meta = event["object"]["metadata"]
            queue.put_nowait((meta["name"], meta["uid"], False))


async def running(api: Api, namespace: str, version: str, queue: asyncio.Queue[Heard]) -> None:
    """Hand over every FineTune whose pod begins to run."""
    told = set()
    async for event in api.watch(collection(namespace, "pods"), version):
        pod = event["object"]
        if pod["status"].get("phase") == "Running":
            name, uid = (pod["metadata"]["labels"][label] for label in LABELS)
            if uid not in told:
                told.add(uid)
                queue.put_nowait((name, uid, True))


async def work(api: Api, namespace: str, template: Object, queue: asyncio.Queue[Heard]) -> None:
    """Make what each FineTune gets: its ConfigMap, its Job, its first status; and the next one when its pod runs."""
    text = json.dumps(template)
    while True:
        name, uid, runs = await queue.get()
        mine = json.loads(text.replace(template["name"], name).replace(template["uid"], uid))
        if not runs:
            for plural in ("configmaps", "jobs"):
                child = mine["children"][plural]
                await api.apply(
                    f"{collection(namespace, plural)}/{child['metadata']['name']}", child, MANAGER
                )
        status = mine["running" if runs else "status"]
        await api.apply(f"{collection(namespace)}/{name}/status", status, MANAGER)


async def main(kubeconfig: Path, namespace: str, template: Object) -> None:
    """Work until killed; `ready` on standard output once it listens."""
    queue: asyncio.Queue[Heard] = asyncio.Queue()
    async with Api(kubeconfig, connections=CONNECTIONS) as api, asyncio.TaskGroup() as group:
        for plural, follow in (("finetunes", created), ("pods", running)):
            version = await api.version(collection(namespace, plural))
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
