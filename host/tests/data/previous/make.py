#!/usr/bin/env python3
"""Makes the fixtures of this folder anew, with the program of a previous version.

    git worktree add ../previous COMMIT
    cd ../previous && cargo xtask plugins && cargo build -p anomalyzer && cd -
    python3 host/tests/data/previous/make.py ../previous

The fixtures of today are of commit ada0766. The script plays a short run of `serve` on a process
group: one decision of each kind, and an act of each kind by a person. Then it opens a copy of the
result with the same program, as `host/tests/it/previous.rs` does with the new one, and notes the
names of the metrics. Python 3.9, no packages.
"""

import argparse
import http.server
import json
import os
import pathlib
import random
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
# The plugins of the run. `alarm` is uploaded instead.
PLUGINS = ["zscore", "novelty", "scale-up", "restart-service", "rate-limit", "no-action"]
TARGET = {"kind": "Process", "name": "shop"}
# A custom section that says nothing: other bytes, the same plugin.
REMARK = bytes([0, 2, 1, ord("v")])


class Shop:
    """The metrics of an application whose traffic and latency are `factor` times the usual."""

    def __init__(self):
        self.factor = 1.0
        shop = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                value = lambda usual: usual * shop.factor * random.uniform(0.95, 1.05)
                body = (
                    "# TYPE shop_traffic gauge\n"
                    f"shop_traffic {value(40.0)}\n"
                    "# TYPE shop_latency gauge\n"
                    f"shop_latency {value(0.1)}\n"
                ).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Served:
    """A running `serve`."""

    processes = []

    def __init__(self, program, config, data, plugins, shop):
        port = free_port()
        text = config.read_text()
        for name, value in {
            "data_dir": data,
            "plugins": plugins,
            "api_port": port,
            "shop_port": shop.port,
            "group_port": free_port(),
        }.items():
            text = text.replace("{" + name + "}", str(value))
        file = data.parent.parent / "served.toml"
        file.write_text(text)
        self.url = f"http://127.0.0.1:{port}"
        command = [program, "serve", "--config", file]
        self.process = subprocess.Popen(command, env=environment(), stdout=sys.stderr)
        Served.processes.append(self.process)
        until("it serves", lambda: self.answers("/health"))

    def ask(self, method, path, body=None, kind="application/json"):
        if body is not None and kind == "application/json":
            body = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=body, method=method)
        if body is not None:
            request.add_header("Content-Type", kind)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{method} {path}: {error.code} {error.read().decode()}") from error
        return json.loads(text) if text.startswith(("{", "[")) else text

    def answers(self, path):
        if self.process.poll() is not None:
            raise SystemExit(f"serve ended with {self.process.returncode}")
        try:
            with urllib.request.urlopen(self.url + path, timeout=5):
                return True
        except OSError:
            return False

    def signals(self):
        signals = self.ask("GET", "/api/v1/signals")["signals"]
        return {signal["name"]: signal["detect"] for signal in signals if signal["detect"]}

    def decisions(self):
        return self.ask("GET", "/api/v1/decisions?limit=100")["decisions"]

    def decided(self, solution, *states):
        """The decision for a solution that is in one of the states."""

        def found():
            of = [one for one in self.decisions() if one["solution"] == solution]
            return next((one for one in of if one["state"] in states), None)

        return until(f"{solution} is {' or '.join(states)}", found)

    def act(self, action, parameters=None):
        asked = {"target": TARGET, "parameters": parameters or {}}
        return self.ask("POST", f"/action/{action}?wait=60s", asked)

    def open(self):
        incidents = self.ask("GET", "/api/v1/incidents")["incidents"]
        return [incident for incident in incidents if not incident["cleared_at"]]

    def calm(self):
        until("all incidents are over", lambda: not self.open())

    def watches(self, how):
        """Waits until something holds for what the detectors know of both signals."""

        def holds():
            signals = self.signals()
            return len(signals) == 2 and all(map(how, signals.values()))

        until("the detectors", holds)

    def stop(self):
        self.process.terminate()
        if code := self.process.wait(timeout=60):
            raise SystemExit(f"serve ended with {code}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=pathlib.Path, help="of the previous version")
    parser.add_argument("--target", type=pathlib.Path, help="its target folder")
    arguments = parser.parse_args()
    target = arguments.target or arguments.checkout / "target"
    program = (target / "debug/anomalyzer").resolve()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        plugins = folder / "plugins"
        plugins.mkdir()
        for name in PLUGINS:
            shutil.copy(target / f"plugins/{name}.wasm", plugins)
        alarm = (target / "plugins/alarm.wasm").read_bytes()
        made = folder / "made"
        made.mkdir()
        record(program, made / "data", plugins, alarm)
        store = f"--data-dir={made / 'data'}"
        (made / "export.jsonl").write_text(output(program, "audit", "export", store))
        listed = output(program, "decisions", "list", "--all", "--output=json", store)
        (made / "decisions.jsonl").write_text(listed)
        replays(program, made)
        copy = folder / "copy"
        shutil.copytree(made / "data", copy / "data")
        reopened(program, copy / "data", plugins, made)
        shutil.copy(arguments.checkout / "anomalyzer.example.toml", made)
        helps(program, made / "help")
        for path in made.iterdir():
            old = HERE / path.name
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
            shutil.move(path, old)


def record(program, data, plugins, alarm):
    """Plays the run."""
    data.mkdir()
    shop = Shop()
    served = Served(program, HERE / "config.toml", data, plugins, shop)

    say("a plugin is uploaded, granted and set to shadow; a detector gets another version")
    served.ask("POST", "/api/v1/plugins", alarm, "application/wasm")
    served.ask("PUT", "/api/v1/plugins/alarm/grants", {"grants": [{"operation": "notify"}]})
    served.ask("PUT", "/api/v1/plugins/alarm/mode", {"mode": "shadow"})
    other = (plugins / "zscore.wasm").read_bytes() + REMARK
    served.ask("POST", "/api/v1/plugins", other, "application/wasm")

    say("the detectors learn")
    served.watches(lambda detect: detect["samples"] >= 60 and not detect["learning"])

    say("a surge leads to a scale-up that helps")
    shop.factor = 6.0
    served.decided("scale_up", "verifying", "done")
    shop.factor = 1.0
    scaled = served.decided("scale_up", "done")
    assert scaled["verification"]["outcome"] == "improved", scaled["verification"]
    served.calm()

    say("a blip is over before it is confirmed")
    # Higher than the surge, which the detectors have seen since.
    shop.factor = 60.0
    until("it is found", served.open)
    shop.factor = 1.0
    served.decided("no_action", "done")
    served.calm()

    say("the kill switch denies a restart")
    served.ask("PUT", "/api/v1/kill-switch", {"why": "the network is being rebuilt"})
    denied = served.act("restart-service")
    assert (denied["state"], denied["guard"]["rule"]) == ("denied", "kill_switch"), denied
    served.ask("DELETE", "/api/v1/kill-switch")

    say("a rate limit is held, and approved at the command line")
    limit = {"target": TARGET, "parameters": {"requests_per_second": 30}}
    served.ask("POST", "/action/rate-limit", limit)
    held = served.decided("rate_limit", "held")
    answer = [f"--question={held['question']['id']}", "--reason=it is needed"]
    answer.append(f"--server={served.url}")
    output(program, "decisions", "approve", held["id"], *answer)
    served.decided("rate_limit", "done")

    say("the uploaded action is shadowed; a silence, and feedback on a finding")
    shadowed = served.act("alarm")
    assert shadowed["state"] == "shadowed", shadowed
    db = {"kind": "Process", "name": "db"}
    silence = {"targets": db, "for": "1h", "why": "the database moves"}
    silence = served.ask("POST", "/api/v1/silences", silence)
    served.ask("DELETE", f"/api/v1/silences/{silence['id']}")
    finding = scaled["findings"][0]
    finding = finding if isinstance(finding, str) else finding["id"]
    served.ask("POST", f"/api/v1/feedback/{finding}", {"useful": True, "why": "it was a surge"})

    served.calm()
    final = {"done", "denied", "shadowed"}
    over = lambda: all(one["state"] in final for one in served.decisions())
    until("all decisions are over", over)
    served.stop()
    for file in data.glob("*.sqlite"):
        connection = sqlite3.connect(file)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("VACUUM")
        connection.close()


def replays(program, made):
    """Notes what the previous version itself makes of each decision of the record."""
    store = f"--data-dir={made / 'data'}"
    say(output(program, "audit", "verify", store))
    with (made / "replays.jsonl").open("w") as file:
        for line in (made / "decisions.jsonl").read_text().splitlines():
            decision = json.loads(line)
            told = json.loads(output(program, "replay", decision["id"], "--output=json", store))
            steps = [[step["stage"], step["result"]] for step in told["steps"]]
            assert told["same"], told
            say(f"{decision['id']} {decision['solution']} {decision['state']}: {told['steps']}")
            file.write(json.dumps({"decision": decision["id"], "steps": steps}) + "\n")


def reopened(program, data, plugins, made):
    """Notes which metrics and plugins a server on the data shows, with the detectors restored."""
    served = Served(program, HERE / "config.toml", data, plugins, Shop())
    served.watches(lambda detect: detect["restored"] > 0 and detect["samples"] > 5)
    served.ask("GET", "/metrics")
    time.sleep(3)
    text = served.ask("GET", "/metrics")
    (made / "metrics.names").write_text("".join(f"{name}\n" for name in sorted(names(text))))
    shown = {name: served.ask("GET", f"/api/v1/plugins/{name}") for name in ("alarm", "zscore")}
    (made / "plugins.json").write_text(json.dumps(shown, indent=1) + "\n")
    served.stop()


def names(text):
    """Returns `name{label,label}` of each sample."""
    found = set()
    for line in text.splitlines():
        if match := re.match(r"(anomalyzer_\w+)(?:\{(.*)\})? ", line):
            labels = re.findall(r'(\w+)="(?:[^"\\]|\\.)*"', match[2] or "")
            found.add(match[1] + "{" + ",".join(sorted(labels)) + "}")
    return found


def helps(program, folder):
    """`--help` of every command, a file each: `decisions_list.txt`."""
    folder.mkdir()
    waiting = [[], ["compile-plugin"]]
    while waiting:
        command = waiting.pop()
        text = output(program, *command, "--help")
        # The default is the folder beside the program, if it has plugins.
        text = re.sub(r"\[default: \S*/plugins\]", "[default: target/plugins]", text)
        (folder / ("_".join(command or ["anomalyzer"]) + ".txt")).write_text(text)
        _, _, commands = text.partition("\nCommands:\n")
        for line in commands.split("\n\n")[0].splitlines():
            if (match := re.match(r"  ([a-z-]+)", line)) and match[1] != "help":
                waiting.append([*command, match[1]])


def output(program, *arguments):
    command = [str(program), *arguments]
    done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stdout}")
    return done.stdout


def environment():
    """Without the variables that count more than a configuration."""
    return {name: os.environ[name] for name in ("HOME", "PATH", "TMPDIR") if name in os.environ}


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def until(what, probe, seconds=180):
    deadline = time.monotonic() + seconds
    while not (found := probe()):
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {seconds} s: {what}")
        time.sleep(0.05)
    return found


def say(line):
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    finally:
        for process in Served.processes:
            process.kill()
