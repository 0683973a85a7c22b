"""Figures with sliders: the right frame for each setting, links that the browser can follow alone, clear errors."""

import itertools
import re
from xml.etree import ElementTree

import ipywidgets as widgets
import numpy as np
import pytest
import torch
from ipywidgets.embed import dependency_state

from chainrule import explore as explore_module
from chainrule.explore import Explorer, explore
from chainrule.plots import COLORS, bars, subplots


def draw(**values):
    """A small figure whose title tells the values."""
    fig, ax = subplots(width=3, height=2)
    ax.plot(range(len(values)), [float(v) for v in values.values()])
    ax.set_title(" ".join(str(v) for v in values.values()))
    return fig


class Browser:
    """Follows the links between widgets as a page without a kernel does, from the state that is embedded in it."""

    def __init__(self, view: Explorer):
        state = dependency_state([view], drop_defaults=False)
        self.state = {model: entry["state"] for model, entry in state.items()}
        self.root = view.model_id

    def links(self):
        for entry in self.state.values():
            if entry["_model_name"] == "LinkModel":
                (source, trait), (target, to) = entry["source"], entry["target"]
                yield source.removeprefix("IPY_MODEL_"), trait, target.removeprefix("IPY_MODEL_"), to

    def set(self, model: str, trait: str, value):
        self.state[model][trait] = value
        for one, its, other, others in self.links():
            for a, ta, b, tb in ((one, its, other, others), (other, others, one, its)):
                if (a, ta) == (model, trait) and self.state[b][tb] != value:
                    self.set(b, tb, value)

    def visible(self, model: str | None = None) -> list[str]:
        """The texts of the HTML widgets in sight."""
        entry = self.state[model or self.root]
        children = [child.removeprefix("IPY_MODEL_") for child in entry.get("children", ())]
        if entry["_model_name"] == "StackModel":
            children = [children[entry["selected_index"]]]
        own = [entry["value"]] if entry["_model_name"] == "HTMLModel" else []
        return own + [text for child in children for text in self.visible(child)]

    def label(self) -> str:
        (picture,) = [text for text in self.visible() if "aria-label" in text]
        return re.search(r'aria-label="([^"]*)"', picture)[1]


PARAMETERS = {"a": [0.1, 0.2, 0.3], "b": [1, 2], "c": [5, 6, 7, 8]}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_each_setting_of_the_sliders_shows_its_frame(count):
    chosen = dict(itertools.islice(PARAMETERS.items(), count))
    view = explore(draw, alt="Title", **chosen)
    browser = Browser(view)
    assert len(view.sliders) == count
    settings = list(itertools.product(*(range(len(values)) for values in chosen.values())))
    for setting in reversed(settings):
        for slider, index in zip(view.sliders, setting, strict=True):
            browser.set(slider.model_id, "index", index)
        shown = ", ".join(f"{name} = {values[i]}" for (name, values), i in zip(chosen.items(), setting, strict=True))
        assert browser.label() == f"Title ({shown})"


def test_each_combination_is_drawn_once_with_the_values_as_given():
    calls = []

    def record(p, name):
        calls.append((p, name))
        return draw(p=p)

    values = torch.tensor([0.25, 0.75])
    view = explore(record, alt="x", p=values, name=["low", "high"])
    assert calls == [(values[0], "low"), (values[0], "high"), (values[1], "low"), (values[1], "high")]
    assert all(isinstance(p, torch.Tensor) for p, _ in calls)
    assert view.num_frames == 4
    assert view.sliders[0].options == ("0.25", "0.75")


def test_play_runs_through_the_only_parameter():
    view = explore(draw, alt="x", p=[1, 2, 3, 4])
    (player,) = [w for w in view.children[0].children if isinstance(w, widgets.Play)]
    assert (player.min, player.max, player.value) == (0, 3, 0)
    browser = Browser(view)
    browser.set(player.model_id, "value", 2)
    assert browser.label() == "x (p = 3)"


@pytest.mark.parametrize("options", [{"play": False, "p": [1, 2]}, {"p": [1, 2], "q": [1, 2]}, {"p": [1]}])
def test_no_play_where_it_has_no_meaning(options):
    view = explore(draw, alt="x", **options)
    assert not any(entry["_model_name"] == "PlayModel" for entry in Browser(view).state.values())


def test_alternative_text_may_be_computed_and_is_escaped():
    view = explore(draw, alt=lambda p: f'"{p}" < 3 & more', play=False, p=[1, 2])
    browser = Browser(view)
    browser.set(view.sliders[0].model_id, "index", 1)
    assert browser.label() == "&quot;2&quot; &lt; 3 &amp; more"
    (picture,) = [text for text in browser.visible() if "aria-label" in text]
    root = ElementTree.fromstring(picture)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == '"2" < 3 & more'


def test_sliders_say_what_they_move_and_start_where_asked():
    view = explore(draw, alt="x", labels={"p": "chance of heads"}, start={"mean_q": 2.5}, p=[0, 1], mean_q=[1.5, 2.5])
    assert [slider.description for slider in view.sliders] == ["chance of heads", "mean q"]
    assert [slider.index for slider in view.sliders] == [0, 1]
    assert Browser(view).label() == "x (p = 0, mean_q = 2.5)"
    assert repr(view).startswith("Explorer(chance of heads, mean q: 4 frames, ")


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (np.linspace(0, 0.3, 4), ("0", "0.1", "0.2", "0.3")),
        ([0.12341, 0.12342], ("0.12341", "0.12342")),
        ([1e-7, 12345678.0], ("1e-07", "1.235e+07")),
        (torch.tensor([1, 2]), ("1", "2")),
        (["left", "right"], ("left", "right")),
        ([True, False], ("True", "False")),
    ],
)
def test_values_are_written_briefly_and_apart(values, shown):
    view = explore(lambda v: draw(x=1), alt="x", v=values)
    assert view.sliders[0].options == shown


def test_letters_are_shared_and_every_reference_resolves():
    view = explore(draw, alt="x", p=list(range(5)))
    browser = Browser(view)
    texts = [entry["value"] for entry in browser.state.values() if entry["_model_name"] == "HTMLModel"]
    (letters,) = [text for text in texts if "aria-label" not in text]
    frames = [text for text in texts if "aria-label" in text]
    assert len(frames) == 5
    shapes = re.findall(r'<path id="([^"]+)"', letters)
    assert len(shapes) == len(set(shapes)) >= 10  # the ten digits
    for frame in frames:
        assert "scale(0.015625)" not in frame
        own = set(re.findall(r' id="([^"]+)"', frame))
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', frame)) <= own | set(shapes)
    assert view.num_bytes == pytest.approx(sum(map(len, texts)), rel=0.02)


def test_ids_of_two_figures_differ_and_are_the_same_on_every_run():
    def ids(view):
        return set(re.findall(r' id="([^"]+)"', "".join(t for t in Browser(view).visible())))

    def other(p):
        fig, ax = subplots()
        bars(ax, [p, 1 - p])
        return fig

    assert not ids(explore(draw, alt="x", p=[1, 2])) & ids(explore(other, alt="x", p=[0.1, 0.2]))
    assert ids(explore(draw, alt="x", p=[1, 2])) == ids(explore(draw, alt="x", p=[1, 2]))


def test_frames_follow_the_mode_of_the_page():
    (frame,) = [text for text in Browser(explore(draw, alt="x", p=[1, 2])).visible() if "aria-label" in text]
    assert f"var(--cr-blue,{COLORS['blue']})" in frame
    assert not re.search(r"(?<!,)#[0-9a-f]{6}\b", re.sub(r'(href="|url\()#[^")]+', "", frame))


def test_a_figure_of_another_kind_is_refused():
    with pytest.raises(ValueError, match=r"made by chainrule\.plots\.subplots, got NoneType"):
        explore(lambda p: None, alt="x", p=[1])
    from matplotlib.figure import Figure

    with pytest.raises(ValueError, match="got Figure"):
        explore(lambda p: Figure(), alt="x", p=[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "one to three parameters, got 0: none"),
        ({"a": [1], "b": [1], "c": [1], "d": [1]}, "one to three parameters, got 4: a, b, c, d"),
        ({"a": [1], "b": []}, "values for the parameter 'b', got an empty sequence"),
        ({"a": range(20), "b": range(11)}, r"at most 200 frames, got 20 x 11 = 220"),
        ({"a": range(4), "max_frames": 3}, "at most 3 frames, got 4 = 4"),
        ({"a": [1], "alt": "  "}, "alt to describe the figure in words, got '  '"),
        ({"a": [1], "labels": {"b": "x"}}, "labels to name parameters among a, got 'b'"),
        ({"a": [1], "start": {"b": 1}}, "start to name parameters among a, got 'b'"),
        ({"a": [1, 2], "start": {"a": 3}}, r"start to be one of the values \[1, 2\], got 3"),
    ],
)
def test_what_cannot_be_shown_is_refused_before_anything_is_drawn(options, message):
    def never(**values):
        raise AssertionError("drawn")

    with pytest.raises(ValueError, match=message):
        explore(never, **({"alt": "x"} | options))


def test_frames_too_heavy_for_a_page_are_refused(monkeypatch):
    heavy = explore(draw, alt="x", p=[1, 2, 3]).num_bytes
    monkeypatch.setattr(explore_module, "MAX_BYTES", heavy * 2)
    assert explore(draw, alt="x", p=[1, 2, 3]).num_frames == 3
    with pytest.raises(ValueError, match=r"MB together, got .* MB after .* frames"):
        explore(draw, alt="x", p=range(20))


def test_a_frame_of_a_curve_is_light():
    def curve(p):
        fig, ax = subplots()
        x = np.linspace(0, 1, 200)
        ax.plot(x, x**p)
        ax.set(xlabel="probability", ylabel="entropy (bits)")
        return fig

    view = explore(curve, alt="x", p=[1, 2, 3, 4])
    assert view.num_bytes / view.num_frames < 12_000
