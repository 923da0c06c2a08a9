"""A step's record in which everything that others write tries to be markup."""

HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>&amp;"


def record(step):
    rollouts = [
        {"id": f"t#0/{i}", "stop": "finished", "keys": {}, "provenance": "", "text": f"{HOSTILE} {step}-{i}", "rows": rows(3 + i)}
        for i in range(2)
    ]
    task = {"prompt": f"1+1=? {HOSTILE}", "needs": {}, "source": "chain", "meta": {}, "id": "t"}
    scores = {"values": {}, "reasons": {"t#0/1": HOSTILE}, "incidents": [["t#0/1", "outcome", HOSTILE]]}
    return {
        "groups": [{"id": "t#0", "role": "solve", "task": task, "rollouts": rollouts}],
        "scores": scores,
        "rewards": {"t#0/0": 1.0, "t#0/1": 0.0},
        "fates": {"t#0/0": ["keep"], "t#0/1": ["keep"]},
        "step": step,
        "version": step,
        "state": {},
        "bill": {},
        "ledger": {"last": {}, "successes": {}, "trials": {}},
    }


def rows(length):
    return [
        {
            "segments": [{"kind": "prompt", "id": "0", "tokens": [1]}, {"kind": "action", "id": f"0.{length}", "tokens": [2] * length}],
            "trains": [f"0.{length}"],
        }
    ]
