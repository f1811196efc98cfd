import sys

import pytest
from absl import flags

from data_prep import command_help


@pytest.fixture
def values():
    values = flags.FlagValues()
    flags.DEFINE_string(
        "text", None, "Text to read.", required=True, flag_values=values
    )
    flags.DEFINE_integer("count", 3, "So many.", lower_bound=1, flag_values=values)
    flags.DEFINE_enum("aim", "b", ["a", "b"], "What for.", flag_values=values)
    flags.DEFINE_bool("do", None, "Whether.", flag_values=values)
    for name in ("text", "count", "aim", "do"):
        values.register_key_flag_for_module(sys.argv[0], values[name])
    return values


def test_flags_stand_in_the_order_of_their_definition(values, monkeypatch):
    monkeypatch.setattr(
        sys.modules["__main__"], "__doc__", "Does it.\n\n    example \\\n"
    )
    assert command_help.describe(values).splitlines()[:13] == [
        "Does it.",
        "",
        "    example \\",
        "",
        "flags:",
        "  --text=  (required)",
        "      Text to read.",
        "  --count=  (default: 3)",
        "      So many.",
        "  --aim=a|b  (default: b)",
        "      What for.",
        "  --[no]do",
        "      Whether.",
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [("--help", True), ("--a=1 -h", True), ("--a", False), ("-- --help", False)],
)
def test_help_of_a_command_inside_is_not_ours(line, expected):
    assert command_help.is_asked_for(["x", *line.split()]) == expected
