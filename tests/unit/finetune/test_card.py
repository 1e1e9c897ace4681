"""The model card: what it says, and that nothing of a user's text breaks it."""

import xml.etree.ElementTree as ET
from pathlib import Path

import yaml

from speechless.contract import Method, Metric, Objective
from speechless.finetune.card import Card, picture, write
from speechless.finetune.job import Outcome, Point

CURVE = (Point(step=1, loss=3.0), Point(step=2, loss=2.0), Point(step=2, eval_loss=2.5))
OUTCOME = Outcome(
    steps=2,
    metrics=(Metric(name="train/loss", value=2.25), Metric(name="train/rows", value=640)),
    resumed_from=0,
    settings={},
    curve=CURVE,
)
CARD = Card(
    base='org/base: "x" | y',
    base_digest="sha256:" + "a" * 64,
    data="pvc://data/rows.jsonl",
    data_digest="sha256:" + "b" * 64,
    objective=Objective.DPO,
    method=Method.LORA,
    settings={"dpo": {"beta": 0.1}, "maxLength": 128, "note": "a|b"},
    licence="apache-2.0",
)


def test_its_front_matter_is_what_hubs_read(tmp_path: Path) -> None:
    write(tmp_path, CARD, OUTCOME)
    _, front, text = (tmp_path / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front) == {
        "base_model": CARD.base,
        "license": "apache-2.0",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["speechless", "dpo", "lora"],
    }
    assert f"`{CARD.data_digest}`" in text
    assert "| rows | 640 |" in text
    assert "| train/loss | 2.25 |" in text
    assert "| dpo.beta | `0.1` |" in text
    assert "| note | `a\\|b` |" in text
    assert "![Loss over the steps](loss.svg)" in text


def test_a_long_setting_is_named_by_its_digest(tmp_path: Path) -> None:
    write(tmp_path, Card(**{**vars(CARD), "settings": {"chatTemplate": "{{ x }}\n" * 100}}), OUTCOME)
    text = (tmp_path / "README.md").read_text()
    assert "| chatTemplate | `800 characters, sha256:" in text
    assert "{{ x }}" not in text


def test_a_base_without_a_licence_is_told(tmp_path: Path) -> None:
    write(tmp_path, Card(**{**vars(CARD), "licence": "", "adapter": True}), OUTCOME)
    text = (tmp_path / "README.md").read_text()
    assert "license:" not in text
    assert "names no licence" in text
    assert "library_name: peft" in text


def test_a_reward_model_is_not_told_to_write(tmp_path: Path) -> None:
    write(tmp_path, Card(**{**vars(CARD), "objective": Objective.REWARD}), OUTCOME)
    assert "pipeline_tag: text-classification\n" in (tmp_path / "README.md").read_text()


def test_the_same_run_has_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, CARD, OUTCOME)
    for file in ("README.md", "loss.svg"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


def test_the_picture_is_a_drawing_of_both_losses() -> None:
    drawn = ET.fromstring(picture(CURVE))
    lines = [one for one in drawn.iter() if one.tag.endswith("polyline")]
    assert [len(line.attrib["points"].split()) for line in lines] == [2, 1]
    heights = [float(point.split(",")[1]) for point in lines[0].attrib["points"].split()]
    assert heights[0] < heights[1], "a higher loss is further up"
    assert ET.fromstring(picture((Point(step=0, loss=1.0),))) is not None
