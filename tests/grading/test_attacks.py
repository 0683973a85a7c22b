"""Attacks on the grader, for real: each runs in the real sandbox, entered as root and as an ordinary user.

Every attack must have no effect outside, earn nothing, and leave the next submission of the same room with all its
points.

What these tests show is that the *walls* hold: files, network, other processes, other students, the machine, and the
marks, since what is right is decided outside from data. What they cannot show is that an answer was not taken from a
function that the sheet forbids. A blocked function is blocked inside the process that runs the student's code, and code
there can reach anything in its own memory: machine code of torch called through ctypes, a formula under another name, a
kernel of another device. Forbidden modules of the book and packages such as scipy are absent, which no code can undo.
If it matters, the judge's exercise can ask for what no library function gives, and a lecturer can read the few lines of
code.
"""
# ruff: noqa: E501  an attack is a program, and it reads best unbroken

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from textwrap import indent

import pytest

from chainrule.grading.inside import confine
from chainrule.grading.results import Graded
from chainrule.grading.sandbox import Limits, Outcome

from .conftest import ROOT, SMALL, Room, Sheet

LIBC = "import ctypes, os, platform\nlibc = ctypes.CDLL(None, use_errno=True)\n"


@pytest.fixture
def attack(room: Room, sheet: Sheet) -> Iterator[Callable[..., tuple[Outcome, tuple[str, ...]]]]:
    """Run hostile cells; afterwards, the next student must get every point."""

    def run(*cells: str, limits: Limits = SMALL, earned: float = 0.0, seconds: float = 3.0):
        outcome = room.run(list(cells), sheet.asked(seconds), limits=limits)
        results, problems = sheet.marks(outcome, limits)
        assert sum(one.earned for one in results) == earned, [(one.name, one.earned) for one in results]
        Graded(
            "s", "f", "d", "c", 0, results, problems, outcome.printed
        ).to_json().encode()  # every file can hold what is said
        return outcome, problems

    yield run
    next_one = room.run(sheet.solution, sheet.asked(10.0), limits=replace(SMALL, seconds=60))
    results, problems = sheet.marks(next_one)
    assert sum(one.earned for one in results) == sheet.maximum, problems


def attempts(*bodies: str) -> str:
    """Cells that try one thing after the other, and print REACHED for each that works."""
    cell = ""
    for number, body in enumerate(bodies):
        kept = f"print('REACHED', {number}, {body!r})"
        cell += f"try:\n{indent(body, '    ')}\n    {kept}\nexcept BaseException as error:\n    print('held', {number}, type(error).__name__, str(error)[:90])\n"
    return cell


def all_held(outcome: Outcome, count: int) -> None:
    assert "REACHED" not in outcome.printed, outcome.printed
    assert outcome.printed.count("held ") == count, (outcome.printed, outcome.messages)


def processes_with(word: str) -> list[int]:
    """Processes of this machine whose command line holds a word."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if word.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


# Ending, hanging, crashing.


def test_nothing_is_worth_nothing(attack):
    outcome, problems = attack("")
    assert outcome.stopped is None and not problems


@pytest.mark.parametrize(
    "ending",
    [
        "import os; os._exit(0)",
        "import os; os.abort()",
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV); import ctypes; ctypes.string_at(0)",
        "import ctypes; ctypes.memset(0, 1, 8)",
        "import sys; sys.setrecursionlimit(10**9)\nf = lambda: list(map(lambda _: f(), [0]))\nf()",
    ],
)
def test_ending_python_ends_only_that_submission(attack, ending):
    outcome, problems = attack(ending)
    assert outcome.stopped is None
    assert any("ended Python itself" in problem for problem in problems)


@pytest.mark.parametrize(
    "ending", ["import sys; sys.exit(0)", "raise KeyboardInterrupt", "raise SystemExit", "exit()", "1/0"]
)
def test_an_exit_is_a_failed_cell(attack, ending):
    _, problems = attack(ending)
    assert len(problems) == 1 and problems[0].startswith("Cell 1 failed: ")


def test_a_crash_in_one_exercise_leaves_the_others(attack, sheet):
    """os._exit in one function, a hang in another: these two earn nothing, all others everything."""
    lost = {"wasted_bits", "box_entropies"}
    left = sum(one.points for one in sheet.exercises if one.name not in lost)
    spoilt = "import os\ndef wasted_bits(message, q): os._exit(0)\ndef box_entropies():\n    while True: pass"
    outcome, _ = attack(*sheet.solution, spoilt, earned=left, seconds=1.0, limits=replace(SMALL, seconds=60))
    results, _ = sheet.marks(outcome)
    sentences = {one.name: one.sentence for one in results}
    assert "stopped after 1 second" in sentences["box_entropies"] and "no answer came" in sentences["wasted_bits"]


@pytest.mark.parametrize(
    "loop",
    [
        "while True: pass",
        "import time; time.sleep(1000)",
        "import signal, os\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass\nwhile True: pass",
        "import os\nos.close(3)\nwhile True: pass",
        "import re; re.match('(a+)+$', 'a' * 60 + 'b')",
    ],
)
def test_a_loop_is_stopped_with_a_sentence(attack, loop):
    before = time.monotonic()
    outcome, problems = attack(loop, limits=replace(SMALL, seconds=2))
    assert outcome.stopped == "time" and time.monotonic() - before < 20
    assert "The notebook was stopped: it ran longer than 2 seconds." in problems


# Forging results.

FORGERY = """
import json, os, struct
def send(message, raw=None):
    body = json.dumps(message).encode() if raw is None else raw
    os.write(3, struct.pack('>I', len(body)) + body)
NAMES = [{names}]
"""


def forgery(sheet: Sheet) -> str:
    return FORGERY.format(names=", ".join(repr(one.name) for one in sheet.exercises))


@pytest.mark.parametrize(
    "patch",
    [
        "import numpy; numpy.allclose = lambda *a, **k: True",
        "import torch; torch.allclose = torch.isclose = torch.equal = lambda *a, **k: torch.tensor(True)",
        'import json; json.dumps = lambda *a, **k: \'{"passed": true, "score": 100}\'',
        "import student; student.encode = lambda value: {'passed': True}",
        "import wire; wire.frame = lambda body: b''",
        "import student; student._say = lambda pipe, message: None",
        "import student; student._answer = lambda *a: None",
        "import sys; sys.modules['wire'] = sys.modules['student'] = None",
        "import builtins; builtins.isinstance = lambda *a: True; builtins.type = lambda *a: float",
        "import builtins; builtins.__import__ = None; builtins.exec = builtins.compile = None",
    ],
)
def test_patching_what_judges_elsewhere_earns_nothing(attack, patch):
    attack(patch, "class Right(float):\n    __eq__ = lambda *a: True\nentropy = wasted_bits = lambda *a: Right(0)")


def test_an_ast_transformer_finds_no_asserts(attack):
    attack(
        "import sys, ast\n"
        "class Strip(ast.NodeTransformer):\n    def visit_Assert(self, node): return ast.Pass()\n"
        "import types\ntry:\n    import IPython; IPython.get_ipython().ast_transformers.append(Strip())\nexcept Exception: pass"
    )


def test_forged_messages_earn_nothing(attack, sheet):
    """Names and cases that were not asked, indices that are none, values that are none, duplicates, an early end."""
    outcome, problems = attack(
        forgery(sheet) + "for name in NAMES + ['__all__', '', 'x' * 1000, None, 1, [1], {'a': 1}, '\\ud800']:\n"
        "    for case in [-1, 0, True, False, 10**40, 1.0, float('nan'), None, 'a', [0], 12, 2**63]:\n"
        "        send({'exercise': name, 'case': case, 'value': True})\n"
        "        send({'exercise': name, 'case': case, 'passed': True, 'points': 100, 'earned': 100})\n"
        "    for earned in (float('inf'), float('nan'), -1e308): send({'exercise': name, 'earned': earned, 'score': earned})\n"
        "send({'cell': -5, 'error': 'x'}); send({'cell': True, 'error': 'x'}); send({'cell': 10**50, 'error': 'x'})\n"
        "send({'score': 32, 'stopped': None, 'done': 'yes'})\n"
    )
    assert len(outcome.messages) > 100 and not problems


RAW = {
    "no JSON": "send(None, b'{')",
    "a list": "send(None, b'[]')",
    "a number": "send(None, b'1')",
    "NaN": 'send(None, b\'{"exercise": NaN, "case": NaN, "value": NaN}\')',
    "a huge whole number": "send(None, b'{\"exercise\": \"entropy\", \"case\": ' + b'9' * 4000 + b'}')",
    "a larger one": "send(None, b'{\"exercise\": \"entropy\", \"case\": ' + b'9' * 100000 + b'}')",
    "deep nesting": "send(None, b'[' * 500000)",
    "deep nesting inside": "send(None, b'{\"exercise\": \"entropy\", \"case\": 0, \"value\": ' + b'[' * 900 + b']' * 900 + b'}')",
    "a deep name": 'send(None, b\'{"exercise": "entropy", "case": 0, "value": {"other": \' + b\'[\' * 900 + b\']\' * 900 + b\'}}\')',
    "a deep dtype": 'send(None, b\'{"exercise": "entropy", "case": 0, "value": {"array": "", "shape": [], "container": "tensor", "dtype": \''
    " + b'[' * 900 + b']' * 900 + b'}}')",
    "no UTF-8": 'send(None, b\'{"exercise": "\\xff\\xfe"}\')',
    "half characters": "send({'exercise': 'entropy', 'case': 0, 'error': '\\ud800 \\x00 \\u202e \\x1b[2J'})",
    "a cell's half characters": "send({'cell': 1, 'error': '\\ud800 \\x00 \\u202e'})",
    "a frame cut short": "os.write(3, struct.pack('>I', 1000) + b'{}')",
    "a huge length": "os.write(3, b'\\xff\\xff\\xff\\xff')",
    "no length": "os.write(3, b'\\x00')",
    "empty frames": "os.write(3, b'\\x00' * 400)",
    "a giant string": "send({'exercise': 'entropy', 'case': 0, 'value': {'text': 'x' * 1500000}})",
    "a giant list": "send({'exercise': 'entropy', 'case': 0, 'value': {'list': [True] * 300000}})",
    "many small frames": "os.write(3, b'\\x00\\x00\\x00\\x02{}' * 10000); os.write(3, b'\\x00\\x00\\x00\\x02{}' * 300000)",
    "a false end": "send({'done': True}); os._exit(0)",
}


@pytest.mark.parametrize("raw", RAW.values(), ids=RAW)
def test_broken_frames_earn_nothing_and_stop_nothing(attack, sheet, raw):
    attack(forgery(sheet) + raw)


ARRAYS = {
    "negative shape": {"array": "", "dtype": "<f8", "shape": [-1], "container": "tensor"},
    "huge shape": {"array": "", "dtype": "<f8", "shape": [2**62, 2**62], "container": "tensor"},
    "empty and huge": {"array": "", "dtype": "<f8", "shape": [0, 10**30], "container": "tensor"},
    "shape of booleans": {"array": "AAAAAAAAAAA=", "dtype": "<f8", "shape": [True], "container": "tensor"},
    "many dimensions": {"array": "AAAAAAAAAAA=", "dtype": "<f8", "shape": [1] * 60, "container": "tensor"},
    "an object dtype": {"array": "AAAAAAAAAAA=", "dtype": "|O", "shape": [], "container": "tensor"},
    "a dtype that is code": {"array": "", "dtype": "i4,(1000000000)i8", "shape": [], "container": "tensor"},
    "a pickle": {"array": "gASVCQAAAAAAAACMBXBvc2l4lC4=", "dtype": "|V20", "shape": [1], "container": "array"},
    "too few bytes": {"array": "AAAA", "dtype": "<f8", "shape": [1], "container": "tensor"},
    "no base64": {"array": "!!!!", "dtype": "<f8", "shape": [], "container": "tensor"},
    "unknown container": {"array": "AAAAAAAAAAA=", "dtype": "<f8", "shape": [], "container": "code"},
    "a number of code": {"number": "__import__('os')", "type": "int"},
    "a number of another type": {"number": "1", "type": "complex"},
    "an endless number": {"number": "9" * 100_000, "type": "int"},
    "more keys": {"number": "1", "type": "int", "passed": True},
    "nan": {"number": "nan", "type": "float"},
    "infinity": {"number": "1e999", "type": "float"},
}


def test_forged_values_earn_nothing(attack, sheet):
    values = json.dumps(list(ARRAYS.values()))
    outcome, _ = attack(
        f"{forgery(sheet)}\nfor number, value in enumerate(json.loads({values!r})):\n"
        "    for name in NAMES[number % 10:] + NAMES[:number % 10]:\n        send({'exercise': name, 'case': number % 12, 'value': value})"
    )
    assert len(outcome.messages) == len(ARRAYS) * len(sheet.exercises) + len(sheet.exercises) + 1


LIARS = """
import numpy, torch
class Equal:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __lt__ = __le__ = __gt__ = __ge__ = __eq__
    __hash__ = lambda self: 0
    def __float__(self): return 1.0
    def __getattr__(self, name): return self
    def __call__(self, *a, **k): return self
    __array__ = lambda self, *a, **k: numpy.zeros(())
    __array_priority__ = 1e9
class Posing:
    @property
    def __class__(self): return float
    def __eq__(self, other): return True
class F(float):
    __eq__ = lambda *a: True
    __sub__ = __rsub__ = lambda *a: F(0)
    __repr__ = lambda self: 'nan'
class I(int):
    __eq__ = lambda *a: True
class S(str):
    __eq__ = lambda *a: True
    __len__ = lambda self: 1
    startswith = lambda *a: False
class L(list):
    __eq__ = lambda *a: True
    __len__ = lambda self: 4
class A(numpy.ndarray):
    __array_ufunc__ = lambda *a, **k: numpy.array(True)
    tobytes = lambda *a: b''
class T(torch.Tensor):
    @classmethod
    def __torch_function__(cls, f, types, args=(), kwargs=None): return torch.tensor(True)
class Meta(type):
    def __eq__(cls, other): return True
    def __hash__(cls): return hash(float)
    def __instancecheck__(cls, other): return True
    def __subclasscheck__(cls, other): return True
    def mro(cls): return type.mro(cls)
class M(metaclass=Meta): pass
lies = [Equal(), Posing(), F(1), I(1), S('0'), L([1]), numpy.zeros(3).view(A), torch.zeros(3).as_subclass(T), M(), M, Equal,
        [Equal()] * 4, (Equal(), Equal()), {'a': 1}, {1}, b'x', 1j, torch.tensor(1j), lambda: 0, float('nan'), torch.tensor(float('nan')),
        numpy.array([None]), numpy.array(['a']), numpy.float64('nan'), torch.zeros(0), torch.zeros(1).to_sparse(), torch.zeros(1, device='meta'),
        True, None, ..., [[[[[[[[[[[1]]]]]]]]]]], 10 ** 300, 10 ** 4000, range(4), iter([1]), memoryview(b'1'), numpy.ma.masked]
NAMES = [{names}]
for name in NAMES:
    globals()[name] = (lambda lie: lambda *inputs: lie)(lies[{number} % len(lies)])
"""


@pytest.mark.parametrize("number", range(37))
def test_what_lies_about_itself_earns_nothing(room, sheet, number):
    cell = LIARS.replace("{names}", ", ".join(repr(one.name) for one in sheet.exercises)).replace(
        "{number}", str(number)
    )
    outcome = room.run([cell], sheet.asked())
    results, problems = sheet.marks(outcome)
    assert not problems, problems
    assert sum(one.earned for one in results) == 0
    assert all(one.sentence for one in results)


def test_lies_leave_the_room_as_it_was(attack, sheet):
    names = ", ".join(repr(one.name) for one in sheet.exercises)
    attack(LIARS.replace("{names}", names).replace("{number}", "0"))


# Reading what it should not.


def test_there_are_no_expected_values_to_read(attack, sheet):
    """Frames, the garbage collector, modules, arguments, environment: inputs are there, answers are not."""
    outcome, _ = attack(
        "import gc, sys, os\nfound = set()\n"
        "def entropy(p):\n"
        "    frame = sys._getframe()\n"
        "    while frame:\n        found.update(map(str, frame.f_locals)); frame = frame.f_back\n"
        "    for thing in gc.get_objects():\n"
        "        if isinstance(thing, dict): found.update(k for k in thing if isinstance(k, str))\n"
        "    print('WORDS', [w for w in ('expected', 'reference', 'secret', 'tolerance', 'mistakes', 'EXERCISES') if w in found])\n"
        "    print('EXERCISES', [m for m in sys.modules if 'checks' in m or 'grading' in m])\n"
        "    print('ENVIRONMENT', sorted(os.environ), sys.argv[1:2])\n"
    )
    lines = outcome.printed.splitlines()
    assert "EXERCISES []" in lines
    (environment,) = {line for line in lines if line.startswith("ENVIRONMENT")}
    assert set(eval(environment.split(" ", 1)[1].rsplit(" [", 1)[0])) <= {
        "HOME", "LANG", "LC_CTYPE", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "PATH", "PWD", "PYTHONHASHSEED", "PYTHONUTF8"
    }  # fmt: skip
    assert not any(
        word in line
        for line in lines
        if line.startswith("WORDS")
        for word in ("'secret'", "'tolerance'", "'mistakes'", "'EXERCISES'")
    )


@pytest.fixture
def outside(tmp_path_factory) -> Path:
    """A folder outside with everyone's rights, as bad as a lecturer could leave one: another student's notebook, and
    marks.
    """
    folder = tmp_path_factory.mktemp("class")
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == os.getuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o755)
    folder.chmod(0o777)
    for name in ("other.ipynb", "gradebook.db", "secret"):
        (folder / name).write_text("kept")
        (folder / name).chmod(0o666)
    return folder


def test_no_file_of_the_outside_can_be_read(attack, outside):
    files = [
        "/etc/shadow",
        "/etc/passwd",
        "/etc/hostname",
        "/proc/1/environ",
        "/proc/self/environ",
        "/proc/1/root/etc/shadow",
        "/proc/self/maps",
    ]
    files += [
        str(path)
        for path in (ROOT / "lib/chainrule/checks/information_theory.py", ROOT / "pyproject.toml", *outside.iterdir())
    ]
    files += [
        "/sandbox/site/chainrule/information.py",
        "/sandbox/site/chainrule/checks/__init__.py",
        "/sandbox/site/torch/distributions/normal.py",
    ]
    files += [f"{sys.prefix}/pyvenv.cfg", "/dev/mem", "/dev/kmsg", "/dev/sda", "/dev/vda", "/sys/kernel/notes"]
    folders = [
        "/root",
        "/home",
        "/proc/1",
        "/sys",
        "/usr/share",
        "/usr/local",
        "/var",
        "/etc/ssl",
        str(ROOT),
        str(outside),
        "/proc/self/fd",
        "/run",
    ]
    bodies = [f"open({file!r}, 'rb').read(1)" for file in files] + [
        f"import os; assert os.listdir({folder!r})" for folder in folders
    ]
    bodies += [
        "import os; assert os.listdir('/proc')",
        "import os; assert os.listdir('/sandbox/site/torch/distributions')",
    ]
    home = Path(sys.base_prefix).resolve()
    bodies = [
        body for body in bodies if not any(f"({str(parent)!r})" in body for parent in home.parents)
    ]  # only a way to the interpreter
    outcome, _ = attack(attempts(*bodies))
    all_held(outcome, len(bodies))


def test_nothing_outside_its_own_folder_can_be_written(attack, outside):
    places = [
        "/",
        "/dev/",
        "/usr/",
        "/usr/lib/",
        "/usr/bin/",
        "/etc/",
        "/sandbox/",
        "/sandbox/inside/",
        "/sandbox/site/",
        "/sandbox/site/torch/",
        "/proc/",
    ]
    places += ["/proc/sys/kernel/", "/sys/", f"{outside}/", "/dev/pts/", f"{Path(sys.base_prefix).resolve()}/lib/"]
    bodies = [f"open({place + 'x'!r}, 'w').write('x')" for place in places]
    bodies += [f"import os; os.mkdir({place + 'y'!r})" for place in places]
    bodies += [
        f"open({str(outside / 'gradebook.db')!r}, 'r+').write('100')",
        "open('/sandbox/inside/student.py', 'a').write('x')",
    ]
    bodies += [
        "import os; os.remove('/sandbox/inside/wire.py')",
        "import os; os.rename('/sandbox', '/box')",
        "import os; os.chmod('/', 0o777)",
    ]
    bodies += [
        "import os; os.symlink('/x', '/dev/x')",
        "import os; os.link('/sandbox/inside/wire.py', '/sandbox/inside/y')",
    ]
    bodies += [
        "import os; os.mknod('/tmp/disk', 0o60666, os.makedev(8, 0)); open('/tmp/disk', 'rb').read(1)",
        "import os; os.chroot('/tmp')",
    ]
    outcome, _ = attack(attempts(*bodies))
    all_held(outcome, len(bodies))
    assert sorted(path.name for path in outside.iterdir()) == ["gradebook.db", "other.ipynb", "secret"]
    assert all(path.read_text() == "kept" for path in outside.iterdir())


def test_nothing_leaks_from_one_submission_to_the_next(attack):
    """Files, modules, patched functions, shared memory, generators, threads, hashes: each submission begins as the
    first did.
    """
    look = (
        "import os, sys, random, numpy, torch\n"
        "print(sorted(os.listdir('/tmp')), sorted(os.listdir('/dev/shm')), 'leak' in sys.modules, hasattr(torch, 'leak'), hasattr(numpy, 'leak'),\n"
        "      torch.zeros(2).sum().item(), random.random(), float(numpy.random.rand()), float(torch.rand(())), hash('a'), os.getpid(), os.getcwd(),\n"
        "      os.umask(0o22), os.nice(0), torch.get_default_dtype(), torch.is_grad_enabled(), len(os.listdir('/dev')))"
    )
    first, _ = attack(look)
    attack(
        "import os, sys, torch, numpy, types, random, threading\n"
        "open('/tmp/leak', 'w').write('x'); open('/dev/shm/leak', 'w').write('x')\n"
        "sys.modules['leak'] = types.ModuleType('leak'); torch.leak = numpy.leak = 1\n"
        "torch.zeros = lambda *a: torch.ones(9); torch.set_default_dtype(torch.float64); torch.set_grad_enabled(False)\n"
        "random.seed(1); os.umask(0); os.nice(5)\n"
        "threading.Thread(target=lambda: [None for _ in iter(int, 1)], daemon=True).start()\n"
        "import student; student.run = None; student.wire = None",
        limits=replace(SMALL, seconds=4),
    )
    second, _ = attack(look)
    assert first.printed == second.printed and first.printed.startswith("[] []")


# The network.


def test_no_socket_leads_anywhere(attack):
    """A real listener on loopback, one on an abstract local name, and every family that the kernel may know."""
    reached = []
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_UNIX) as local:
        local.bind("\0chainrule-attack")
        local.listen()
        for server in (listener, local):
            server.settimeout(0.5)
            threading.Thread(target=_accept, args=(server, reached), daemon=True).start()
        port = listener.getsockname()[1]
        bodies = [
            f"import socket; socket.create_connection(('127.0.0.1', {port}), 1)",
            f"import socket; socket.create_connection(('localhost', {port}), 1)",
        ]
        bodies += [
            f"import socket; s = socket.socket(2, 2); s.sendto(b'x', ('127.0.0.1', {port}))",
            "import socket; socket.getaddrinfo('example.org', 80)",
        ]
        bodies += ["import socket; s = socket.socket(1); s.connect('\\0chainrule-attack')"]
        bodies += [
            f"import socket; socket.socket({family}, {kind})"
            for family in (2, 10, 16, 17, 29, 31, 38, 40, 44)
            for kind in (1, 2, 3, 5)
        ]
        bodies += [f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}', timeout=1)"]
        outcome, _ = attack(attempts(*bodies))
        with socket.create_connection(("127.0.0.1", port)):
            time.sleep(0.3)
    all_held(outcome, len(bodies))
    assert reached == ["127.0.0.1"]  # our own, which shows that the listener listens


def _accept(server: socket.socket, reached: list) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            connection, address = server.accept()
        except TimeoutError:
            continue
        except OSError:
            return
        connection.close()
        reached.append(address[0] if address else "local")


# Using everything up.


def test_a_fork_bomb_meets_the_limit(attack, room):
    outcome, problems = attack(
        "import os\npids = []\ntry:\n    while True:\n        pid = os.fork()\n        if not pid:\n            import time; time.sleep(60); os._exit(0)\n"
        "        pids.append(pid)\nexcept OSError as error:\n    print('processes', len(pids)); raise"
    )
    assert int(outcome.printed.split()[1]) < SMALL.processes
    assert "a submission may have 16 processes and threads at a time" in problems[0]


def test_a_wild_fork_bomb_ends_with_its_submission(attack):
    attack("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", limits=replace(SMALL, seconds=2))


def test_a_thread_bomb_meets_the_limit(attack):
    outcome, problems = attack(
        "import threading, time\nn = 0\ntry:\n    while True:\n        threading.Thread(target=time.sleep, args=(60,), daemon=True).start(); n += 1\n"
        "finally: print('threads', n)"
    )
    assert int(outcome.printed.split()[1]) < SMALL.processes
    assert "16 processes and threads" in problems[0]


@pytest.mark.parametrize(
    "bomb",
    [
        "x = bytearray(10 ** 10)",
        "x = []\nwhile True: x.append(bytearray(10 ** 6))",
        "import torch; torch.ones(10 ** 10)",
        "import numpy; numpy.ones(10 ** 10)",
    ],
)
def test_a_memory_bomb_is_an_error_with_a_sentence(attack, bomb):
    _, problems = attack(bomb)
    assert any("512 MB of memory" in problem for problem in problems), problems


SHARED = {
    "each its own": "x = bytearray(b'1') * (300 << 20)",
    "a map that is shared": "import mmap; x = mmap.mmap(-1, 300 << 20); [x.write(b'1' * (1 << 20)) for _ in range(300)]",
    "a map that a fork shares": "import mmap; x = mmap.mmap(-1, 300 << 20); [x.write(b'1' * (1 << 20)) for _ in range(300)]; os.fork()",
    "pages that a fork shares": "x = bytearray(b'1') * (300 << 20); os.fork()",
}


@pytest.mark.parametrize("how", SHARED.values(), ids=SHARED)
def test_many_processes_share_one_limit_of_memory(attack, how):
    """Four processes with 300 MB each: none is over the limit, together they are; sharing pages between two hides
    nothing.
    """
    outcome, problems = attack(
        f"import os, time\nfor _ in range(4):\n    if not os.fork():\n        {how}\n        time.sleep(30)\n        os._exit(0)\ntime.sleep(30)"
    )
    assert outcome.stopped == "memory", problems
    assert "The notebook was stopped: it used more than 512 MB of memory." in problems


def test_memory_that_belongs_to_no_process_cannot_be_had(attack):
    bodies = [
        "import os; os.memfd_create('x')",
        "import ctypes; assert ctypes.CDLL(None).shmget(0, 1 << 30, 0o1600) >= 0",
    ]
    bodies += [
        "import ctypes; assert ctypes.CDLL(None).msgget(0, 0o1600) >= 0",
        "import ctypes; assert ctypes.CDLL(None).semget(0, 9, 0o1600) >= 0",
    ]
    bodies += ["import ctypes; assert ctypes.CDLL(None).mq_open(b'/x', 0o102, 0o600, 0) >= 0"]
    outcome, _ = attack(attempts(*bodies))
    all_held(outcome, len(bodies))


@pytest.mark.parametrize("folder", ["/tmp", "/dev/shm"])
def test_the_disk_is_small(attack, folder):
    outcome, problems = attack(
        f"written = 0\nfile = open('{folder}/x', 'wb', buffering=0)\nother = open('{folder}/y', 'wb', buffering=0)\n"
        "try:\n    while True: written += file.write(bytes(1 << 20)); written += other.write(bytes(1 << 20))\nfinally: print('written', written)"
    )
    assert int(outcome.printed.split()[1]) <= SMALL.disk_megabytes << 20
    assert "its temporary folder holds 16 MB" in problems[0]


def test_files_are_few(attack):
    _, problems = attack("for i in range(10 ** 6): open(f'/tmp/{i}', 'w').close()")
    assert "its temporary folder holds 16 MB" in problems[0]
    _, problems = attack("import os\nkept = []\nwhile True: kept.append(open('/dev/null'))")
    assert "128 files open" in problems[0]


def test_endless_output_is_cut(attack):
    outcome, problems = attack("while True: print('x' * 1000)")
    assert outcome.stopped == "output" and len(outcome.printed) <= SMALL.output_bytes
    assert "The notebook was stopped: it printed more than 0.2 MB." in problems
    outcome, _ = attack("import os\nwhile True: os.write(2, b'\\xff\\x00\\x1b[2J' * 1000)")
    assert outcome.stopped == "output" and not set(outcome.printed) & {"\x00", "\x1b"}


def test_endless_results_are_cut(attack):
    outcome, problems = attack("import os\nwhile True: os.write(3, bytes(1000))")
    assert outcome.stopped == "result"
    assert "The notebook was stopped: its functions returned more than 2 MB." in problems
    outcome, _ = attack("import torch\nentropy = lambda p: torch.zeros(10 ** 6)")
    assert outcome.stopped == "result"
    _, problems = attack("import torch\nentropy = lambda p: torch.zeros(10 ** 7)")
    assert not problems  # too large to be sent at all


@pytest.mark.parametrize(
    "daemon",
    [
        "if not os.fork():\n    os.setsid()\n    if not os.fork():\n        {}\n    os._exit(0)",
        "if not os.fork():\n    import signal\n    [signal.signal(s, signal.SIG_IGN) for s in (1, 2, 3, 13, 15)]\n    {}",
    ],
)
def test_no_daemon_outlives_its_submission(attack, daemon):
    """Double fork, a session of its own, deaf to signals: when the answer is there, it is dead."""
    word = f"chainrule-daemon-{os.getpid()}-{time.monotonic_ns()}"
    body = f"os.execv('/usr/bin/sleep', ['{word}', '300'])"
    outcome, _ = attack(f"import os, time\n{daemon.format(body)}\nelse:\n    time.sleep(0.5); print('started')")
    assert "started" in outcome.printed
    assert processes_with(word) == []


def test_the_daemon_of_that_test_can_be_seen_while_it_lives(room, sheet):
    """The control: the same search finds the same daemon as long as its submission runs."""
    word = f"chainrule-daemon-{os.getpid()}-{time.monotonic_ns()}"
    cell = f"import os, time\nif not os.fork(): os.execv('/usr/bin/sleep', ['{word}', '300'])\ntime.sleep(3)"
    thread = threading.Thread(target=lambda: room.run([cell], []))
    thread.start()
    deadline, seen = time.monotonic() + 20, []
    while not seen and time.monotonic() < deadline and thread.is_alive():
        seen = [pid for pid in processes_with(word) if pid != os.getpid()]
        time.sleep(0.05)
    thread.join()
    assert seen and processes_with(word) == []


# Breaking out.


def test_signals_reach_nobody_else(attack, room):
    attack(
        "import os, signal\n"
        "for target in [0, -1, *range(2, 3000)]:\n"
        "    for number in (signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL):\n"
        "        try: os.kill(target, number)\n        except OSError: pass\n",
        limits=replace(SMALL, seconds=5),
    )
    os.kill(room.pid, 0)


def test_no_forbidden_system_call_is_allowed(attack):
    """Each by its bare number, past the C library; the control is getpid."""
    column = {"x86_64": 0, "aarch64": 1}[os.uname().machine]
    numbers = {name: pair[column] for name, pair in confine.FORBIDDEN_CALLS.items()}
    control = {0: 39, 1: 172}[column]
    outcome, _ = attack(
        f"{LIBC}assert libc.syscall({control}) == os.getpid()\nfor name, number in {numbers!r}.items():\n"
        "    ctypes.set_errno(0)\n    result = libc.syscall(number, 0, 0, 0, 0, 0, 0)\n    print(name, result, ctypes.get_errno())"
    )
    lines = outcome.printed.split("\n")[:-1]
    assert len(lines) == len(numbers) and all(line.endswith(" -1 1") for line in lines), outcome.printed


def test_no_namespace_no_trace_no_privilege(attack):
    machine = os.uname().machine
    clone, clone3 = {"x86_64": (56, 435), "aarch64": (220, 435)}[machine]
    flags = (0x10000000, 0x00020000, 0x20000000, 0x40000000, 0x10020000, 0x08000000, 0x04000000, 0x02000000)
    bodies = [f"assert libc.unshare({flag}) == 0" for flag in flags]
    bodies += [
        f"pid = libc.syscall({clone}, {flag} | 17, 0, 0, 0, 0)\nif pid == 0: os._exit(0)\nassert pid > 0"
        for flag in flags
    ]
    bodies += [f"data = ctypes.create_string_buffer(88)\nassert libc.syscall({clone3}, data, 88) >= 0"]
    bodies += [
        "assert libc.ptrace(0, 0, 0, 0) == 0",
        "assert libc.ptrace(16, 1, 0, 0) == 0",
        "assert libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0",
    ]
    bodies += [
        "assert libc.umount2(b'/proc', 2) == 0",
        "os.setuid(0)",
        "os.setgid(0)",
        "os.setgroups([0])",
        "os.setresuid(0, 0, 0)",
        "os.chown('/tmp', 0, 0)",
    ]
    bodies += [
        "os.nice(-5)",
        "os.sched_setscheduler(0, 1, os.sched_param(50))",
        "import resource; resource.setrlimit(resource.RLIMIT_NPROC, (99, 99))",
    ]
    bodies += [
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
        "import socket; socket.sethostname('x')",
        "open('/dev/tty', 'w')",
    ]
    bodies += [
        "data = ctypes.create_string_buffer(24)\nhead = (ctypes.c_uint * 2)(0x20080522, 0)\nlibc.capget(head, data)\nassert any(data.raw)"
    ]
    bodies += [
        "assert libc.prctl(39, 0, 0, 0, 0) == 0",
        "assert libc.prctl(24, 0, 0, 0, 0) == 0",
        "assert libc.prctl(47, 2, 21, 0, 0) == 0",
    ]
    bodies += [
        "assert os.getuid() == 0 or os.geteuid() == 0",
        "assert libc.prctl(22, 0, 0, 0, 0) == 0",
        "assert libc.prctl(21, 0, 0, 0, 0) != 2",
    ]
    outcome, _ = attack(LIBC + attempts(*bodies))
    all_held(outcome, len(bodies))


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the second tables of system calls are x86's own")
def test_the_other_tables_of_system_calls_kill(attack):
    """x32's numbers, and 32-bit calls by int 0x80: the filter ends whoever tries them."""
    code = bytes.fromhex("b814000000cd80c3")  # mov eax, 20; int 0x80; ret
    outcome, _ = attack(
        f"{LIBC}import mmap\n"
        "def survives(work):\n    pid = os.fork()\n    if not pid:\n        work(); os._exit(0)\n    return os.waitpid(pid, 0)[1]\n"
        f"room = mmap.mmap(-1, 4096, prot=7); room.write({code!r})\n"
        "call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(room)))\n"
        "print(survives(lambda: libc.syscall(0x40000000 | 39)), survives(lambda: call()), survives(lambda: libc.syscall(39)))"
    )
    assert outcome.printed.split() == ["31", "31", "0"]  # SIGSYS, twice; and the control


def test_setuid_programs_give_nothing(attack):
    """A program that belongs to root and has its setuid bit runs as the student all the same: no_new_privs stands."""
    outcome, _ = attack(
        f"{LIBC}print('NO NEW PRIVILEGES', libc.prctl(39, 0, 0, 0, 0))\nimport subprocess, glob, stat\n"
        "programs = [p for p in glob.glob('/usr/bin/*') if os.path.isfile(p) and os.stat(p).st_mode & stat.S_ISUID]\n"
        "for p in programs + ['/usr/bin/su', '/usr/bin/sudo', '/usr/bin/mount']:\n"
        "    try: done = subprocess.run([p, '-c', 'id'], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=3)\n"
        "    except (OSError, subprocess.TimeoutExpired): continue\n"
        "    if 'uid=0' in done.stdout: print('REACHED', p)\n"
        "print('IS', subprocess.run(['/usr/bin/id', '-u'], capture_output=True, text=True).stdout)"
    )
    assert "NO NEW PRIVILEGES 1" in outcome.printed and "REACHED" not in outcome.printed
    assert "IS 0" not in outcome.printed


def test_the_mark_of_the_student_s_processes_is_no_user_of_the_machine(attack, room):
    outcome, _ = attack("import os; print(os.getuid(), os.getgid(), os.getgroups())")
    user = int(outcome.printed.split()[0])
    assert user != 0 and (room.mode == "ordinary" or user >= 60_000)


# Taking the answer from somewhere.


def test_what_an_exercise_forbids_is_absent_or_refuses(attack, sheet):
    absent = [
        "chainrule.information",
        "chainrule.likelihood",
        "chainrule.mutual_information",
        "chainrule.coding",
        "chainrule.grading",
        "chainrule.grading.judge",
    ]
    absent += ["scipy", "scipy.special", "scipy.stats", "pandas", "sklearn", "pip", "beartype", "nbgrader"]
    bodies = [f"import importlib; importlib.import_module({name!r})" for name in absent]
    bodies += ["from chainrule.information import entropy", "import chainrule; chainrule.information"]
    bodies += [
        f"import importlib.util; assert importlib.util.find_spec({name!r})"
        for name in ("chainrule.information", "scipy")
    ]
    bodies += ["import sys; del sys.modules['chainrule']; from chainrule.information import entropy"]
    outcome, _ = attack(attempts(*bodies))
    all_held(outcome, len(bodies))


def test_torch_s_own_answers_refuse_in_words(attack, sheet):
    x = "import torch; x = torch.rand(3, 3)\n"
    calls = [
        "torch.logsumexp(x, 0)",
        "x.logsumexp(0)",
        "torch.Tensor.logsumexp(x, 0)",
        "torch.special.logsumexp(x, 0)",
        "x.log_softmax(0)",
    ]
    calls += [
        "torch.nn.functional.log_softmax(x, 0)",
        "torch.log_softmax(x, 0)",
        "torch.special.entr(x)",
        "torch.nn.CrossEntropyLoss()",
        "torch.nn.LogSoftmax(0)(x)",
    ]
    calls += [
        "torch.nn.functional.cross_entropy(x, torch.tensor([0, 1, 2]))",
        "x.logaddexp(x)",
        "x.logcumsumexp(0)",
        "torch.distributions.Categorical(x)",
    ]
    calls += [
        "from torch.distributions import Categorical",
        "import torch.distributions as d; d.Categorical(x)",
        "torch.func.grad(lambda a: a)(x)",
        "from torch.func import grad",
    ]
    calls += [
        "torch.autograd.grad(x.requires_grad_().sum(), x)",
        "x.requires_grad_(); x.sum().backward()",
        "torch.autograd.backward(x.sum())",
    ]
    outcome, _ = attack(attempts(*(x + call for call in calls)))
    all_held(outcome, len(calls))
    assert outcome.printed.count("is the answer to an exercise of this sheet") == len(calls), outcome.printed


def test_the_back_doors_that_we_know_are_shut(attack):
    """The dispatcher, private modules, reloading, what the garbage collector holds, deleting what blocks.

    In the student's own process no list of doors is complete; see the top of this file for what remains and what a
    judge can do.
    """
    x = "import torch, gc, importlib, sys; x = torch.rand(3, 3)\n"
    calls = [
        "torch.ops.aten.logsumexp(x, [0])",
        "torch.ops.aten.logsumexp.default(x, [0])",
        "torch.ops.aten.special_logsumexp(x, [0])",
    ]
    calls += [
        "torch._C._VariableFunctions.logsumexp(x, 0)",
        "torch._C._special.special_logsumexp(x, 0)",
        "torch._C._nn.cross_entropy_loss(x, torch.tensor([0, 1, 2]))",
    ]
    calls += [
        "torch.ops.aten._log_softmax(x, 0, False)",
        "torch.ops.aten.log_softmax.int(x, 0)",
        "torch._C.TensorBase.logsumexp(x, 0)",
        "torch._VF.logsumexp(x, 0)",
    ]
    calls += [
        "importlib.reload(torch.special); torch.special.logsumexp(x, 0)",
        "torch.logsumexp(x, 0, out=torch.zeros(3))",
        "torch.ops.aten.special_entr(x)",
    ]
    calls += ["[f for f in gc.get_objects() if getattr(f, '__name__', '') == 'logsumexp' and callable(f)][0](x, 0)"]
    calls += ["del sys.modules['torch.distributions']; from torch.distributions import Categorical"]
    calls += [
        "del torch.logsumexp; torch.logsumexp(x, 0)",
        "import student; del student.block; gc.collect(); torch.logsumexp(x, 0)",
    ]
    calls += ["torch.logsumexp.__closure__[0].cell_contents(x, 0)", "torch.jit.script(torch.nn.LogSoftmax(0))(x)"]
    calls += [
        "[o._destroy() for o in gc.get_objects() if type(o).__name__ == 'Library' and o.ns == 'aten']; torch.ops.aten.logsumexp(x, [0])"
    ]
    outcome, _ = attack(attempts(*(x + call for call in calls)))
    all_held(outcome, len(calls))


def test_a_self_check_inside_says_nothing_and_gives_nothing(attack):
    outcome, problems = attack(
        "from chainrule.checks import check, exercises, _record\nprint(check(print), exercises('information-theory'))\nentropy = check"
    )
    assert not problems and "expected" not in outcome.printed


def test_answers_by_constant_earn_only_the_public_cases(room, sheet):
    """A table of the public inputs and their answers is no solution: hidden inputs differ from submission to
    submission.
    """
    one = next(one for one in sheet.exercises if one.name == "entropy")
    table = {str(case[0].tolist()): float(one.expected(case)) for case in one.public}
    outcome = room.run([f"table = {table!r}\nentropy = lambda p: table.get(str(p.tolist()), 0.0)"], sheet.asked())
    results, _ = sheet.marks(outcome)
    (found,) = [result for result in results if result.name == "entropy"]
    assert found.right == len(one.public) and found.earned < found.points / 2
    assert found.sentence.startswith("all public inputs are right")


# A whole class.

CLASS = {
    "exits": "import os; os._exit(0)",
    "loops": "while True: pass",
    "forks": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "eats": "x = []\nwhile True: x.append(bytearray(10 ** 7))",
    "prints": "while True: print('x' * 10000)",
    "floods": "import os\nwhile True: os.write(3, b'x' * 65536)",
    "kills": "import os\nfor target in [0, -1, *range(2, 500)]:\n    try: os.kill(target, 9)\n    except OSError: pass",
    "crashes": "import ctypes; ctypes.memset(0, 1, 8)",
    "surrogates": "def entropy(p): raise ValueError('\\ud800 \\x00 \\u202e <script>')\nraise ValueError('\\udfff')",
    "forges": "import json, os, struct\nfor i in range(12):\n    b = json.dumps({'exercise': 'entropy', 'case': i, 'value': {'other': '\\ud800'}}).encode()\n"
    "    os.write(3, struct.pack('>I', len(b)) + b)\nb = b'[' * 100000\nos.write(3, struct.pack('>I', len(b)) + b)",
    "marks": "import sqlite3, glob\nfor f in glob.glob('/**/*.sqlite', recursive=True) + glob.glob('/**/*.db', recursive=True): print(f)",
    "daemon": "import os\nif not os.fork():\n    os.setsid()\n    os.execv('/usr/bin/sleep', ['{word}', '300'])",
    "stops": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP); os.kill(0, signal.SIGSTOP)\nif not os.fork(): os.kill(os.getppid(), signal.SIGSTOP)",
    "sleeps": "import time; time.sleep(1000)",
}


def test_a_class_with_every_kind_of_attacker_is_graded_right(sheet, tmp_path):
    """The pool as a lecturer runs it: each honest student gets every point, each attacker none, and nothing else has
    changed.
    """
    from chainrule.grading import run
    from chainrule.grading.settings import Settings
    from chainrule.grading.submission import find_submissions

    word = f"chainrule-daemon-{os.getpid()}-{time.monotonic_ns()}"
    (tmp_path / "class").mkdir()
    (tmp_path / "out").mkdir()

    def hand_in(name: str, sources: list[str]) -> None:
        cells = [{"cell_type": "code", "source": source, "metadata": {}} for source in sources]
        (tmp_path / "class" / f"{name}.ipynb").write_text(json.dumps({"nbformat": 4, "metadata": {}, "cells": cells}))

    for number, (name, source) in enumerate(CLASS.items()):
        hand_in(f"{number:02}a-{name}", [source.replace("{word}", word)])
        if number % 2:
            hand_in(f"{number:02}b-honest", sheet.solution)
    (tmp_path / "class" / "99-deep.ipynb").write_text("[" * 100_000)
    (tmp_path / "class" / "99-link.ipynb").symlink_to("/etc/passwd")
    before = {path.name: path.read_bytes() for path in (tmp_path / "class").iterdir() if not path.is_symlink()}
    limits = replace(SMALL, seconds=6)
    course = run.Sheet(
        "information-theory", Settings(limits=limits, seconds_per_exercise=5.0), run.read_secret(tmp_path / "out")
    )
    journal = run.Journal(tmp_path / "out" / "journal.sqlite")
    submissions = find_submissions(tmp_path / "class", tmp_path)
    failed = run.grade_class(course, submissions, journal, jobs=2)
    marks = {graded.student: graded for graded in journal.counted(course, submissions)}
    assert failed == 0 and len(marks) == len(submissions) == len(CLASS) + len(CLASS) // 2 + 2
    for student, graded in marks.items():
        assert graded.score == (sheet.maximum if "honest" in student else 0.0), (student, graded.score, graded.problems)
    assert marks["04a-prints"].problems == (limits.sentence("output"),) and marks["01a-loops"].problems == (
        limits.sentence("time"),
    )
    assert "journal" not in marks["10a-marks"].printed
    assert processes_with(word) == []
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "class").iterdir() if not path.is_symlink()}
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if "journal" not in path.name) == ["secret"]


def test_hostile_sources_are_failed_cells(attack):
    sources = [
        "(" * 10_000,
        "-" * 100_000 + "1",
        "x" * 400_000,
        "def f(:\n",
        "\x00",
        "if 1:\n" * 200,
        "[" * 300 + "]" * 300,
        "# -*- coding: undefined -*-\nx",
        "'\\N{' * 9",
    ]
    sources += [
        "%%bash\nrm -rf /",
        "!rm -rf /",
        "%run x",
        "x?",
        "lambda: " * 5000 + "0",
        "f'{' * 100",
        "await x",
        "return 1",
        "\ufeffx=1",
        "1" * 100_000,
    ]
    outcome, _ = attack(*sources)
    assert {"done": True} in outcome.messages or outcome.stopped is None


def test_magics_beside_python_are_passed_over(attack, sheet):
    """What a notebook from Colab holds runs, and a line that only looks like a magic stays Python."""
    cells = [
        "!pip install chainrule\n%matplotlib inline\nimport torch",
        "%%time\ny = 1",
        "x = (5\n  % 3)\nprint('rest', x, y)",
        "%%bash\nexit 1",
        "torch.log?",
    ]
    outcome, problems = attack(*cells)
    assert outcome.printed == "rest 2 1\n" and not problems
