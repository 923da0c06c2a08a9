from strop.records import Task
from strop.tasks.path import Path

SQUARE = Task("a to c: ab cb ad cd", {"start": "a", "goal": "c", "roads": ["ab", "cb", "ad", "cd"]}, "path")


def test_every_simple_route_is_right_in_both_directions_of_a_road():
    for route in ("abc", "adc"):
        assert Path().grade(SQUARE, f"<answer>{route}</answer>")["outcome"] == 1.0


def test_a_broken_route_says_where():
    reasons = {route: Path().grade(SQUARE, f"<answer>{route}</answer>").reason for route in ("ac", "ab", "abadc", "a-b-c", "")}
    assert reasons == {
        "ac": "no road ac",
        "ab": "starts or ends in the wrong place",
        "abadc": "visits a place twice",
        "a-b-c": "not a route",
        "": "not a route",
    }


def test_lenient_reads_a_route_with_marks_between():
    for text in ("a-b-c", "I go a -> b -> c", "the route is abc"):
        assert Path().grade(SQUARE, text)["lenient"] == 1.0, text


def test_start_and_goal_are_never_neighbours():
    for index in range(100):
        needs = Path().task("train", 0, index).needs
        assert {needs["start"], needs["goal"]} not in [set(road) for road in needs["roads"]]
