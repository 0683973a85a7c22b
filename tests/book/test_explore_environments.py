"""Figures with sliders where readers meet them: Colab's ipywidgets 7.7 with a kernel, and a page without a kernel.

The first test plays the front end: it speaks the kernel's protocol, moves a slider as a browser would, and looks at the
picture. The second one moves the sliders of a static page with the keyboard, in a real browser.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest
from ipywidgets.embed import dependency_state, embed_data
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpecManager

from chainrule.explore import explore
from chainrule.plots import css_variables, subplots
from offline import fetch_vendor
from tests.book.pages import in_browser

ROOT = Path(__file__).resolve().parents[2]
# As Colab has them; what they need besides, and the large packages, come from the environment that runs the tests.
COLAB = ["ipywidgets==7.7.1", "ipykernel==6.17.1", "ipython==7.34.0", "ipython-genutils==0.2.0", "backcall==0.2.0",
         "decorator==5.3.1", "nest-asyncio==1.6.0", "pickleshare==0.7.5"]  # fmt: skip

CELL = """
import ipywidgets
from chainrule.explore import explore
from chainrule.plots import subplots
def draw(**values):
    fig, ax = subplots(width=3, height=2)
    ax.set_title(str(values))
    return fig
print(ipywidgets.__version__)
"""


@pytest.fixture(scope="module")
def colab_python(tmp_path_factory) -> Path:
    """The interpreter of an environment with Colab's widgets, made once and kept."""
    key = hashlib.sha256(" ".join([*COLAB, sys.version, sys.prefix]).encode()).hexdigest()[:12]
    folder = ROOT / "_build" / "envs" / f"widgets-7-{key}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = folder.with_name(f"{folder.name}.{os.getpid()}")
        shutil.rmtree(fresh, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", fresh], check=True)
        pip = [sys.executable, "-m", "pip", "--python", fresh / "bin" / "python", "install", "--quiet", "--no-deps"]
        done = subprocess.run([*pip, *COLAB], capture_output=True, text=True)
        assert done.returncode == 0, f"pip could not install {' '.join(COLAB)}; is there a network?\n{done.stderr}"
        (packages,) = fresh.glob("lib/python*/site-packages")
        (packages / "rest.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
        fresh.rename(folder)
    return folder / "bin" / "python"


class FrontEnd:
    """What a notebook's browser side knows: the widgets' states, kept up to date by the kernel's messages."""

    def __init__(self, client):
        self.client, self.models, self.output = client, {}, ""

    def follow(self, message_id: str) -> None:
        """Take in the kernel's messages until it has dealt with the one of that id."""
        while True:
            message = self.client.get_iopub_msg(timeout=120)
            kind, content = message["msg_type"], message["content"]
            if kind == "comm_open":
                self.models[content["comm_id"]] = content["data"]["state"]
            elif kind == "comm_msg" and content["data"]["method"] in ("update", "echo_update"):
                self.models[content["comm_id"]].update(content["data"]["state"])
            elif kind == "stream":
                self.output += content["text"]
            assert kind != "error", "\n".join(content["traceback"])
            idle = kind == "status" and content["execution_state"] == "idle"
            if idle and message["parent_header"].get("msg_id") == message_id:
                return

    def run(self, code: str) -> None:
        self.follow(self.client.execute(code))

    def set(self, model: str, **state) -> None:
        """Tell the kernel what the reader did to a widget."""
        data = {"method": "update", "state": state, "buffer_paths": []}
        message = self.client.session.msg("comm_msg", {"comm_id": model, "data": data})
        self.client.shell_channel.send(message)
        self.follow(message["header"]["msg_id"])

    def find(self, name: str, **state) -> list[str]:
        return [m for m, s in self.models.items() if s.get("_model_name") == name and state.items() <= s.items()]

    def label(self) -> str:
        """The text of the picture in sight."""
        (picture,) = [m for m in self.find("HTMLModel") if "aria-label" in self.models[m]["value"]]
        return re.search(r'aria-label="([^"]*)"', self.models[picture]["value"])[1]


@pytest.fixture
def colab(colab_python, tmp_path):
    """A front end to a kernel with Colab's widgets."""
    spec = {"argv": [str(colab_python), "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": "colab", "language": "python"}  # fmt: skip
    (tmp_path / "colab").mkdir()
    (tmp_path / "colab" / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    specs = KernelSpecManager(kernel_dirs=[str(tmp_path)], ensure_native_kernel=False)
    manager = KernelManager(kernel_name="colab", kernel_spec_manager=specs)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "lib"), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    manager.start_kernel(env=environment, stderr=subprocess.DEVNULL)
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=120)
    yield FrontEnd(client)
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_kernel_changes_the_picture_under_ipywidgets_7(colab):
    colab.run(CELL)
    assert colab.output.strip() == "7.7.1"
    colab.run("explore(draw, alt='one', p=[0.1, 0.2, 0.3, 0.4])")
    assert colab.label() == "one (p = 0.1)"
    (slider,) = colab.find("SelectionSliderModel")
    colab.set(slider, index=2)
    assert colab.label() == "one (p = 0.3)"
    (player,) = colab.find("PlayModel")
    colab.set(player, value=3)
    assert colab.label() == "one (p = 0.4)"
    assert colab.models[slider]["index"] == 3


def test_kernel_finds_the_frame_of_three_sliders_under_ipywidgets_7(colab):
    colab.run(CELL)
    colab.run("explore(draw, alt='three', a=[1, 2], b=[1, 2, 3], c=[1, 2, 3, 4])")
    a, b, c = (colab.find("SelectionSliderModel", description=name)[0] for name in "abc")
    colab.set(b, index=2)
    colab.set(c, index=1)
    assert colab.label() == "three (a = 1, b = 3, c = 2)"
    colab.set(a, index=1)
    assert colab.label() == "three (a = 2, b = 3, c = 2)"


def draw(**values):
    fig, ax = subplots(height=2)
    ax.plot([0, 1], [0, sum(values.values())])
    ax.set_title(str(values))
    return fig


@pytest.fixture(scope="module")
def static_page(tmp_path_factory) -> Path:
    """A page with figures of one, two and three sliders, and the scripts that the site has, but no kernel."""
    folder = tmp_path_factory.mktemp("static")
    shutil.copytree(fetch_vendor(ROOT) / "static" / "vendor" / "widgets", folder / "widgets")
    views = [
        explore(draw, alt="one", p=[1, 2, 3, 4, 5]),
        explore(draw, alt="two", a=[1, 2], b=[1, 2, 3]),
        explore(draw, alt="three", a=[1, 2], b=[1, 2], c=[1, 2, 3]),
    ]
    data = embed_data(views, state=dependency_state(views))
    scripts = "".join(
        f'<div id="view{i}"><script type="application/vnd.jupyter.widget-view+json">{json.dumps(view)}</script></div>'
        for i, view in enumerate(data["view_specs"])
    )
    state = json.dumps(data["manager_state"]).replace("</", r"<\/")
    (folder / "index.html").write_text(
        f"<!DOCTYPE html><html lang=en><head><meta charset=utf-8><title>figures</title><link rel=icon href=data:,>"
        f"<style>{css_variables()}.jupyter-widgets .fa::before{{content:none!important}}</style></head><body>{scripts}"
        f'<script type="application/vnd.jupyter.widget-state+json">{state}</script>'
        '<script>window.require = {baseUrl: "widgets"}</script>'
        '<script src="widgets/require.js"></script><script src="widgets/embed-amd.js"></script></body></html>',
        encoding="utf-8",
    )
    return folder


def test_sliders_of_a_page_without_a_kernel_change_the_picture(static_page):
    def drive(page):
        page.wait_for_selector("#view2 svg[role=img]")
        labels = [[page.get_attribute(f"#view{i} svg[role=img]", "aria-label") for i in range(3)]]
        for view, count in enumerate((1, 2, 3)):
            handles = page.locator(f"#view{view} [role=slider]")
            assert handles.count() == count
            for i in reversed(range(count)):
                before = page.get_attribute(f"#view{view} svg[role=img]", "aria-label")
                handles.nth(i).focus()
                page.keyboard.press("ArrowRight")
                page.wait_for_selector(f'#view{view} svg[role=img]:not([aria-label="{before}"])')
        labels.append([page.get_attribute(f"#view{i} svg[role=img]", "aria-label") for i in range(3)])
        sizes = page.eval_on_selector_all(
            "svg[role=img]", "pictures => pictures.map(p => [p.getBoundingClientRect().width, p.getBBox().width])"
        )
        letters = page.eval_on_selector(
            "#view0 svg[role=img]", "p => [...p.querySelectorAll('use')].map(u => u.getBBox().width).filter(w => w > 0)"
        )
        return labels, sizes, letters

    labels, sizes, letters = in_browser(static_page, drive)
    assert labels[0] == ["one (p = 1)", "two (a = 1, b = 1)", "three (a = 1, b = 1, c = 1)"]
    assert labels[1] == ["one (p = 2)", "two (a = 2, b = 2)", "three (a = 2, b = 2, c = 2)"]
    assert len(sizes) == 3
    assert all(width > 600 and drawn > 400 for width, drawn in sizes)
    assert len(letters) > 10  # the shapes that the frames share are found


def test_play_of_a_page_without_a_kernel_runs_to_the_last_frame(static_page):
    def drive(page):
        page.wait_for_selector("#view0 svg[role=img]")
        begin = time.monotonic()
        page.locator("#view0 .widget-play button").first.click()
        seen = ["one (p = 1)"]
        while seen[-1] != "one (p = 5)":
            page.wait_for_selector(f'#view0 svg[role=img]:not([aria-label="{seen[-1]}"])', timeout=10_000)
            seen.append(page.get_attribute("#view0 svg[role=img]", "aria-label"))
        return seen, time.monotonic() - begin

    seen, seconds = in_browser(static_page, drive)
    assert len(seen) > 2  # a busy machine may miss some of the five
    assert seen == sorted(seen)
    assert seconds > 1.5  # slow enough to be followed by eye


def test_picture_follows_the_mode_and_the_width_of_the_page(static_page):
    def drive(page):
        page.wait_for_selector("#view2 svg[role=img]")
        paper = "getComputedStyle(document.querySelector('svg[role=img] path')).fill"
        colors = [page.evaluate(paper)]
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        colors.append(page.evaluate(paper))
        page.set_viewport_size({"width": 360, "height": 700})
        return colors, page.evaluate("document.documentElement.scrollWidth")

    colors, width = in_browser(static_page, drive)
    assert colors == ["rgb(255, 255, 255)", "rgb(18, 18, 18)"]
    assert width <= 360
