from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_istio.errors import ManifestError
from pytest_istio.kube import manifests
from pytest_istio.kube.manifests import load, parse
from tests.istio.reference import reference

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "apiVersion: v1\nkind: Thing\nmetadata:\n  name: a\n"


def parsed(text: str) -> list[dict[str, object]]:
    return parse(text, origin="f.yaml")[0]


def test_the_official_render_is_read_with_its_two_duplicate_keys() -> None:
    path = reference("default.yaml")
    found = load(path)
    assert len(found.objects) == 133
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [warning.rpartition(":")[2] for warning in found.warnings] == [
        " key 'ports' is there twice; the last one counts."
    ] * 2


def test_a_folder_is_read_in_the_order_of_names_and_lists_are_flattened(tmp_path: Path) -> None:
    (tmp_path / "2.yml").write_text(HEAD.replace("name: a", "name: b"))
    items = [{"apiVersion": "v1", "kind": "Thing", "metadata": {"name": name}} for name in "cd"]
    (tmp_path / "3.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    (tmp_path / "1.yaml").write_text(f"---\n# nothing\n---\n{HEAD}---\n")
    (tmp_path / "README.md").write_text("not: read: at: all")
    found = load(tmp_path, source="somewhere")
    assert [obj["metadata"]["name"] for obj in found.objects] == ["a", "b", "c", "d"]
    assert found.source == "somewhere"
    lines = [
        f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.name}\n" for f in sorted(tmp_path.glob("[1-3]*"))
    ]
    assert found.sha256 == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_an_object_whose_kind_only_ends_like_a_list_is_an_object() -> None:
    found = parsed("apiVersion: example.com/v1\nkind: AllowList\nmetadata: {name: a}\nspec: {}")
    assert [obj["kind"] for obj in found] == ["AllowList"]
    assert parsed("apiVersion: v1\nkind: PodList\nitems:") == parsed("apiVersion: v1\nkind: List") == []


def test_values_are_read_as_kubectl_reads_them() -> None:
    text = (
        "spec: {date: 2018-12-07, time: 12:30:45, old: 0644, size: 1e3, port: 80, on: yes, 7: seven, "
        "true: x, nothing: ~, text: '80', equals: =}"
    )
    assert parsed(HEAD + text)[0]["spec"] == {
        "date": "2018-12-07",
        "time": "12:30:45",
        "old": 420,
        "size": 1000.0,
        "port": 80,
        "true": "x",
        "7": "seven",
        "nothing": None,
        "text": "80",
        "equals": "=",
    }


def test_aliases_give_separate_values() -> None:
    (obj,) = parsed(HEAD + "spec: {a: &x {k: [1]}, b: *x, c: {<<: *x, l: 2}}")
    spec: dict[str, object] = obj["spec"]  # type: ignore[assignment]
    assert spec == {"a": {"k": [1]}, "b": {"k": [1]}, "c": {"k": [1], "l": 2}}
    assert spec["a"] is not spec["b"]


def bomb(form: str) -> str:
    lines = ["a: &a [x, x]"] if form.startswith("[") else ["a: &a {x: x}"]
    for before, name in zip("abcdefghijklmnopqrstuvwx", "bcdefghijklmnopqrstuvwxy", strict=True):
        lines.append(f"{name}: &{name} " + form.format(", ".join([f"*{before}"] * 2)))
    return "\n".join(lines)


HOSTILE: dict[str, tuple[str | bytes, str]] = {
    "not YAML": ("a: b: c", "f.yaml:1: not YAML: mapping values are not allowed"),
    "not closed": (HEAD + "spec: {a: [1", "f.yaml:6: not YAML: "),
    "control characters": (HEAD + "a: \x00", "f.yaml:5: not YAML: control characters"),
    "a tab": ("a:\n\t- b", "f.yaml:2: not YAML: "),
    "a list": ("- a", "f.yaml:1: a Kubernetes object was expected, not a list."),
    "text": ("hello", "f.yaml:1: a Kubernetes object was expected, not text."),
    "text later": (HEAD + "---\n---\nhello", "f.yaml:7: a Kubernetes object was expected"),
    "no apiVersion": ("kind: A", "f.yaml:1: no Kubernetes object: apiVersion must be text, it is missing."),
    "kind a number": ("apiVersion: v1\nkind: 1", "kind must be text, it is a number."),
    "no metadata": (
        "apiVersion: v1\nkind: A",
        "A without a name: metadata.name must be text, it is missing.",
    ),
    "name a list": ("apiVersion: v1\nkind: A\nmetadata: {name: []}", "it is a list."),
    "namespace a number": (
        "apiVersion: v1\nkind: A\nmetadata: {name: a, namespace: 1}",
        "namespace must be text",
    ),
    "labels a list": (
        "apiVersion: v1\nkind: A\nmetadata: {name: a, labels: [x]}",
        "labels must be an object.",
    ),
    "no object in a List": (
        "apiVersion: v1\nkind: List\nitems: [1]",
        "f.yaml:1: a Kubernetes object was expected",
    ),
    "infinite": (HEAD + "spec: [.inf]", "Thing a: inf is no value of JSON."),
    "alias bomb": (bomb("[{}]"), "more than 1,000,000 values or 100 levels of nesting"),
    "merge bomb": (bomb("{{<<: [{}]}}"), "more than 1,000,000 values or 100 levels of nesting"),
    "alias of itself": ("a: &a [*a]", "alias *a stands for nothing, or for what it is in."),
    "alias of nothing": ("a: *a", "alias *a stands for nothing"),
    "alias of another document": ("a: &a 1\n---\nb: *a", "f.yaml:3: alias *a stands for nothing"),
    "deep": ("- " * 100_000, "100 levels of nesting"),
    "directives": (HEAD + "...\n" + "%TAG !a! tag:a\n" * 1_001, "more than 1,000 directives"),
    # Some libyamls have a bound of their own.
    "deep in brackets": ("[" * 100_000, "nesting"),
    "deep in closed brackets": ("[" * 10_000 + "]" * 10_000, "nesting"),
    "deep in an object": (HEAD + "spec: " + "{a: " * 10_000 + "}" * 10_000, "nesting"),
    "deep by aliases": (
        "a: &a " + "[" * 60 + "]" * 60 + "\nb: " + "[" * 60 + "*a" + "]" * 60,
        "f.yaml:2: more than 1,000,000 values or 100 levels",
    ),
    "code": (
        "a: !!python/object/apply:os.getcwd []",
        "the tag tag:yaml.org,2002:python/object/apply:os.getcwd",
    ),
    "binary": (HEAD + "spec: !!binary aGk=", "f.yaml:5: the tag tag:yaml.org,2002:binary"),
    "not an integer": (HEAD + "spec: !!int x", "a value does not fit its type"),
    "a huge number": (HEAD + "spec: " + "9" * 5000, "a value does not fit its type"),
    "a key that is a list": ("? [a]\n: b", "f.yaml:1: not YAML: found unhashable key."),
    "a key that is null": ("~: b", "f.yaml:1: not YAML: a key must be text."),
    "not UTF-8": (b"a: 1\nb: \xff", "f.yaml:2: not UTF-8 text."),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_bad_text_is_one_line_with_file_and_line(name: str) -> None:
    text, message = HOSTILE[name]
    with pytest.raises(ManifestError) as caught:
        parse(text, origin="f.yaml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("f.yaml:")
    assert "\n" not in str(caught.value)


JSON = {
    "not JSON": ("{\n  a", "f.json:2: not JSON"),
    "two documents": ("{}\n{}", "f.json:2: not JSON: Extra data"),
    "deep": ("[" * 200_000, "nested too deeply"),
    "a huge number": ('{"a": ' + "9" * 5000 + "}", "a number is too long"),
    "no object": ("[1]", "f.json: a Kubernetes object was expected"),
    "infinite": (
        '{"apiVersion": "v1", "kind": "A", "metadata": {"name": "a"}, "x": Infinity}',
        "inf is no value of JSON",
    ),
    "nothing": ("null", "no Kubernetes object in it"),
}


@pytest.mark.parametrize("name", JSON)
def test_bad_json_is_one_line_with_file(name: str, tmp_path: Path) -> None:
    text, message = JSON[name]
    file = tmp_path / "f.json"
    file.write_text(text)
    with pytest.raises(ManifestError) as caught:
        load(file)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_that_is_twice_in_json_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "f.json"
    file.write_text('{"apiVersion": "v1", "kind": "A", "metadata": {"name": "a"}, "x": 1, "x": 2}')
    found = load(file)
    assert found.objects[0]["x"] == 2
    assert found.warnings == (f"{file}: key 'x' is there twice; the last one counts.",)


def test_an_object_that_is_there_twice_is_refused_with_both_places(tmp_path: Path) -> None:
    one, two = tmp_path / "1.yaml", tmp_path / "2.yaml"
    one.write_text(HEAD)
    two.write_text(f"# comment\n{HEAD}---\n{HEAD.replace('v1', 'v2')}")
    with pytest.raises(ManifestError, match=f"^{two}:2: Thing a is there already, at {one}:1.$"):
        load(tmp_path)
    one.unlink()
    with pytest.raises(ManifestError, match=f"^{two}:7: Thing a is there already, at {two}:2.$"):
        load(tmp_path)
    two.write_text(f"{HEAD}---\n{HEAD}  namespace: default\n")
    with pytest.raises(ManifestError, match=f"^{two}:.: Thing default/a is there already, at {two}:1.$"):
        load(tmp_path)


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"no such file or folder\.$"):
        load(tmp_path / "missing.yaml")
    with pytest.raises(ManifestError, match=r"has no \*\.yaml"):
        load(tmp_path)
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ManifestError, match=r"neither a file nor a folder\.$"):
        load(tmp_path / "pipe.yaml")
    with pytest.raises(ManifestError, match=r"pipe\.yaml: is no file; move it out of the folder\.$"):
        load(tmp_path)
    (tmp_path / "pipe.yaml").unlink()
    (tmp_path / "link.yaml").symlink_to("nowhere")
    with pytest.raises(ManifestError, match=r"link\.yaml: cannot be read: No such file or directory\.$"):
        load(tmp_path)
    (tmp_path / "link.yaml").unlink()
    (tmp_path / "empty.yaml").write_text("---\n")
    with pytest.raises(ManifestError, match=r"no Kubernetes object in it\.$"):
        load(tmp_path)


def test_a_file_that_may_not_be_read_is_said(tmp_path: Path) -> None:
    file = tmp_path / "secret.yaml"
    file.write_text(HEAD)
    file.chmod(0)
    if os.access(file, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(ManifestError, match="cannot be read: Permission denied"):
        load(file)


def test_gigantic_files_are_refused_before_they_are_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests, "MAX_BYTES", 2**20)
    for name in ("1.yaml", "2.yaml"):
        (tmp_path / name).write_text(
            HEAD.replace("name: a", f"name: a{name[0]}") + f"spec: {'x' * 600_000}\n"
        )
    load(tmp_path / "1.yaml")
    with pytest.raises(ManifestError, match=r"2\.yaml: the manifests are larger than 1 MiB"):
        load(tmp_path)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)


VALUES = st.recursive(SCALARS, nested, max_leaves=20)
NAMES = st.sampled_from(
    ["apiVersion", "kind", "metadata", "name", "namespace", "items", "spec", "List", "v1"]
)
SNIPPETS = st.lists(
    NAMES
    | st.sampled_from(
        [": ", "\n", "  ", "- ", "{", "}", "[", "]", "&a ", "*a", "<<: ", "---\n", "!!", "? ", "|", ">"]
    )
    | st.sampled_from(
        ["!!int ", "!!set ", "'", '"', "\\u", "#", "%", "\t", ", ", "!<x> ", "0x", "1_0", ".nan", "~"]
    )
    | st.text(max_size=3),
    max_size=40,
).map("".join)
ALMOST = st.dictionaries(NAMES, VALUES | st.dictionaries(NAMES, VALUES, max_size=3), max_size=6)

# Openings, so many of them, and what closes them.
DEEP = st.builds(
    lambda opened, depth, closed: HEAD + "spec: " + opened * depth + closed * depth,
    st.sampled_from(["[", "{a: ", "- ", "? ", "!!seq [", "&a [", "'", "["]),
    st.sampled_from([1, 99, 101, 1_000, 10_000, 50_000]),
    st.sampled_from(["", "]", "}"]),
)
NOT_UTF8 = st.builds(
    lambda text, byte, place: (HEAD + text).encode()[:place] + byte + (HEAD + text).encode()[place:],
    st.text(max_size=20),
    st.sampled_from([b"\xff", b"\xc3", b"\xed\xa0\x80", b"\x80", b"\xfe\xff", b"\xf4\x90\x80\x80"]),
    st.integers(0, 60),
)


def judge(content: str | bytes) -> None:
    """Check that the content is accepted and usable, or refused in one line."""
    with suppress(ManifestError):
        objects, _ = parse(content, origin="f.yaml")
        assert all(obj["apiVersion"] and obj["kind"] and obj["metadata"]["name"] for obj in objects)
        json.dumps(objects, allow_nan=False)
        return
    with pytest.raises(ManifestError, match=r"\Af\.yaml:\d+: .*\Z"):
        parse(content, origin="f.yaml")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200) | SNIPPETS | DEEP | NOT_UTF8)
def test_any_text_gives_objects_or_a_manifest_error(content: str | bytes) -> None:
    judge(content)


@settings(max_examples=100, deadline=None)
@given(st.lists(ALMOST | VALUES, max_size=3))
def test_anything_that_resembles_objects_gives_objects_or_a_manifest_error(documents: list[object]) -> None:
    judge(yaml.dump_all(documents, Dumper=yaml.CSafeDumper, allow_unicode=True))
