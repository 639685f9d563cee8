"""Removes the data that the functions never read from a folder of botocore's.

    python3.13 prune_botocore.py <package>/botocore/data dynamodb.PutItem sns.Publish

The named operations stay, with the shapes that they refer to and the endpoints of their services.
The other descriptions are most of botocore's size, and a client reads many of them before its first
call.
"""

import gzip
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

type Json = dict[str, Any]


def main() -> None:
    """Prune the folder that the first argument names, for the operations that follow."""
    data, operations = Path(sys.argv[1]), sys.argv[2:]
    services = {operation.partition(".")[0] for operation in operations}
    for folder in data.iterdir():
        if folder.is_dir() and folder.name not in services:
            shutil.rmtree(folder)
    for path in data.glob("*/*/service-2.json.gz"):
        prefix = f"{path.parts[-3]}."
        model = json.loads(gzip.decompress(path.read_bytes()), object_hook=_undocumented)
        names = {name.removeprefix(prefix) for name in operations if name.startswith(prefix)}
        prune_model(model, names)
        path.write_bytes(gzip.compress(json.dumps(model).encode(), mtime=0))
    endpoints = json.loads((data / "endpoints.json").read_text("utf-8"))
    for partition in endpoints["partitions"]:
        partition["services"] = _only(partition["services"], services)
    (data / "endpoints.json").write_text(json.dumps(endpoints), "utf-8")


def prune_model(model: Json, operations: set[str]) -> None:
    """Leave *operations* in the service's *model*, and the shapes that they refer to."""
    model["operations"] = _only(model["operations"], operations)
    shapes: Json = {}
    found: list[Json] = [model["operations"]]
    while found:
        names = set(re.findall(r'"shape": "(\w+)"', json.dumps(found))) - shapes.keys()
        found = [model["shapes"][name] for name in names]
        shapes |= zip(names, found, strict=True)
    model["shapes"] = dict(sorted(shapes.items()))


def _only(members: Json, names: set[str]) -> Json:
    return {name: value for name, value in members.items() if name in names}


def _undocumented(members: Json) -> Json:
    """Return *members* without documentation. A member of that name may also be a shape."""
    if isinstance(members.get("documentation"), str):
        del members["documentation"]
    return members


if __name__ == "__main__":
    main()
