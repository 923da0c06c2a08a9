"""Independent processes in one swarm over zenoh: what one shares the other trains on, and a liar changes nothing but its own book."""

import json
import sys
import time

import pytest

from strop.swarm.message import write
from strop.tasks import source

from . import play
from .liars import Teller, honest

pytest.importorskip("zenoh", reason="pip install 'strop[swarm]'")
pytest.importorskip("cryptography", reason="pip install 'strop[swarm]'")
from strop.swarm.exchange import Exchange
from strop.swarm.wires import MAGIC, Network, opened, peer_id, signed, signing_key


def wait_for(what, seconds=20.0):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, f"nothing came within {seconds:g} s"
        time.sleep(0.05)


def books_of(exchange):
    return exchange.tally()["peers"]


def test_a_swarm_hears_who_signed_and_names_what_nobody_did(tmp_path):
    (port,) = play.ports(1)
    address, tasks = f"tcp/127.0.0.1:{port}", source("chain")
    for name in "abc":
        (tmp_path / name).mkdir()
    with Network("t", tmp_path / "a", listen=[address]) as a, Network("t", tmp_path / "b", connect=[address]) as b:
        ears = Exchange("t", a)
        teller = Teller(b, tasks)
        wait_for(lambda: teller.say(write(honest(tasks, next(teller.fresh)))) or books_of(ears))
        assert set(books_of(ears)) == {b.id}
        with Network("other", tmp_path / "c", connect=[address]) as c:
            c._put = c._zenoh.declare_publisher(f"strop/swarm/t/{b.id}")  # in the wrong swarm, at another's place
            wait_for(lambda: c.send(b"0123456789abcdef{}") or ears.nobody["forged"])
        teller.forge()
        teller.tell("more than a message may hold")
        b._put.put(b"hello")
        wait_for(lambda: ears.nobody["oversized"] and ears.nobody["malformed"])
    assert set(books_of(ears)) == {b.id}, "nobody else was let in"
    assert b.id == peer_id(signing_key(tmp_path / "b").public_key().public_bytes_raw()), "a run that comes back is the same peer"
    assert (tmp_path / "b" / "swarm.key").stat().st_mode & 0o77 == 0


def test_a_swarm_takes_a_trainer_back_whose_clock_was_set_back(tmp_path, monkeypatch):
    before = Network("t", tmp_path).session
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert before < Network("t", tmp_path).session < Network("t", tmp_path).session


def test_a_message_of_one_swarm_is_none_of_another_and_a_changed_byte_is_seen(tmp_path):
    key = signing_key(tmp_path)
    public = key.public_key().public_bytes_raw()
    data = MAGIC + public + key.sign(signed("home", b"body")) + b"body"
    assert opened("home", data) == (peer_id(public), b"body")
    with pytest.raises(ValueError, match="forged"):
        opened("away", data)
    for at in range(len(MAGIC), len(data)):
        with pytest.raises(ValueError, match="forged"):
            opened("home", data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with pytest.raises(ValueError, match="malformed"):
        opened("home", b"strop/2\n" + data[8:])


@pytest.mark.slow  # several processes
def test_a_swarm_of_two_processes_and_a_liar_for_three_rounds(tmp_path):
    made = play.play(tmp_path, seed=0, rounds=3, trainers=2, deaths=0, liars=1, seconds=250)
    first, second = made["trainers"]
    (liar,) = made["liars"]
    for me, peer in ((first, second), (second, first)):
        book = me["swarm"]["peers"].get(peer["swarm"]["id"])
        if book is not None:  # one may be done before the other has begun
            assert play.accounted(book)
            assert book["rejected"] == book["again"] == {}
            assert book["numbers"] <= peer["swarm"]["published"]
    assert sum(t["foreign"] for t in made["trainers"]) > 0
    for trainer in made["trainers"]:
        assert trainer["steps"] == 3
        book = trainer["swarm"]["peers"].get(liar["id"])
        assert book is None or (play.accounted(book) and book["verified"] <= liar["told"].get("honest", 0))


def test_a_swarm_that_cannot_be_joined_says_what_to_do(tmp_path, capsys, monkeypatch):
    from strop.cli import main

    def refused(*flags):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as stopped:
            main(["train", "--steps", "1", "--eval-tasks", "0", *flags])
        assert stopped.value.code == 2
        return capsys.readouterr().err

    assert "--method swarm" in refused("--swarm", "home")
    assert "letters, digits" in refused("--method", "swarm", "--swarm", "a/b", "--out", "one")
    assert "Addresses look like tcp/" in refused("--method", "swarm", "--swarm", "home", "--listen", "nonsense", "--out", "two")
    monkeypatch.setitem(sys.modules, "zenoh", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'strop[swarm]'" in refused("--method", "swarm", "--swarm", "home", "--out", "three")


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_a_swarm_of_six_where_two_die_and_two_lie_learns_as_one_without_liars(tmp_path, measured):
    """Three seeds; every lie by its name, every honest group in exactly one place."""
    from strop.claims.statistics import interval

    plays = {kind: [] for kind in ("honest", "liars")}
    for seed in range(3):
        for kind in plays:
            made = play.play(tmp_path / f"{seed}-{kind}", seed, rounds=20, liars=2 if kind == "liars" else 0)
            made["held_out"] = [play.held_out(tmp_path / f"{seed}-{kind}" / f"trainer-{at}") for at in range(4)]
            plays[kind].append(made)
            check(made)
    measured(play.table(plays))
    low, high = interval(play.difference(plays))
    assert low <= 0 <= high


def check(made):
    liars = {liar["id"]: liar["told"] for liar in made["liars"]}
    ids = {t["swarm"]["id"]: t for t in made["trainers"]}
    assert all(trainer["steps"] == 20 for trainer in made["trainers"])
    assert sum(bool(trainer["deaths"]) for trainer in made["trainers"]) == 2
    names = {why: 0 for trainer in made["trainers"] for why in trainer["swarm"]["nobody"]}
    for trainer in made["trainers"]:
        for peer, book in trainer["swarm"]["peers"].items():
            assert play.accounted(book), (trainer["name"], peer, book)
            names |= {why: names.get(why, 0) + count for why, count in (book["rejected"] | book["again"]).items()}
            if peer in liars:
                passed = sum(book[place] for place in ("drawn", "flat", "expired", "waiting"))
                assert passed <= book["verified"] <= liars[peer]["honest"], "what passed are the honest groups among a liar's"
            else:
                assert not book["rejected"], (trainer["name"], book)
                assert book["numbers"] <= ids[peer]["swarm"]["published"]
        heard = sum(book["drawn"] for book in trainer["swarm"]["peers"].values())
        assert trainer["foreign"] == heard, "each foreign group that was trained stands in a peer's book"
    if liars:
        told = {why for said in liars.values() for why in said} - {"honest", "flood"} | {"flooding"}
        assert told <= set(names), f"rejected by no name: {told - set(names)}"
    for trainer in made["trainers"]:  # who never died and was done before another heard all its groups, to the last
        for other in made["trainers"]:
            if trainer is not other and not trainer["deaths"] and not other["deaths"] and other["ended"] > trainer["ended"] + 30:
                assert other["swarm"]["peers"][trainer["swarm"]["id"]]["numbers"] == trainer["swarm"]["published"]
    json.dumps(made)
