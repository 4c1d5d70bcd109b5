"""The process that is attacked: it tries what it is told by number, and answers with what failed and how large it is.

``python -m tests.attack.child MODULE MATERIAL SEED MEMORY_GB REPLIES``, where REPLIES is an open file descriptor.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any


def resident_bytes() -> int:
    """What of this process lies in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def attempt(attack: Any, module: str, seed: int, number: int) -> str | None:
    """What failed in a try; it depends on nothing but the module, the seed and the number."""
    try:
        failed: str | None = attack(random.Random(f"{seed} {module} {number}"))
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        line = " ".join("".join(traceback.format_exception_only(error)).split())
        return f"{line[:300]} at {Path(last.filename).name}:{last.lineno}"
    return failed


def main() -> None:
    module, material, seed, memory_gb, replies = sys.argv[1:]
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    attack = import_module(module).Attack(Path(material))
    limit = int(float(memory_gb) * 1e9)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with os.fdopen(int(replies), "w", buffering=1) as out:
        print(json.dumps({"rss": resident_bytes()}), file=out)
        for line in sys.stdin:
            failed = attempt(attack, module, int(seed), int(line))
            print(json.dumps({"number": int(line), "failed": failed, "rss": resident_bytes()}), file=out)


if __name__ == "__main__":
    main()
