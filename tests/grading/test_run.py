"""The run: hidden inputs from the secret, a journal that survives anything, workers that may die, a cluster."""

import json
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from chainrule.checks import Exercise, Output, exercises
from chainrule.grading import run
from chainrule.grading.results import Graded
from chainrule.grading.run import Journal, Sheet, grade_class, grade_one, read_secret
from chainrule.grading.sandbox import Limits
from chainrule.grading.settings import Settings
from chainrule.grading.submission import Submission, find_submissions

from .course import CHAPTER, ENVIRONMENT, NAMES, graded, notebook, right, sheet


@pytest.fixture(scope="module", autouse=True)
def _tidy():
    """End the sandbox that tests keep warm in this process."""
    yield
    if (room := getattr(run._rooms, "room", None)) is not None:
        room.close()
        del run._rooms.room


def hand_in(folder, **contents):
    folder.mkdir(exist_ok=True)
    for name, cells in contents.items():
        (folder / f"{name}.ipynb").write_text(notebook(cells))
    return find_submissions(folder, folder)


# The secret


def test_the_secret_is_made_once_and_is_its_owners_alone(tmp_path):
    secret = read_secret(tmp_path)
    assert len(secret) == 32 and read_secret(tmp_path) == secret
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    (tmp_path / "secret").write_bytes(b"short")
    with pytest.raises(ValueError, match="expected 32 bytes"):
        read_secret(tmp_path)


def test_what_a_result_depends_on_is_in_the_fingerprint():
    first = sheet()
    assert first.fingerprint == sheet().fingerprint
    assert first.fingerprint != sheet(points={"entropy": 5.0}).fingerprint
    assert first.fingerprint != sheet(limits=Limits(seconds=5.0)).fingerprint
    assert first.fingerprint != Sheet(CHAPTER, Settings(), bytes(31) + b"1").fingerprint


# The journal


def one(student, digest="00", attempt=1, **fields):
    return Submission(student, f"{student}-{attempt}.ipynb", Path("x"), digest=digest, attempt=attempt, **fields)


def test_the_journal_keeps_a_result_once_and_finds_what_is_new_or_changed(tmp_path):
    journal, rules = Journal(tmp_path / "j.sqlite"), sheet()
    ada, ben = one("ada"), one("ben")
    assert journal.missing(rules, [ada, ben]) == [ada, ben]
    journal.keep(rules, ada, graded("ada"))
    journal.keep(rules, ada, graded("ada", {"entropy": 0.0}))  # a second grader's; the first one stays
    assert journal.missing(rules, [ada, ben]) == [ben]
    assert [found.score for found in journal.counted(rules, [ada, ben])] == [10.0]
    assert journal.missing(rules, [replace(ada, digest="01")]) == [replace(ada, digest="01")]
    assert journal.missing(sheet(points={"entropy": 9.0}), [ada]) == [ada]
    # Another one on the same file, as after a crash.
    assert Journal(tmp_path / "j.sqlite").missing(rules, [ada, ben]) == [ben]


def test_best_or_last_of_several_attempts(tmp_path):
    for attempts, score in (("best", 10.0), ("last", 9.0)):
        journal, rules = Journal(tmp_path / f"{attempts}.sqlite"), sheet(attempts=attempts)
        first, second = one("ada", "00", 1), one("ada", "01", 2)
        journal.keep(rules, first, graded("ada"))
        journal.keep(rules, second, graded("ada", {"entropy": 0.0}, attempt=2))
        assert [found.score for found in journal.counted(rules, [first, second])] == [score]


def test_text_that_is_no_valid_unicode_comes_back_as_it_was(tmp_path):
    journal, rules = Journal(tmp_path / "j.sqlite"), sheet()
    strange = graded("ada", printed="a\ud800b\x00c\x1b[31m", problems=("\udfff",))
    journal.keep(rules, one("ada"), strange)
    assert list(journal.counted(rules, [one("ada")])) == [strange]
    assert Graded.from_json(strange.to_json()) == strange


# The workers


def test_the_same_secret_gives_the_same_result_and_another_secret_other_inputs(tmp_path):
    wrong = right(entropy="def entropy(p):\n    print(p)\n    return p.sum() - 2")
    submission = hand_in(tmp_path / "in", ada=wrong)[0]
    data = submission.path.read_bytes()
    first, again = (grade_one(sheet(), submission, data) for _ in range(2))
    assert first == again
    other = grade_one(Sheet(CHAPTER, Settings(), bytes(31) + b"1"), submission, data)
    assert other.seed != first.seed and other.printed != first.printed
    assert sum(result.earned for result in other.exercises) == sum(result.earned for result in first.exercises) == 29


def test_a_worker_that_is_killed_costs_nothing(tmp_path):
    submissions = hand_in(tmp_path / "in", **{f"s{i}": right() for i in range(8)})
    journal, killed, reports = Journal(tmp_path / "j.sqlite"), [], []

    def report(submission, result, reason):
        reports.append((submission.student, result.score if result else reason))
        if len(killed) < 1:
            killed.append(multiprocessing.active_children()[0].pid)
            os.kill(killed[-1], signal.SIGKILL)

    assert grade_class(sheet(), submissions, journal, jobs=2, report=report) == 0
    assert len(killed) == 1
    assert sorted(reports) == [(f"s{i}", 32.0) for i in range(8)]
    assert not journal.missing(sheet(), submissions)


def test_a_file_that_has_gone_stops_nobody_else(tmp_path):
    submissions = hand_in(tmp_path / "in", ada=["x = 1"], ben=["y = 1"])
    submissions[0].path.unlink()
    journal, reports = Journal(tmp_path / "j.sqlite"), []
    assert grade_class(sheet(), submissions, journal, jobs=1, report=lambda *words: reports.append(words)) == 1
    assert [(words[0].student, words[2]) for words in reports if words[1] is None] == [
        ("ada", "its file can no longer be read: No such file or directory")
    ]
    assert journal.missing(sheet(), submissions) == submissions[:1]


def test_workers_end_with_their_grader(tmp_path):
    hand_in(tmp_path / "in", **{f"s{i}": ["import time; time.sleep(600)"] for i in range(3)})
    call = [sys.executable, "-m", "chainrule.grading.cli", "grade", tmp_path / "in", "--exercises", CHAPTER]
    process = subprocess.Popen(
        [*call, "--out", tmp_path / "out", "--jobs", "2"], env=ENVIRONMENT, stderr=subprocess.DEVNULL
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (
        below := [
            pid
            for child in children.read_text().split()
            for pid in Path(f"/proc/{child}/task/{child}/children").read_text().split()
        ]
    ):
        time.sleep(0.1)
    family = [*children.read_text().split(), *below]
    process.kill()  # only the grader, not its group
    process.wait()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and any(Path(f"/proc/{pid}").exists() for pid in family):
        time.sleep(0.1)
    assert not [pid for pid in family if Path(f"/proc/{pid}").exists()]


@pytest.mark.filterwarnings("ignore")  # dask's own, when a worker of its is killed
def test_a_cluster_grades_the_same_and_may_lose_a_worker(tmp_path):
    program = tmp_path / "cluster.py"
    program.write_text(
        "from distributed import LocalCluster\n"
        "if __name__ == '__main__':\n"
        "    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:\n"
        "        print(cluster.scheduler_address, *(w.process.pid for w in cluster.workers.values()), flush=True)\n"
        "        input()\n"
    )
    cluster = subprocess.Popen(
        [sys.executable, program],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        address, *workers = cluster.stdout.readline().split()
        wrong = right(entropy="def entropy(p): return -1.0")
        submissions = hand_in(tmp_path / "in", **{f"s{i:02}": wrong if i % 3 else right() for i in range(16)})
        journal, scores = Journal(tmp_path / "j.sqlite"), {}

        def report(submission, result, reason):
            scores[submission.student] = result.score if result else reason
            if len(scores) == 3:
                os.kill(int(workers[0]), signal.SIGKILL)

        assert grade_class(sheet(), submissions, journal, jobs=1, scheduler=address, report=report) == 0
        assert scores == {f"s{i:02}": 29.0 if i % 3 else 32.0 for i in range(16)}
        assert len(list(journal.counted(sheet(), submissions))) == 16
    finally:
        cluster.communicate("\n", timeout=60)


# Exercises that train a model


def blobs(seed):
    """Three clouds of points in the plane, for training and for testing."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    labels = torch.randint(0, 3, (260,), generator=generator)
    points = centres[labels] + torch.randn(260, 2, generator=generator)
    return (points[:200], labels[:200], points[200:]), labels[200:]


LABELS = {}


def draw(generator):
    inputs, labels = blobs(int(torch.randint(0, 2**31, (), generator=generator)))
    LABELS[inputs[2].sum().item()] = labels  # stay here, outside
    return inputs


def accept(inputs, predicted):
    labels = LABELS[inputs[2].sum().item()]
    accuracy = (predicted == labels).double().mean().item()
    return (
        None
        if accuracy >= 0.85
        else f"the classifier is right on {accuracy:.0%} of the points, and it should be on 85% or more"
    )


def nearest_centre(points, labels, questions):
    centres = torch.stack([points[labels == k].mean(0) for k in range(3)])
    return torch.cdist(questions, centres).argmin(1)


CLASSIFY = Exercise(
    name="classify",
    chapter="clouds",
    title="A classifier",
    points=4,
    page="clouds",
    start="a linear layer",
    reference=nearest_centre,
    output=Output("tensor", "the predicted labels"),
    public=(draw(torch.Generator().manual_seed(0)),),
    draw=draw,
    num_random=3,
    accept=accept,
)
TRAINED = """
import torch
def classify(points, labels, questions):
    layer = torch.nn.Linear(2, 3)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(layer(points), labels).backward()
        optimizer.step()
    return layer(questions).argmax(1)
"""
CHEATS = {
    "constant": "import torch\n"
    "def classify(points, labels, questions): return torch.zeros(len(questions), dtype=torch.int64)",
    "training labels": "def classify(points, labels, questions): return labels[:len(questions)]",
    "wrong length": "def classify(points, labels, questions): return labels",
    "looking for the labels": """
import gc, sys, torch
def classify(points, labels, questions):
    for thing in gc.get_objects():
        if type(thing) is torch.Tensor and thing.shape == questions.shape[:1] and thing.dtype is torch.int64:
            return thing
    for module in list(sys.modules.values()):
        if "LABELS" in getattr(module, "__dict__", {}):
            return next(iter(module.LABELS.values()))
    return torch.zeros(len(questions))
""",
}


@pytest.fixture
def clouds():
    made = Sheet("clouds", Settings(), bytes(32))
    made.__dict__["exercises"] = (CLASSIFY,)  # in place of looking the chapter up
    return made


def test_a_trained_model_is_judged_on_its_predictions(clouds, tmp_path):
    submission = hand_in(tmp_path / "in", ada=[TRAINED])[0]
    result = grade_one(clouds, submission, submission.path.read_bytes())
    assert (result.score, result.exercises[0].right, result.exercises[0].cases) == (4.0, 4, 4), result


@pytest.mark.parametrize("name", CHEATS)
def test_a_model_that_has_learnt_nothing_earns_nothing(clouds, tmp_path, name):
    submission = hand_in(tmp_path / "in", ada=[CHEATS[name]])[0]
    result = grade_one(clouds, submission, submission.path.read_bytes())
    assert result.score == 0.0
    assert result.exercises[0].sentence


def test_all_the_chapters_exercises_are_on_the_sheet():
    assert [one.name for one in sheet().exercises] == NAMES == [one.name for one in exercises(CHAPTER)]
    assert sheet().points == [float(one.points) for one in exercises(CHAPTER)]
    assert sheet(points={"entropy": 7.0}).points[1] == 7.0
    assert json.loads(graded("ada").to_json())["student"] == "ada"
