"""Say how much of gevent's types a type checker knows; fail below 99 percent, or for a core name.

`make lint` runs it. It is what ``pyright --verifytypes gevent`` finds, without what comes from
other packages. What is not known, or only inferred, is printed.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

#: The least part of the names of all modules whose types are known.
LEAST = 0.99
#: Modules of which nothing may be left to be inferred.
CORE = ("", "event", "greenlet", "hub", "lock", "local", "pool", "pywsgi", "queue", "server")
CORE += ("socket", "ssl", "subprocess", "threadpool", "timeout")


def report() -> dict:
    """Return what pyright reports about the package that this Python would import."""
    # Pyright asks the first Python of the path where packages are.
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    command = [sys.executable, "-m", "pyright", "--verifytypes", "gevent", "--ignoreexternal"]
    run = subprocess.run(
        [*command, "--outputjson"],
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": os.pathsep.join(folders)},
    )
    try:
        return json.loads(run.stdout)["typeCompleteness"]
    except (ValueError, KeyError):
        sys.exit(f"pyright failed: {run.stdout}{run.stderr}")


def is_core(name: str) -> bool:
    """Return true if a symbol is of one of the modules in `CORE`, and not of another one."""
    module = name.removeprefix("gevent").removeprefix(".").rpartition(".")[0]
    return module in CORE or module.rpartition(".")[0] in CORE[1:]


def main() -> None:
    """Print the completeness and what lacks; exit with 1 if that is too much."""
    found = report()
    counts = found["exportedSymbolCounts"]
    lacking = [
        symbol
        for symbol in found["symbols"]
        if symbol["isExported"] and (symbol["isTypeAmbiguous"] or not symbol["isTypeKnown"])
    ]
    for symbol in lacking:
        reasons = [each["message"] for each in symbol["diagnostics"] if each["severity"] == "error"]
        print(f"{symbol['name']}: {'; '.join(reasons) or 'depends on another one'}")
    score = counts["withKnownType"] / max(1, sum(counts.values()))
    print(f"types: {score:.1%} of {sum(counts.values())} names are known")
    core = [symbol["name"] for symbol in lacking if is_core(symbol["name"])]
    if core:
        sys.exit(f"core names without a known type: {', '.join(core)}")
    if score < LEAST:
        sys.exit(f"fewer than {LEAST:.0%}")


if __name__ == "__main__":
    main()
