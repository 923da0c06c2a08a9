"""Programs that ask a desk, as somebody else would have written them: this file knows an address, a key, and nothing of strop.

python -I -S guests.py NAME
"""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request


def ask(*messages, **more):
    body = json.dumps({"model": "any", "messages": [*messages], **more}).encode()
    headers = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}", "Content-Type": "application/json"}
    request = urllib.request.Request(os.environ["OPENAI_BASE_URL"] + "/chat/completions", body, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["choices"][0]["message"]


def user(text):
    return {"role": "user", "content": text}


def nods(task, turns=3):
    """What a world says that answers the same to everything."""
    messages = [user(task["prompt"])]
    for turn in range(turns):
        messages.append(ask(*messages))
        if turn + 1 < turns:
            messages.append(user("go on"))
    return messages


def hands_in(task):
    nods(task, 1)
    return {"answer": "<answer>7</answer>"}


def grades(task):
    said = nods(task, 2)
    return {"scores": {"outcome": len(said[-1]["content"]) % 2, "words": float(len(said))}}


def summarises(task):
    """Begins anew after each reply, with what was said last."""
    said = ask(user(task["prompt"]))
    for _ in range(2):
        said = ask(user(f"{task['prompt']} So far: {said['content'][:20]}"))


def together(task):
    threads = [threading.Thread(target=ask, args=(user(f"{task['prompt']} {i}"),)) for i in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def without_end(task):
    ask(user(task["prompt"]))
    hides_for_ever(task)


def hides_for_ever(task):
    hides = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]
    subprocess.Popen(hides)
    subprocess.Popen(hides, start_new_session=True)
    time.sleep(600)


def leaves_a_child(task):
    ask(user(task["prompt"]))
    subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"], start_new_session=True)


def dies(task):
    ask(user(task["prompt"]))
    raise SystemExit("it fell over")


def asks_nothing(task):
    print("I know it already")


def lies(task):
    ask(user(task["prompt"]))
    return {"scores": {"outcome": float("inf")}}


def asks_too_much(task):
    messages = [user(task["prompt"])]
    while True:
        messages += [ask(*messages), user("go on")]


def wants_other(task):
    try:
        ask(user(task["prompt"]), temperature=0)
    except urllib.error.HTTPError as error:
        print(json.load(error)["error"]["message"], file=sys.stderr)
        raise SystemExit(3) from None


def stays():
    """Plays one rollout after the other; the third is never done, the fifth ends it."""
    for number, line in enumerate(sys.stdin, 1):
        task = json.loads(line)
        os.environ.update(OPENAI_BASE_URL=task["url"], OPENAI_API_KEY=task["key"])
        nods(task, 2)
        time.sleep(600 * (number == 3))
        if number == 5:
            raise SystemExit(4)
        print("chatter")
        print(json.dumps({"scores": {"outcome": 1.0, "pid": os.getpid()}}), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "stays":
        stays()
        raise SystemExit
    made = globals()[sys.argv[1]](json.loads(sys.stdin.readline()))
    print("chatter that is no answer")
    if isinstance(made, dict):
        print(json.dumps(made))
