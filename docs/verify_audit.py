#!/usr/bin/env python3
"""Verifies what `anomalyzer audit export` wrote: python3 verify_audit.py EXPORT.jsonl"""
import hashlib, json, sys

heads = {}
for number, line in enumerate(open(sys.argv[1], encoding="utf-8"), 1):
    event = json.loads(line)
    if event["chain"] not in heads and event["seq"] > 1:
        print(f"{event['chain']}: begins at event {event['seq']}: the events before it were removed, by the retention or by a person")
    seq, previous = heads.get(event["chain"], (event["seq"] - 1, event["prev_hash"] if event["seq"] > 1 else "00" * 32))
    data = bytes.fromhex(previous) + event["seq"].to_bytes(8, "big", signed=True) + event["at"].to_bytes(8, "big", signed=True)
    for text in (event["subject"], event["kind"], event["body"]):
        data += len(text.encode()).to_bytes(8, "big") + text.encode()
    digest = hashlib.sha256(data).hexdigest()
    if (event["seq"], event["prev_hash"], event["hash"]) != (seq + 1, previous, digest):
        sys.exit(f"line {number}: {event['chain']} event {event['seq']} ({event['subject']}) is not what was recorded")
    heads[event["chain"]] = (event["seq"], digest)
for chain, (seq, digest) in heads.items():
    print(f"{chain}: holds up to event {seq}, head {digest}")
