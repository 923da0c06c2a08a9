"""drawn: an app of screens as one HTML page that stands alone. It is the same app over again, in the page's own script: what it shows in a
browser must be what `worlds/screens.py` says that it shows.

A cell is a box of 100 by 40 pixels, and a skin a style. The page keeps its state in `now`, and scrolls as any page does.
"""

from __future__ import annotations

import json
from typing import Any

from strop.worlds.screens import COLUMNS, VIEW, App, State

CELL = (100, 40)
SIZE = (COLUMNS * CELL[0], VIEW * CELL[1])
"""Of the window, in pixels."""

STYLES = {
    "web": "body{background:#fff;color:#123}button{border:1px solid #47a;border-radius:4px;background:#def}",
    "desktop": "body{background:#c6c6c6;color:#000}button{border:2px outset #eee;background:#d4d0c8}input,select{border:2px inset #eee}",
    "phone": "body{background:#fafafa;color:#333}button{border:0;border-radius:14px;background:#62a;color:#fff}"
    "input[type=checkbox]{appearance:none;width:28px;height:16px;border-radius:8px;background:#bbb}"
    "input[type=checkbox]:checked{background:#62a}",
    "panel": "body{background:#111;color:#0f8}button{border:1px solid #0f8;background:#030;color:#0f8}"
    "input,select{background:#020;color:#0f8;border:1px solid #0f8}",
}

STYLE = """html{scrollbar-width:none}body{margin:0;position:relative;font:13px sans-serif}
.cell{position:absolute;width:%dpx;height:%dpx;display:flex;align-items:center;justify-content:center;gap:4px}
input:not([type=checkbox]){width:48px}button{min-width:44px;height:26px}"""

SCRIPT = """
const [, screens] = APP, now = NOW
function made(widget) {
  const [kind, label, row, column, leads, options] = widget, cell = document.createElement('div')
  cell.className = 'cell'
  cell.style.left = column * WIDTH + 'px'
  cell.style.top = row * HEIGHT + 'px'
  if (kind === 'button') {
    const button = cell.appendChild(document.createElement('button'))
    button.textContent = label
    button.addEventListener('click', () => open(leads))
    return cell
  }
  const name = cell.appendChild(document.createElement('label'))
  const held = cell.appendChild(document.createElement(kind === 'menu' ? 'select' : 'input'))
  name.textContent = label
  name.htmlFor = held.id = 'of-' + label
  if (kind === 'toggle') {
    held.type = 'checkbox'
    held.checked = now.values[label] === '+'
    held.addEventListener('change', () => { now.values[label] = held.checked ? '+' : '-' })
    return cell
  }
  for (const letter of kind === 'menu' ? options : '') held.add(new Option(letter, letter))
  if (kind === 'field') held.autocomplete = 'off'
  held.value = now.values[label]
  held.addEventListener('input', () => { now.values[label] = held.value })
  return cell
}
function open(at) {
  if (document.activeElement) document.activeElement.blur()
  const [title, widgets] = screens[now.at = at]
  document.title = title
  document.body.replaceChildren(...widgets.map(made))
  document.body.style.height = HEIGHT * Math.max(VIEW, 1 + Math.max(...widgets.map(one => one[2]))) + 'px'
  window.scrollTo(0, 0)
}
open(now.at)
"""


def page(app: App, now: State) -> str:
    """The page of an app as it stands."""
    script = SCRIPT
    state: dict[str, Any] = {"at": now["at"], "values": now["values"]}
    for name, value in {"APP": app.plain(), "NOW": state, "WIDTH": CELL[0], "HEIGHT": CELL[1], "VIEW": VIEW}.items():
        script = script.replace(name, json.dumps(value).replace("<", "\\u003c"))
    return (
        f'<!doctype html><html><head><meta charset="utf-8"><style>{STYLE % CELL}\n{STYLES[app.skin]}</style></head>'
        f"<body><script>{script}</script></body></html>"
    )
