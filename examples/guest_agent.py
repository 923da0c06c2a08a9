"""An agent as anybody writes one: it talks with a model behind an address, lets it answer once more, and prints what came of it.

It knows nothing of strop. `strop train --method examples/guests/methods.py:AGENT --task chain:steps=2` trains the model that it talks with
(docs/guests.md). With the `openai` package it asks through that, without it in plain HTTP.
"""

import json
import os
import sys
import urllib.request


def client():
    """Asks for the reply to a conversation."""
    try:
        from openai import OpenAI
    except ImportError:
        return plain
    there = OpenAI()  # OPENAI_BASE_URL and OPENAI_API_KEY say where, and who
    return lambda messages: there.chat.completions.create(model="actor", messages=messages).choices[0].message.content


def plain(messages):
    """The same without any package."""
    headers = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}", "Content-Type": "application/json"}
    body = json.dumps({"model": "actor", "messages": messages}).encode()
    request = urllib.request.Request(os.environ["OPENAI_BASE_URL"] + "/chat/completions", body, headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]


def main():
    task = json.loads(sys.stdin.readline())
    ask, question = client(), {"role": "user", "content": task["prompt"]}
    first = ask([question])
    again = ask([question, {"role": "assistant", "content": first}, question])
    print(json.dumps({"answer": again if "<answer>" in again else first}))


if __name__ == "__main__":
    main()
