"""browser: pages in a real Chromium, offline. What is seen is a text of what can be acted on, what is done is one grammar of actions.

    [1] button "ok"          >click 1   ->   done, and the page's own verdict
    [2] textbox "" = ""      >write 2 abc
    in "Enter Text Task"

A task brings its page: one of MiniWoB++, seeded by the task, an app of `worlds/screens.py`, or HTML of one's own that says with `done` and
`reward` how it stands. One Chromium serves all episodes of a process, each in a context of its own that keeps nothing. A clock that stands
still between actions, and no animation, let a page answer again what it answered.

Nothing outside is reached: every other address is refused, and said to be. Dialogs are dismissed, downloads refused, new windows closed,
and each is told. A page that crashes or hangs is made again; one that does so twice is our fault. Chromium's own sandbox holds its pages;
root has none, so a browser of root's is refused unless `open` is asked for by name (`--sandbox open`).
"""

from __future__ import annotations

import asyncio
import atexit
import json
import mimetypes
import os
import shutil
import threading
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast
from urllib.parse import unquote, urlsplit

from strop.records import Task
from strop.sandbox.rules import LEVELS, Level
from strop.seams.world import Broken, Called, Reply, Said, Seat, Tool
from strop.worlds.drawn import SIZE, page
from strop.worlds.elements import Element, Refused, Screen, actions, flat, meanings, numbered, tree
from strop.worlds.live import History, Live, Lost, looked
from strop.worlds.screens import App

T = TypeVar("T")
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
HOST = "http://page.invalid"
"""Where pages seem to stand. Nothing else answers."""
MOST = 400
"""Elements of a page that are read."""
MINIWOB, MINIWOB_AREA = (500, 320), (160, 210)
"""The window that those pages stand in, and what of it is theirs, in pixels."""
FLAGS = (
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--disable-gpu",
    "--force-color-profile=srgb",
    "--font-render-hinting=none",
    "--hide-scrollbars",
)
STILL = (
    "*,*::before,*::after{transition:none!important;animation:none!important;caret-color:transparent!important;"
    "scroll-behavior:auto!important}"
)


class Seen(NamedTuple):
    """A page as it stands: its screen, and of each numbered element where it is clicked."""

    screen: Screen
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Browser(Live):
    """Pages in a Chromium."""

    executable: str = ""
    """The program; the first of chromium, chromium-browser, google-chrome and chrome that is found."""
    weakest: Level = "locks"
    """The weakest walls that it may run behind; `open`: without its sandbox."""
    settles: float = 1.0
    """Seconds of the page's own clock that go by after an action."""
    deadline: float = 60.0
    """Seconds for one answer."""
    waiting: int = 16
    """Pages that wait at most."""

    def __post_init__(self) -> None:
        if self.weakest not in LEVELS:
            raise ValueError(f"Browser.weakest is one of {', '.join(LEVELS)}, got {self.weakest!r}")
        if not self.deadline > 0 or self.waiting < 1 or not 0 <= self.settles <= 60:
            raise ValueError(f"Browser(deadline={self.deadline}, waiting={self.waiting}, settles={self.settles}): above 0, 1 and 0 to 60")

    def within(self, weakest: Level) -> Browser:
        """The same, with other weakest walls."""
        return replace(self, weakest=weakest)

    def stands(self) -> dict[str, Any]:
        """What holds its pages on this machine: it is begun for it, and refused where that is weaker than what is asked for."""
        return {"level": "open" if self.weakest == "open" else "locks", "chromium": _chrome(self).version()}

    def tools(self, task: Task) -> tuple[Tool, ...]:
        return (*actions(task.needs.get("verbs", "")).values(),)

    def begin(self, task: Task, seat: Seat) -> Opened:
        return Opened(_chrome(self), task, self.settles)

    async def show(self, state: History) -> str:
        """What the page asks, or the task, and what is seen first."""
        text = await looked(self, state, Opened.look)
        return state.task.prompt if text is None else text  # whoever acts then is told why


# ------------------------------------------------------------------------------------------------ an episode


class Opened:
    """A page that was opened for a task."""

    def __init__(self, chrome: Chrome, task: Task, settles: float):
        self.chrome, self.task, self.settles = chrome, task, settles
        self.told, self.asks = list[str](), task.prompt
        self.words = meanings(task.needs.get("verbs", ""))
        self.over: asyncio.Future[str] = chrome.loop.create_future()
        """Why nothing more is to be had of it."""
        try:
            self._done(self._open())
        except BaseException:
            self.close()
            raise

    def look(self) -> str:
        """The first message: what is asked, and what is seen."""
        return self._done(self._look())

    def hear(self, said: Said) -> Reply:
        return self._done(self._hear(said))

    def picture(self) -> bytes:
        """What it looks like, a PNG."""
        clip = {"x": 0, "y": 0, "width": self.area[0], "height": self.area[1]}
        return self._done(self.page.screenshot(animations="disabled", caret="hide", clip=clip))

    def _done(self, work: Coroutine[Any, Any, T]) -> T:
        """What comes of it, unless it is over before."""

        async def guarded() -> T:
            task = asyncio.ensure_future(work)
            await asyncio.wait((task, self.over), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                task.cancel()
                raise Lost(self.over.result())
            return task.result()

        return self.chrome.run(guarded())

    def _ends(self, why: str) -> None:
        if not self.over.done():
            self.over.set_result(why)

    def close(self) -> None:
        with suppress(RuntimeError):  # the loop is gone
            self.chrome.loop.call_soon_threadsafe(self._ends, "it was closed")
        if (context := getattr(self, "context", None)) is not None:
            self.chrome.later(context.close())

    async def _open(self) -> None:
        needs = self.task.needs
        self.kind = "miniwob" if "miniwob" in needs else "app" if "app" in needs else "html"
        size = {"miniwob": MINIWOB, "app": SIZE}.get(self.kind, (800, 600))
        self.area = MINIWOB_AREA if self.kind == "miniwob" else size
        empty = await self.chrome.empty(size)
        self.context, self.page, self.cdp, empty.serve = empty.context, empty.page, empty.cdp, self._route
        if self.over.done():
            await self.context.close()
        self.page.on("crash", lambda _: self._ends("the page crashed"))
        self.page.on("close", lambda _: self._ends("the page is gone"))
        self.page.on("dialog", self._dialog)
        self.page.on("download", self._download)
        self.page.on("filechooser", lambda _: self.told.append("a choice of files was refused"))
        self.context.on("page", self._window)
        await self.page.goto(f"{HOST}/miniwob/{needs['miniwob']}.html" if self.kind == "miniwob" else f"{HOST}/")
        if self.kind == "miniwob":
            await self.page.evaluate(BEGUN, str(needs["seed"]))
            self.asks = flat(await self.page.evaluate("core.getUtterance()"), 2000)
        await self._settle()
        self.told.clear()
        self.chrome.restock(size)

    async def _settle(self) -> None:
        """The page's clock goes on. An app waits for nothing."""
        if self.kind != "app":
            await self.page.clock.run_for(int(self.settles * 1000))

    async def _route(self, route: Any) -> None:
        """Files of the page, and nothing else."""
        url = route.request.url
        if url.startswith(f"{HOST}/"):
            if (found := self._file(unquote(urlsplit(url).path))) is not None:
                body, kind = found
                await route.fulfill(body=body, content_type=kind)
                return
            await route.fulfill(status=404, body="")
            return
        self.told.append(f"another address was refused: {flat(url)}")
        with suppress(Exception):
            if route.request.is_navigation_request():
                await route.fulfill(status=204, body="")  # it stays where it is
            else:
                await route.abort("blockedbyclient")

    def _file(self, path: str) -> tuple[bytes, str] | None:
        needs = self.task.needs
        if self.kind != "miniwob":
            if path != "/":
                return None
            drawn = page(App.of(needs["app"]), {"top": 0, "focus": "", **needs["start"]}) if self.kind == "app" else str(needs["html"])
            return drawn.encode(errors="replace"), "text/html; charset=utf-8"
        root = miniwob_pages().parent
        file = (root / path.lstrip("/")).resolve()
        if not file.is_relative_to(root) or not file.is_file():
            return None
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        return file.read_bytes(), f"{kind}; charset=utf-8" if kind.startswith("text/") else kind

    async def _dialog(self, dialog: Any) -> None:
        self.told.append(f'a dialog was dismissed: "{flat(dialog.message)}"')
        with suppress(Exception):
            await dialog.dismiss()

    async def _download(self, download: Any) -> None:
        self.told.append("a download was refused")
        with suppress(Exception):
            await download.cancel()

    async def _window(self, other: Any) -> None:
        if other is not self.page:
            self.told.append("a new window was closed")
            with suppress(Exception):
                await other.close()

    async def _isolated(self, function: str, *arguments: Any) -> Any:
        """What a function of ours says that runs beside the page's own script: it shares the page's elements and nothing else."""
        frame = (await self.cdp.send("Page.getFrameTree"))["frameTree"]["frame"]["id"]
        there = await self.cdp.send("Page.createIsolatedWorld", {"frameId": frame, "worldName": "strop"})
        said = await self.cdp.send(
            "Runtime.callFunctionOn",
            {
                "functionDeclaration": function,
                "executionContextId": there["executionContextId"],
                "arguments": [{"value": one} for one in arguments],
                "returnByValue": True,
                "awaitPromise": True,
            },
        )
        if "exceptionDetails" in said:
            raise Lost(f"the page cannot be read: {flat(str(said['exceptionDetails'].get('text')))}")
        return said["result"].get("value")

    async def _seen(self) -> Seen:
        said = json.loads(await self._isolated(READ, MOST, *self.area))
        elements = tuple(Element(e["kind"], e["label"], e.get("value", ""), tuple(e.get("options", ()))) for e in said["elements"])
        points = tuple((e["x"], e["y"]) for e in said["elements"] if e["kind"] != "text")
        return Seen(Screen(elements, said["title"], said["focus"], said["above"], said["below"]), points)

    async def _look(self) -> str:
        return f"{self.asks}\n{await self._tree()}"

    async def _tree(self) -> str:
        needs = self.task.needs
        skin = App.of(needs["app"]).skin if self.kind == "app" else "web"
        return tree((await self._seen()).screen, skin, bool(needs.get("short")))

    async def _hear(self, said: Said) -> Reply:
        told, became, over = list[str](), list[Called](), False
        if not said.calls:
            told.append("no action")
        for call in said.calls:
            if isinstance(call, Broken):
                told.append(f"error: {call.why}")
                became.append(Called("", False, call.why))
                continue
            if (action := self.words[call.tool]) == "done":
                became.append(Called(call.tool, True))
                over = True
                break
            try:
                await self._act(action, call.arguments)
                became.append(Called(call.tool, True))
            except Refused as why:
                told.append(f"error: {why}")
                became.append(Called(call.tool, False, str(why)))
            if (await self._stands())[0]:
                over = True
                break
        _, reward = await self._stands()
        told += [*dict.fromkeys(self.told)][:8]
        self.told.clear()
        told += [] if over else [await self._tree()]
        right = float(reward > 0)
        return Reply("\n".join(told), done=over, calls=tuple(became), scores={"outcome": right * over, "lenient": right})

    async def _act(self, action: str, arguments: Mapping[str, Any]) -> None:
        seen = await self._seen()
        if action == "scroll":
            down = arguments["way"] == "down"
            if not (seen.screen.below if down else seen.screen.above):
                raise Refused(f"nothing {'below' if down else 'above'}")
            await self._isolated("function (way) { window.scrollBy(0, way * window.innerHeight) }", 1 if down else -1)
        else:
            number = int(arguments["number"])
            one = numbered(seen.screen.numbered, number, action)
            x, y = seen.points[number - 1]
            if action == "click" and one.kind != "menu":
                await self.page.mouse.click(x, y)
            elif action == "write":
                if not await self._isolated(FOCUSED, x, y, arguments["text"]):
                    await (self.page.keyboard.insert_text(arguments["text"]) if arguments["text"] else self.page.keyboard.press("Delete"))
            elif not await self._isolated(CHOSEN, x, y, arguments.get("option")):
                raise Refused(f"{number} has no option {arguments['option'][:20]}")
        await self._settle()

    async def _stands(self) -> tuple[bool, float]:
        """Whether the page says that it is over, and what it gives."""
        if self.kind == "app":
            now, goal = await self.page.evaluate("[now.at, now.values]"), self.task.needs["goal"]
            return False, float(now == [goal["at"], goal["values"]])
        says = "[WOB_DONE_GLOBAL, WOB_RAW_REWARD_GLOBAL]" if self.kind == "miniwob" else "[window.done === true, window.reward]"
        over, reward = json.loads(await self.page.evaluate(f"JSON.stringify({says})"))
        return bool(over), float(reward) if isinstance(reward, (int, float)) else 0.0


# ------------------------------------------------------------------------------------------------ a Chromium


class Chrome:
    """A Chromium and a thread that speaks to it, for all pages of a process. It ends when the process does, however that ends: its pipe
    closes."""

    def __init__(self, executable: str, sandboxed: bool):
        self.executable, self.sandboxed = executable, sandboxed
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.browser: Any = None
        self.driver: Any = None
        self.begun = 0
        """Browsers that were started."""
        self.starting: asyncio.Lock | None = None
        self.spare: asyncio.Future[Empty] | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What comes of it, in whichever thread it is asked for."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self.loop).result()
        except _errors() as error:
            raise Lost(flat(str(error), 200)) from error

    def later(self, work: Coroutine[Any, Any, Any]) -> None:
        """Without anybody who waits for it."""

        async def quietly() -> None:
            with suppress(Exception):
                await asyncio.wait_for(work, 10)

        if self.loop.is_running():
            asyncio.run_coroutine_threadsafe(quietly(), self.loop)
        else:
            work.close()

    async def there(self) -> Any:
        """The browser, begun where there is none."""
        self.starting = self.starting or asyncio.Lock()
        async with self.starting:
            if self.browser is not None and self.browser.is_connected():
                return self.browser
            from playwright.async_api import async_playwright

            self.driver = self.driver or await async_playwright().start()
            try:
                self.browser = await self.driver.chromium.launch(
                    executable_path=self.executable, chromium_sandbox=self.sandboxed, args=[*FLAGS], timeout=30_000
                )
            except _errors() as error:
                raise ValueError(f"{self.executable} does not start{' in its sandbox' * self.sandboxed}: {flat(str(error), 400)}") from None
            self.begun += 1
            return self.browser

    async def empty(self, size: tuple[int, int]) -> Empty:
        """A context of its own with one page, in which nothing happened yet. One waits always, since a page's process takes its time."""
        browser, spare = await self.there(), self.spare
        self.spare = None
        if spare is not None:
            with suppress(*_errors()):
                ready = await spare
                if ready.context.browser is browser:
                    if ready.page.viewport_size != (asked := {"width": size[0], "height": size[1]}):
                        await ready.page.set_viewport_size(asked)
                    return ready
        return await _prepared(browser, size)

    def restock(self, size: tuple[int, int]) -> None:
        """Another empty page, for the next one, which is mostly of one size with the last."""
        if self.spare is None and self.browser is not None:
            self.spare = asyncio.ensure_future(_prepared(self.browser, size))
            self.spare.add_done_callback(lambda done: done.cancelled() or done.exception())  # whoever takes it sees it

    def version(self) -> str:
        """Of the program."""

        async def asked() -> str:
            return str((await self.there()).version)

        return self.run(asked())

    def stop(self) -> None:
        """Ends it."""

        async def ended() -> None:
            with suppress(Exception):
                if self.browser is not None:
                    await self.browser.close()
            with suppress(Exception):
                if self.driver is not None:
                    await self.driver.stop()

        with suppress(Exception):
            asyncio.run_coroutine_threadsafe(ended(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)


class Empty:
    """A page of a context of its own, at the address of all pages, where nothing is served yet: what comes there needs no process more."""

    def __init__(self, context: Any):
        self.context, self.page, self.cdp = context, cast(Any, None), cast(Any, None)
        self.serve: Callable[[Any], Coroutine[Any, Any, None]] | None = None

    async def route(self, route: Any) -> None:
        await (route.fulfill(body="", content_type="text/html") if self.serve is None else self.serve(route))


async def _prepared(browser: Any, size: tuple[int, int]) -> Empty:
    context = await browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        accept_downloads=False,
        service_workers="block",
        locale="en-US",
        timezone_id="UTC",
        reduced_motion="reduce",
    )
    empty = Empty(context)
    await context.add_init_script(HOOKS)
    await context.route("**/*", empty.route)
    empty.page = await context.new_page()
    empty.cdp = await context.new_cdp_session(empty.page)
    await empty.page.clock.install(time=0)
    await empty.page.clock.pause_at(1)  # else it goes on by itself
    await empty.page.goto(f"{HOST}/")
    return empty


_CHROMES: dict[tuple[int, str, bool], Chrome] = {}


def _chrome(world: Browser) -> Chrome:
    """One of a process for the same program and walls."""
    if find_spec("playwright") is None:
        raise ModuleNotFoundError("pages in a browser need playwright: pip install 'strop[browser]'", name="playwright")
    program = world.executable or next(filter(None, map(shutil.which, NAMES)), "")
    if not program:
        raise ValueError(f"no browser is found ({', '.join(NAMES)}): install Debian's `chromium`, or name one, Browser(executable=…)")
    sandboxed = world.weakest != "open"
    if sandboxed and hasattr(os, "geteuid") and os.geteuid() == 0:
        raise ValueError(
            "a browser of root's has no sandbox, and its pages would run as root: use another user, or ask for it by name, --sandbox open"
        )
    key = os.getpid(), program, sandboxed
    if key not in _CHROMES:
        _CHROMES[key] = Chrome(program, sandboxed)
    return _CHROMES[key]


@atexit.register
def _stop() -> None:
    for (process, *_), chrome in _CHROMES.items():
        if process == os.getpid():
            chrome.stop()


@cache
def _errors() -> tuple[type[BaseException], ...]:
    from playwright.async_api import Error

    return (Error,)


@cache
def miniwob_pages() -> Path:
    """The folder of MiniWoB++'s pages. Only they are read: its Python is not imported."""
    spec = find_spec("miniwob")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("pages of MiniWoB++ need it: pip install 'strop[browser]'", name="miniwob")
    return Path(next(iter(spec.submodule_search_locations))).resolve() / "html" / "miniwob"


HOOKS = (
    """(() => {
  const still = new CSSStyleSheet()
  still.replaceSync('STILL')
  document.adoptedStyleSheets = [still]
  const before = EventTarget.prototype.addEventListener, felt = ['click', 'mousedown', 'pointerdown', 'mouseup', 'pointerup', 'touchstart']
  EventTarget.prototype.addEventListener = function (type, ...more) {
    if (felt.includes(type) && this instanceof Element) this.setAttribute('data-felt', '')
    return before.call(this, type, ...more)
  }
})()"""
).replace("STILL", STILL)
"""Nothing moves by itself, and what a page's own script listens on is marked."""

BEGUN = """seed => {
  core.EPISODE_MAX_TIME = 1e9
  Math.seedrandom(seed)
  core.startEpisodeReal()
}"""

READ = """function (most, width, height) {
  const found = []
  const SKIPPED = '#reward-display, #sync-task-cover, #click-canvas, #query, script, style, noscript, template, head'
  const SHAPES = ['circle', 'rect', 'polygon', 'ellipse', 'path', 'text', 'line']
  const plain = text => (text || '').replace(/\\s+/g, ' ').trim().slice(0, 400)
  const kind = el => {
    const tag = el.tagName.toLowerCase(), role = el.getAttribute('role'), type = (el.type || '').toLowerCase()
    if (tag === 'select') return 'menu'
    if (tag === 'textarea' || el.isContentEditable && !el.parentElement.isContentEditable) return 'field'
    if (tag === 'input') {
      if (type === 'hidden') return ''
      if (type === 'checkbox') return 'toggle'
      if (type === 'radio') return 'radio'
      return ['button', 'submit', 'reset', 'image', 'file'].includes(type) ? 'button' : 'field'
    }
    if (tag === 'button' || role === 'button') return 'button'
    if (role === 'checkbox' || role === 'switch') return 'toggle'
    if (['tab', 'menuitem', 'option', 'link', 'radio', 'slider'].includes(role)) return role
    if (tag === 'a') return 'link'
    if (SHAPES.includes(tag) && el.ownerSVGElement) return tag === 'text' ? 'letter' : tag
    if (el.hasAttribute('data-felt') || el.hasAttribute('onclick')) return 'item'
    const parent = el.parentElement
    return getComputedStyle(el).cursor === 'pointer' && parent && getComputedStyle(parent).cursor !== 'pointer' ? 'item' : ''
  }
  const name = (el, what) => {
    const said = el.getAttribute('aria-label') || (el.labels && el.labels.length ? el.labels[0].textContent : '')
    if (plain(said)) return plain(said)
    if (what === 'field' || what === 'menu' || what === 'toggle' || what === 'radio')
      return plain(el.placeholder || el.title || el.name || el.id)
    if (el.tagName === 'INPUT') return plain(el.value || el.alt || el.title)
    if (el.ownerSVGElement) {
      const style = getComputedStyle(el), seen = plain(el.textContent)
      return seen || plain(style.fill !== 'none' ? style.fill : style.stroke)
    }
    return plain(el.innerText) || plain(el.getAttribute('title') || el.getAttribute('alt') || el.id || el.className)
  }
  const value = (el, what) =>
    what === 'toggle' || what === 'radio' ? (el.checked || el.getAttribute('aria-checked') === 'true' ? '+' : '-')
    : what === 'menu' ? (el.selectedOptions[0] ? plain(el.selectedOptions[0].text) : '')
    : what === 'field' ? plain(el.value === undefined ? el.innerText : el.type === 'password' ? '*'.repeat(el.value.length) : el.value) : ''
  const within = rect => rect.width > 0 && rect.height > 0 && rect.right > 0 && rect.bottom > 0 && rect.left < width && rect.top < height
  const shown = el => { const style = getComputedStyle(el); return style.visibility === 'visible' && +style.opacity > 0 }
  const point = el => {
    for (const rect of el.getClientRects()) {
      if (!within(rect)) continue
      const x = (Math.max(rect.left, 0) + Math.min(rect.right, width)) / 2, y = (Math.max(rect.top, 0) + Math.min(rect.bottom, height)) / 2
      const top = document.elementFromPoint(x, y)
      if (top && (el.contains(top) || (el.labels && [...el.labels].some(one => one.contains(top))))) return [x, y]
    }
    return null
  }
  const visit = (node, inside, item) => {
    if (found.length >= most) return
    if (node.nodeType === Node.TEXT_NODE) {
      if (inside || !plain(node.data) || !shown(node.parentElement)) return
      const label = node.parentElement.closest('label')
      if (label && label.control && shown(label.control)) return
      const range = document.createRange()
      range.selectNodeContents(node)
      const words = plain(node.data)
      if ([...range.getClientRects()].some(within)) found.push({el: null, item, kind: 'text', label: words})
      return
    }
    if (node.nodeType !== Node.ELEMENT_NODE || node.matches(SKIPPED) || getComputedStyle(node).display === 'none') return
    const what = node === document.body ? '' : kind(node)
    let here = inside, around = item
    if (what && shown(node) && !(inside && what === 'item' && !node.hasAttribute('data-felt'))) {
      const at = point(node)
      if (at) {
        const options = what === 'menu' ? [...node.options].slice(0, 64).map(one => plain(one.text)) : []
        found.push({el: node, kind: what, label: name(node, what), value: value(node, what), options, x: at[0], y: at[1]})
        if (what === 'item') around = node
        else here = true
      }
    }
    if (what === 'menu') return
    for (const child of node.childNodes) visit(child, here, around)
  }
  visit(document.body, false, null)
  const large = el => { const rect = el.getBoundingClientRect(); return rect.width * rect.height > width * height / 2 }
  const holds = one => found.some(other => other !== one && other.el && one.el.contains(other.el))
  const around = one => holds(one) && (large(one.el) || !one.el.hasAttribute('data-felt'))
  const items = new Set(found.filter(one => one.kind === 'item' && !around(one)).map(one => one.el))
  const elements = found.filter(one => one.kind === 'item' ? items.has(one.el) : one.kind !== 'text' || !items.has(one.item))
  const active = document.activeElement, focused = active && active !== document.body ? kind(active) : ''
  const page = document.scrollingElement || document.documentElement
  return JSON.stringify({
    title: plain(document.title),
    focus: focused ? name(active, focused) : '',
    above: page.scrollTop > 1,
    below: page.scrollTop + innerHeight < page.scrollHeight - 1,
    elements: elements.map(({el, item, ...rest}) => rest),
  })
}"""
"""What is seen of a page, in the order of its elements: those that can be acted on and are not covered, and the texts between them."""

FOCUSED = """function (x, y, text) {
  let el = document.elementFromPoint(x, y)
  if (el && el.control) el = el.control
  el.focus()
  if (['date', 'time', 'color', 'range', 'month', 'week', 'datetime-local'].includes(el.type)) {
    el.value = text
    el.dispatchEvent(new Event('input', {bubbles: true}))
    el.dispatchEvent(new Event('change', {bubbles: true}))
    return true
  }
  if (el.select) el.select()
  else getSelection().selectAllChildren(el)
  return false
}"""

CHOSEN = """function (x, y, option) {
  let el = document.elementFromPoint(x, y)
  if (el && el.control) el = el.control
  if (option === undefined || option === null) { el.focus(); return true }
  const at = [...el.options].findIndex(one => one.text.replace(/\\s+/g, ' ').trim() === option)
  if (at < 0) return false
  el.focus()
  el.selectedIndex = at
  el.dispatchEvent(new Event('input', {bubbles: true}))
  el.dispatchEvent(new Event('change', {bubbles: true}))
  return true
}"""
