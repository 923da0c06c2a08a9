"""An MCP server of fifteen lines, on the protocol's own SDK: it knows a card for every letter. strop starts it, one for each episode.

strop world play --mcp 'python examples/tools/cards.py'
"""

from mcp.server.mcpserver import MCPServer

CARDS = dict(zip("abcdefghijklmnopqrst", "kd7hq2mtl9gcri4o1f8n", strict=True))

server = MCPServer("cards")


@server.tool()
def get(key: str) -> str:
    """The card of a letter: what it leads to."""
    return key + CARDS[key]


if __name__ == "__main__":
    server.run()
