"""The template evaluator yields what Go's does, and stops where it cannot."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_istio.istio.inject_functions import FUNCTIONS
from pytest_istio.istio.template import TemplateError, render
from pytest_istio.istio.template_values import Struct

DATA: dict[str, Any] = {
    "Name": "web",
    "Empty": "",
    "Port": 9080,
    "Off": False,
    "Labels": {"app": "details", "b": "<&>"},
    "List": ["x", "y"],
    "Meta": Struct({"Annotations": {"k": "v"}}),
    "Containers": [
        {"name": "a", "ports": [{"containerPort": 1}, {"containerPort": 2}]},
        {"name": "istio-proxy", "ports": [{"containerPort": 3}]},
        {"name": "bare"},
    ],
}


def rendered(text: str) -> str:
    return render(text, DATA, FUNCTIONS, left="[[", right="]]")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("plain {{ }} text", "plain {{ }} text"),
        ("[[ .Name ]]:[[.Port]]", "web:9080"),
        ("[[ .Off ]] [[ .List ]] [[ .Labels ]]", "false [x y] map[app:details b:<&>]"),
        ('[[ "a\\"b]]" ]]', 'a"b]]'),
        ("[[ `raw ]] \\n` ]]", "raw ]] \\n"),
        ("a [[- /* gone */ -]] b", "ab"),
        ("a \n [[- .Name -]] \n b", "awebb"),
        ("[[ if .Empty ]]1[[ else if .Off ]]2[[ else if .Port ]]3[[ else ]]4[[ end ]]!", "3!"),
        ("[[ if and .Name (not .Empty) ]]yes[[ end ]]", "yes"),
        ("[[ or .Empty .Name ]][[ and .Name .Empty ]]", "web"),
        ("[[ if or .Name (index .List 99) ]]short[[ end ]]", "short"),
        ("[[ with .Labels ]][[ .app ]][[ $.Name ]][[ else ]]no[[ end ]]", "detailsweb"),
        ("[[ with $x := .Name ]][[ $x ]][[ . ]][[ end ]]", "webweb"),
        ("[[ range .List ]]<[[ . ]]>[[ end ]]", "<x><y>"),
        ("[[ range $i, $e := .List ]][[ $i ]]=[[ $e ]];[[ end ]]", "0=x;1=y;"),
        ("[[ range $k, $v := .Labels ]][[ $k ]]=[[ $v ]];[[ end ]]", "app=details;b=<&>;"),
        ("[[ range .Empty2 ]]a[[ else ]]none[[ end ]]", "none"),
        ("[[ $x := 1 ]][[ if true ]][[ $x = 2 ]][[ end ]][[ $x ]]", "2"),
        ("[[ $x := 1 ]][[ if true ]][[ $x := 2 ]][[ end ]][[ $x ]]", "1"),
        ('[[ .Name | printf "%s-%s" "a" | len ]]', "5"),
        ('[[ printf "%s-%v-%q-%d%%" .Name .Off .Name .Port ]]', 'web-false-"web"-9080%'),
        ("[[ eq .Name `a` `web` ]][[ ne .Port 1 ]][[ gt .Port 1 ]][[ le 2 2 ]][[ lt `a` `b` ]]", "true" * 5),
        ('[[ index .Labels "app" ]][[ index .Labels "none" ]][[ index .List 1 ]]', "detailsy"),
        ("[[ len .List ]][[ len .Name ]]", "23"),
        ("[[ (index .Containers 0).name ]]", "a"),
        ("[[ .Name.String ]]", "web"),
        ("[[ isset .Labels `app` ]][[ isset .Labels `x` ]]", "truefalse"),
        ("[[ annotation .Meta `k` 0 ]][[ annotation .Meta `x` 0 ]]", "v0"),
        ("[[ toJson .Labels ]]", '{"app":"details","b":"\\u003c\\u0026\\u003e"}'),
        ("[[ includeInboundPorts .Containers ]]|[[ applicationPorts .Containers ]]", "1,2,3|1,2"),
        ("[[ excludeInboundPort 0 `` ]]|[[ excludeInboundPort 15020 `1, 2` ]]", "|1,2,15020"),
        ("[[ excludeInboundPort `1` `1,2` ]]", "1,2"),
        ("[[ formatDuration `60s` ]] [[ formatDuration `1500ms` ]]", "1m0s 1.5s"),
        ("[[ formatDuration `0.25s` ]] [[ formatDuration `0s` ]]", "250ms 0s"),
        ("[[ formatDuration `2h` ]] [[ formatDuration `1h30m5s` ]]", "2h0m0s 1h30m5s"),
    ],
)
def test_it_yields_what_go_does(template: str, expected: str) -> None:
    assert rendered(template) == expected


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("a\nb [[ .Meta.Nothing ]]", r"line 2: there is no field 'Nothing' among Annotations"),
        ("[[ nosuch 1 ]]", r"line 1: function 'nosuch' is not defined"),
        ("[[ $x ]]", r"undefined variable '\$x'"),
        ("[[ if .Name ]]", r"line 1: 'if' has no end"),
        ("\n[[ end ]]", r"line 2: 'end' without a beginning"),
        ("[[ else ]]", r"'else' without a beginning"),
        ("[[ if .A ]][[ else nonsense ]][[ end ]]", "after else"),
        ("[[ .Name", r"line 1: expected '\]\]'"),
        ("[[ (.Name ]]", r"a '\)' is missing"),
        ("[[ .Name .Port ]]", "is not a function"),
        ("[[ if ]]x[[ end ]]", "an expression is missing"),
        ("[[ define `a` ]]", "'define' is not understood"),
        ("[[ eq .Name .Port ]]", "incompatible types"),
        ("[[ index .List 7 ]]", "out of range"),
        ("[[ index .Name 7 ]]", "can't index"),
        ("[[ len .Port ]]", "no length"),
        ("[[ printf `%9999999d` 1 ]]", "not understood"),
        ("[[ printf `%s` ]]", "no argument"),
        ("[[ formatDuration `soon` ]]", "expected a duration"),
        ("[[ len ]]", "len: "),
        ("[[ range .Name ]][[ end ]]", "can't iterate"),
        ("[[ if true ]]" * 60 + "[[ end ]]" * 60, "nested deeper"),
        ("[[ " + "(" * 60 + ".Name" + ")" * 60 + " ]]", "nested deeper"),
        ("[[ $x := `aaaaaaaaaa` ]]" + "[[ $x = printf `%s%s%s%s` $x $x $x $x ]]" * 30, "more than 1048576"),
        ("[[ range $.List ]]" * 18 + "x" + "[[ end ]]" * 18, "more than 100000 steps"),
    ],
)
def test_what_cannot_be_is_an_error_that_names_the_line(template: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        rendered(template)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet='[]-. $`"()|:=,x1\n ifendrange', max_size=60))
def test_any_text_is_rendered_or_refused_by_a_template_error(template: str) -> None:
    with contextlib.suppress(TemplateError):
        rendered(template)
