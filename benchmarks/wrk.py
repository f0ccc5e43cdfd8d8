"""One run of `wrk`: a closed loop over a number of connections, one thread."""

import json
import subprocess
from pathlib import Path

SCRIPT = """
function init(args)
  local file = assert(io.open(args[1], "rb"))
  wrk.method, wrk.body = "POST", file:read("*a")
  file:close()
  for i = 2, #args do
    local name, value = args[i]:match("^([^:]+):%s*(.*)$")
    wrk.headers[name] = value
  end
end
function done(summary, latency)
  local e = summary.errors
  print(string.format('{"requests":%d,"us":%d,"errors":%d,"p50":%d,"p99":%d}',
    summary.requests, summary.duration,
    e.status + e.connect + e.read + e.write + e.timeout, latency:percentile(50), latency:percentile(99)))
end
"""


def post(url: str, body: Path, headers: list[str], *, connections: int, seconds: int) -> dict[str, float]:
    """Send the file's bytes over and over; answers requests, rate (1/s), p50 and p99 (s). Any error ends it all."""
    script = body.with_name("post.lua")
    script.write_text(SCRIPT)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "5s", "-s", str(script), url, "--"]
    ran = subprocess.run([*command, str(body), *headers], capture_output=True, text=True, check=True)
    found = json.loads(ran.stdout.strip().splitlines()[-1])
    if found["errors"]:
        raise SystemExit(f"{found['errors']} errors at {connections} connections of {url}")
    return {
        "requests": found["requests"],
        "rate": found["requests"] / found["us"] * 1e6,
        "p50": found["p50"] / 1e6,
        "p99": found["p99"] / 1e6,
    }
