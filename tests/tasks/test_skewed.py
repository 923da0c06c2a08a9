from strop.tasks.skewed import Skewed


def test_the_prior_is_as_skewed_as_asked():
    for share in (0.5, 0.8):
        answers = [Skewed(share=share).task("train", 0, index).needs["answer"] for index in range(1000)]
        assert abs(answers.count("a") / 1000 - share) < 0.05


def test_the_answer_is_the_only_most_frequent_letter():
    for index in range(200):
        task = Skewed().task("test", 0, index)
        word = task.prompt.removeprefix("most: ")
        counts = sorted((word.count(letter), letter) for letter in "abcd")
        assert counts[-1][1] == task.needs["answer"]
        assert counts[-1][0] > counts[-2][0]
