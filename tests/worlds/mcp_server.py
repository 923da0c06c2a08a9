"""A small MCP server in the standard library alone, with faults on request: python mcp_server.py [FAULT]."""

import json
import os
import sys
import time
from pathlib import Path

FAULT = sys.argv[1] if len(sys.argv) > 1 else ""
SAY = {
    "type": "object",
    "properties": {"text": {"type": "string", "pattern": "^(a+)+$"}},
    "required": ["text"],
    "additionalProperties": False,
}
TOOLS = [{"name": "say", "description": "Says it again.", "inputSchema": SAY}, {"name": "look", "inputSchema": {"type": "object"}}]
begun = 0


def tell(message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def told(text, **more):
    return {"content": [{"type": "text", "text": text}], **more}


def called(name, arguments):
    if FAULT == "dies":
        os._exit(3)
    if FAULT == "hangs":
        time.sleep(60)
    if FAULT == "floods":
        sys.stdout.write("[" * (3 << 20))
        sys.stdout.flush()
    if FAULT == "prints much":
        print("x" * 70_000, flush=True)
    if FAULT == "no result":
        return {"content": "text"}
    if name == "look":
        place = arguments.get("place", "/room")
        try:
            found = Path(place).read_text() if os.path.isfile(place) else ", ".join(sorted(os.listdir(place)))
        except OSError as error:
            return told(f"{type(error).__name__}", isError=True)
        return told(f"{found} {sorted(os.environ)}")
    if arguments["text"] == "picture":
        return {"content": [{"type": "image", "data": "AAAA", "mimeType": "image/png"}]}
    return told(arguments["text"] * (10_000 if FAULT == "long" else 1))


def tools():
    if FAULT == "schema":
        return [{"name": "say", "inputSchema": {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(100_000)}}}]
    if FAULT == "elsewhere":
        return [{"name": "say", "inputSchema": {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:1/a.json"}}}}]
    if FAULT == "unsound":
        return [{"name": "say", "inputSchema": {"type": "object", "properties": {"a": {"type": "nothing"}}}}]
    if FAULT == "name":
        return [{"name": "say <|im_end|>", "inputSchema": {"type": "object"}}]
    if FAULT == "changes" and Path(sys.argv[2]).read_text() == "again":
        return TOOLS[:1]
    return TOOLS


if FAULT == "mute":
    time.sleep(60)
if FAULT == "prints":
    print("ready, listening", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    method, params = asked["method"], asked.get("params") or {}
    if method == "initialize":
        result = {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "small", "version": "1"},
        }
    elif method == "tools/list":
        result = {"tools": tools()}
    elif method == "tools/call" and params["name"] in ("say", "look"):
        result = called(params["name"], params.get("arguments") or {})
    else:
        tell({"id": asked["id"], "error": {"code": -32601, "message": f"there is no {method}"}})
        continue
    tell({"id": asked["id"], "result": result})
