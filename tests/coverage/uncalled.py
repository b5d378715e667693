"""Print the functions that were never called, from what ``llvm-cov export`` writes to stdin.

A generic function is compiled for each type that it is used with; it is printed if none of them
was called. Each line is a file, a line and how many lines the function has.
"""

import json
import os
import sys
from collections import defaultdict

calls: defaultdict[tuple[str, int, int], int] = defaultdict(int)
for function in json.load(sys.stdin)["data"][0]["functions"]:
    line, _, end, *_ = function["regions"][0]
    file = function["filenames"][0]
    if "/registry/" not in file and "/rustc/" not in file and "/library/" not in file:
        end = max(region[2] for region in function["regions"])
        calls[file, line, end] += function["count"]
for (file, line, end), count in sorted(calls.items()):
    if count == 0:
        print(f"{os.path.relpath(file)}:{line} ({end - line + 1} lines)")
